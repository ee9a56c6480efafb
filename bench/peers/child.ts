// The program that runs cells of one stage and one abuse with one library. It gets its orders as
// JSON, and says on its standard output what became of each cell.

import { type Cell, workerStages } from "../../test/crash/matrix.js";
import { fillUp, makeKit } from "../../test/crash/place.js";
import { wayNamed } from "../../test/crash/ways.js";
import { drivers } from "./drivers.js";
import { runHere } from "./here.js";
import type { Orders } from "./orders.js";
import { makeOther } from "./scene.js";
import { runThere } from "./there.js";

const orders: Orders = JSON.parse(process.argv[2] ?? "");
const { stage, abuse, folder, work } = orders;
const { isFixed, load } = drivers[orders.driver];
const setting = { library: await load(orders.installed), isFixed, folder, work };
const cells = orders.ways.map((name): Cell => ({ stage, abuse, way: wayNamed(name) }));
makeOther(setting);
const kit = makeKit(work);
if (abuse === "disk-full") fillUp(folder);
if (workerStages.includes(stage)) await runThere(cells, orders, setting);
else await runHere(cells, kit, setting);
