// The stages in which the thread that mapped touches: mapped, pinned, closed, resized, transferred,
// dropped, exiting. All scenes are made first, so that one garbage collection or one exit serves
// all of them.

import type { Mapping } from "memmap";
import { type Cell, expectationOf, mayWrite } from "./matrix.js";
import { judge, type SeenFault, seen } from "./outcome.js";
import { atCell, cellDone } from "./report.js";
import {
  closeOrRefuse,
  commit,
  damage,
  makeScene,
  type Place,
  placeOf,
  resize,
  type Scene,
  windowOf,
} from "./scene.js";
import { type Outcome, touch, touchNow } from "./touch.js";
import { call, type Kit } from "./way.js";

/** A cell that is ready to be touched. */
interface Prepared {
  readonly cell: Cell;
  readonly place: Place;
  /** The address of the first byte of the memory that is touched. */
  readonly address: bigint;
  run(): unknown;
  /** Views of before, which must be empty by now. */
  runOld(): unknown;
  /** Closes or resizes while the touch is under way. */
  meanwhile(): void;
  /** The faults that were told for this cell so far. */
  faults(): SeenFault[];
}

/** Faults that reached the process as uncaught errors. */
const uncaught: SeenFault[] = [];

/** Takes part in the process's uncaught errors, where faults of dropped mappings must arrive. */
export function listenForUncaught(): void {
  process.on("uncaughtException", (error) => {
    uncaught.push(seen(error));
  });
}

/** All uncaught faults so far. */
export function allUncaught(): readonly SeenFault[] {
  return uncaught;
}

/** The uncaught faults of a mapping, by the address of its first byte. */
export function uncaughtAt(address: bigint): SeenFault[] {
  return uncaught.filter((fault) => fault.address - BigInt(fault.byteOffset) === address);
}

/** What check() throws, which is each fault that nobody has seen. */
export function checked(mapping: Mapping): SeenFault[] {
  try {
    mapping.check();
    return [];
  } catch (error) {
    return [seen(error)];
  }
}

const nothing = (): void => {};

/** What the cells of one child share. */
export interface Setting {
  readonly folder: string;
  readonly kit: Kit;
  /** Called when all files are made and nothing is touched yet. */
  prepareDisk(): void;
}

/* In a function of its own, so that no closure of another stage keeps the mapping. */
function prepareDropped(cell: Cell, index: number, { folder, kit }: Setting): Prepared {
  const { abuse, way } = cell;
  const scene = makeScene({ abuse, folder, index, small: false, faults: "throw" });
  const run = way.ready(windowOf(scene, scene.mapping.buffer), kit);
  dropped.push(new WeakRef(scene.mapping));
  return preparedAt(cell, run, placeOf(scene));
}

function preparedAt(cell: Cell, run: () => unknown, place: Place): Prepared {
  const { address } = place;
  const faults = () => uncaughtAt(address);
  return { cell, place, address, run, runOld: nothing, meanwhile: nothing, faults };
}

/* Makes the views that are touched, in the stages that have others than the first. */
function viewsOf(cell: Cell, scene: Scene, kit: Kit): Pick<Prepared, "run" | "runOld"> {
  const { stage, abuse, way } = cell;
  const view =
    stage === "transferred"
      ? windowOf(scene, moved(scene.mapping))
      : windowOf(scene, scene.mapping.buffer);
  const run = way.ready(view, kit);
  if (stage !== "resized" || abuse === "close-meanwhile") return { run, runOld: nothing };
  resize(scene);
  return { run: way.ready(windowOf(scene, scene.mapping.buffer), kit), runOld: run };
}

/* Brings one cell to its stage. */
function prepare(cell: Cell, index: number, { folder, kit }: Setting): Prepared {
  const { stage, abuse } = cell;
  const faults = stage === "pinned" ? "throw" : "collect";
  const scene = makeScene({ abuse, folder, index, small: stage === "resized", faults });
  const { mapping } = scene;
  const views = viewsOf(cell, scene, kit);
  const { address } = mapping;
  const told: SeenFault[] = [];
  if (stage === "pinned") {
    mapping.onfault = (fault) => {
      told.push(seen(fault));
    };
    mapping.pin();
  }
  if (stage === "closed" || abuse === "close") closeOrRefuse(mapping);
  return {
    cell,
    place: scene,
    address,
    ...views,
    meanwhile: () => (stage === "resized" ? resize(scene) : closeOrRefuse(mapping)),
    faults: () => (stage === "pinned" ? told : checked(mapping)),
  };
}

