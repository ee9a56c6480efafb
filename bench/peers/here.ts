// The stages in which the thread that mapped touches.

import type { Cell } from "../../test/crash/matrix.js";
import { type Touched, touch, touchNow } from "../../test/crash/touch.js";
import { call, type Kit, type View } from "../../test/crash/way.js";
import { warmFor } from "./hot.js";
import { atCell, cellIs } from "./report.js";
import {
  close,
  commit,
  fileOf,
  isDamaged,
  makeScene,
  memoryOf,
  resize,
  type Scene,
  type Setting,
  strike,
  viewOf,
} from "./scene.js";
import { type Evidence, judge, judgeNow, type Verdict } from "./verdict.js";

/** A cell that is ready to be touched. */
interface Ready {
  readonly scene: Scene;
  readonly view: View;
  run(): unknown;
  /** Touches the view of before. */
  runOld(): unknown;
}

/** The memory of a buffer in another one, where the runtime has that. */
export function moved(buffer: ArrayBuffer): ArrayBuffer {
  const other = call(buffer, "transfer");
  if (other instanceof ArrayBuffer) return other;
  throw new TypeError("transfer() gave no buffer");
}

/* In a function of its own: no variable of a running one may keep what is to be dropped. */
function prepare(cell: Cell, kit: Kit, setting: Setting): Ready {
  const { stage, abuse, way } = cell;
  warmFor(way.name);
  const scene = makeScene(cell, setting);
  if (stage === "pinned") memoryOf(scene).pin?.();
  const buffer = stage === "transferred" ? moved(memoryOf(scene).bytes.buffer) : undefined;
  let view = viewOf(scene, buffer);
  let run = way.ready(view, kit);
  let runOld: Ready["runOld"] = () => {};
  if (stage === "resized" && abuse !== "close-meanwhile") {
    runOld = run;
    resize(scene);
    view = viewOf(scene);
    run = way.ready(view, kit);
  }
  if (stage === "closed") close(scene);
  if (stage === "dropped") scene.memory = undefined;
  return { scene, view, run, runOld };
}

function collectGarbage(): void {
  const bun: unknown = Reflect.get(globalThis, "Bun");
  if (typeof bun === "object" && bun !== null) call(bun, "gc", true);
  else call(globalThis, "gc");
}

/** Waits for a later turn of the event loop. */
export function turn(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

function isTold({ memory }: Scene, { library }: Setting): boolean {
  const isOwn = memory?.isTold?.() ?? false;
  return (library.isHeard?.() ?? false) || isOwn;
}

/* How long a library may take to tell the process of what nobody asks it for. */
const tellMsMax = { wrong: 1000, other: 60 };

/** The verdict on a scene, given what its touch gave; what the library tells comes first. */
export async function lastVerdict(
  scene: Scene,
  setting: Setting,
  found: () => Verdict | Promise<Verdict>,
): Promise<Verdict> {
  const mayTell = setting.library.isHeard !== undefined && scene.wanted.isLeftAlone;
  const wasTold = isTold(scene, setting);
  const verdict = wasTold ? "told" : await found();
  if (isDamaged(scene, setting)) return "wrong";
  /* The comparison has touched once more. */
  if (verdict === "wrong" && isTold(scene, setting)) return "told";
  if (verdict === "told" || !mayTell) return verdict;
  const msMax = verdict === "wrong" ? tellMsMax.wrong : tellMsMax.other;
  for (const end = Date.now() + msMax; Date.now() < end; await turn(5)) {
    if (isTold(scene, setting)) return "told";
  }
  return verdict;
}

function evidenceOf({ scene, view }: Ready, touched: Touched, kit: Kit): Evidence {
  const { cell, before } = scene;
  return { cell, view, touched, before, path: fileOf(scene), kit };
}

function meanwhile(scene: Scene): void {
  if (scene.cell.abuse !== "close-meanwhile") return;
  if (scene.cell.stage === "resized") resize(scene);
  else close(scene);
}

async function runOne(cell: Cell, kit: Kit, setting: Setting): Promise<void> {
  const ready = prepare(cell, kit, setting);
  const { scene } = ready;
  for (let round = 0; cell.stage === "dropped" && round < 3; round++) {
    await turn(0);
    collectGarbage();
  }
  commit(scene, setting);
  const running = touch(ready.run);
  meanwhile(scene);
  const touched = await running;
  await touch(ready.runOld);
  const found = () => judge(evidenceOf(ready, touched, kit));
  cellIs(cell.way.name, await lastVerdict(scene, setting, found));
  strike(scene);
}

/* The last handler of the process touches. */
function runAtExit(cell: Cell, kit: Kit, setting: Setting): void {
  const ready = prepare(cell, kit, setting);
  const { scene } = ready;
  commit(scene, setting);
  const touched = touchNow(ready.run);
  const verdict = isTold(scene, setting) ? "told" : judgeNow(evidenceOf(ready, touched, kit));
  cellIs(cell.way.name, isDamaged(scene, setting) ? "wrong" : verdict);
}

/* What waits is begun before the end, and goes on into it; nobody is there to compare. */
function beginAndExit(cell: Cell, kit: Kit, setting: Setting): void {
  const { scene, run } = prepare(cell, kit, setting);
  commit(scene, setting);
  process.on("exit", () => {
    const verdict = isTold(scene, setting) ? "told" : "unseen";
    cellIs(cell.way.name, isDamaged(scene, setting) ? "wrong" : verdict);
  });
  void touch(run);
  meanwhile(scene);
  setTimeout(() => process.exit(0), 0);
}

/** Touches one cell after the other; of those that go on during the exit, it can be but one. */
export async function runHere(cells: readonly Cell[], kit: Kit, setting: Setting): Promise<void> {
  if (cells[0]?.stage !== "exiting") {
    for (const cell of cells) {
      atCell(cell.way.name);
      await runOne(cell, kit, setting);
    }
    return;
  }
  const [waiting] = cells.filter(({ way }) => way.waits);
  if (waiting !== undefined) {
    atCell(waiting.way.name);
    beginAndExit(waiting, kit, setting);
    return;
  }
  process.on("exit", () => {
    for (const cell of cells) {
      atCell(cell.way.name);
      runAtExit(cell, kit, setting);
    }
  });
  process.exit(0);
}