/** Mappings that must be collected before they are touched. */
const dropped: WeakRef<Mapping>[] = [];

function moved(mapping: Mapping): ArrayBuffer {
  const buffer = call(mapping.buffer, "transfer");
  if (buffer instanceof ArrayBuffer) return buffer;
  throw new Error("transfer() gave no buffer");
}

function collectGarbage(): void {
  const bun: unknown = Reflect.get(globalThis, "Bun");
  if (typeof bun === "object" && bun !== null) call(bun, "gc", true);
  else call(globalThis, "gc");
}

/** Waits until the dropped mappings are gone, but for a few that a stack may still hold. */
async function dropAll(): Promise<void> {
  for (let round = 0; round < 100; round++) {
    await turn();
    collectGarbage();
    const left = dropped.filter((reference) => reference.deref() !== undefined).length;
    if (left <= 3) return;
  }
  throw new Error("dropped mappings were not collected");
}

/** Waits for a later turn of the event loop. */
export function turn(delayMs = 0): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

/* How long a child waits for faults that do not come, all cells together. */
let patienceMs = 15_000;

/* Faults that are told in a later turn are waited for. */
async function faultsOf(prepared: Prepared, outcome: Outcome): Promise<SeenFault[]> {
  const { cell, place, address } = prepared;
  const isTold = cell.stage === "pinned" || cell.stage === "dropped";
  const begin = Date.now();
  for (let round = 0; isTold && Date.now() - begin < Math.min(2000, patienceMs); round++) {
    const evidence = {
      outcome,
      faults: prepared.faults(),
      windowStart: place.windowStart,
      windowLength: place.windowLength,
      address,
    };
    if (judge(cell, evidence) === undefined) break;
    await turn(round < 10 ? 0 : 1);
  }
  patienceMs -= Date.now() - begin;
  return prepared.faults();
}

/* Faults that were thrown by check() are not there a second time. */
function toldAgain({ cell, faults }: Prepared): string | undefined {
  const asks = cell.stage !== "pinned" && cell.stage !== "dropped";
  /* What still runs may go on to touch. */
  if (!asks || expectationOf(cell).promised === "alive") return undefined;
  return faults().length === 0 ? undefined : "told twice";
}

function finish(prepared: Prepared, outcome: Outcome, faults: readonly SeenFault[]): void {
  const { cell, place, address } = prepared;
  const evidence = {
    outcome,
    faults,
    windowStart: place.windowStart,
    windowLength: place.windowLength,
    address,
  };
  cellDone(cell.way.name, [
    judge(cell, evidence),
    toldAgain(prepared),
    ...damage(place, mayWrite(cell)),
  ]);
}

/** Touches one cell after the other and says what came of each. */
export async function runHere(cells: readonly Cell[], setting: Setting): Promise<readonly Place[]> {
  const isDropped = cells[0]?.stage === "dropped";
  if (isDropped) listenForUncaught();
  const prepareOne = isDropped ? prepareDropped : prepare;
  const prepared = cells.map((cell, index) => prepareOne(cell, index, setting));
  if (isDropped) await dropAll();
  setting.prepareDisk();
  for (const { place } of prepared) commit(place);
  if (cells[0]?.stage === "exiting") return runAtExit(prepared);
  for (const one of prepared) {
    atCell(one.cell.way.name);
    const running = touch(one.run);
    if (one.cell.abuse === "close-meanwhile") one.meanwhile();
    const { outcome } = await running;
    await touch(one.runOld);
    finish(one, outcome, await faultsOf(one, outcome));
  }
  return prepared.map(({ place }) => place);
}

/* What waits is begun before the end, everything else is done in the last handler. */
function runAtExit(prepared: readonly Prepared[]): readonly Place[] {
  const [waiting, rest] = [true, false].map((waits) =>
    prepared.filter(({ cell }) => cell.way.waits === waits),
  );
  process.on("exit", () => {
    for (const one of rest ?? []) {
      atCell(one.cell.way.name);
      const { outcome } = touchNow(one.run);
      finish(one, outcome, one.faults());
    }
  });
  for (const one of waiting ?? []) {
    atCell(one.cell.way.name);
    void touch(one.run);
    if (one.cell.abuse === "close-meanwhile") one.meanwhile();
    cellDone(one.cell.way.name, []);
  }
  setTimeout(() => process.exit(0), 0);
  return prepared.map(({ place }) => place);
}
