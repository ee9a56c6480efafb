// Threads that are simulated: programs that yield before each atomic operation, so that a scheduler
// decides who is next, who is killed where, and who is woken when. Shared memory is an Int32Array.

import assert from "node:assert/strict";

/** An atomic operation; its result is what the thread learns by it. */
export type Operation = () => unknown;

/** A sleep while a word holds a value, as futex(2) has it. */
export interface Sleep {
  readonly index: number;
  readonly value: number;
}

/** How a sleep ended. */
export type Wake = "woken" | "timed-out";

/** A part of a thread that comes to a result; after a sleep it is told how that ended. */
export type Steps<T> = Generator<Operation | Sleep, T, Wake>;

/** A thread between two of its operations. */
export type Program = Steps<void>;

interface Thread {
  readonly program: Program;
  next: Operation | Sleep | undefined;
  /** What it has learnt: its local state follows from that. */
  log: string;
  isAsleep: boolean;
  isDead: boolean;
}

/** Something that can happen next. */
export type Action = readonly ["go" | "die" | "time out", number];

/** Shared memory, and the threads that use it. Threads are numbered from 1 on. */
export class World {
  readonly words: Int32Array;
  readonly #threads: Thread[] = [];
  /** Who sleeps, the longest first. */
  readonly #sleepers: number[] = [];
  #deaths = 0;

  constructor(wordCount: number) {
    this.words = new Int32Array(wordCount);
  }

  /** Adds a thread; `make` is given its number. */
  add(make: (id: number) => Program): void {
    const program = make(this.#threads.length + 1);
    const thread = { program, next: undefined, log: "", isAsleep: false, isDead: false };
    this.#threads.push(thread);
    this.#advance(thread, "woken");
  }

  /** Whether a thread has been killed: what the kernel tells of an owner. */
  isDead(id: number): boolean {
    return this.#thread(id).isDead;
  }

  /** Wakes sleepers of a word, as notify() does. */
  notify(index: number, count: number): void {
    let left = count;
    for (const id of [...this.#sleepers]) {
      const { next } = this.#thread(id);
      if (left === 0 || typeof next !== "object" || next.index !== index) continue;
      left -= 1;
      this.#wake(id, "woken");
    }
  }

  /** Everything that can happen next. Sleeps time out only where somebody has died: without that
   * each must be woken. */
  actions(deathsMax: number): Action[] {
    const actions: Action[] = [];
    for (const [i, thread] of this.#threads.entries()) {
      if (thread.isDead || thread.next === undefined) continue;
      const id = i + 1;
      if (!thread.isAsleep) actions.push(["go", id]);
      else if (this.#deaths > 0) actions.push(["time out", id]);
      if (this.#deaths < deathsMax) actions.push(["die", id]);
    }
    return actions;
  }

  /** Whether all have come to their end, or were killed. */
  get isOver(): boolean {
    return this.#threads.every(({ isDead, next }) => isDead || next === undefined);
  }

  /** Lets something happen. */
  take([what, id]: Action): void {
    const thread = this.#thread(id);
    if (what === "time out") this.#wake(id, "timed-out");
    else if (what === "go") this.#go(id, thread);
    else {
      thread.isDead = true;
      this.#deaths += 1;
      this.#forget(id);
    }
  }

  /** Two worlds with the same key go on in the same ways. */
  get key(): string {
    const threads = this.#threads.map(
      ({ log, isAsleep, isDead }) => `${log}${isAsleep ? "z" : ""}${isDead ? "x" : ""}`,
    );
    return `${this.words.join()};${threads.join(";")};${this.#sleepers.join()}`;
  }

  #go(id: number, thread: Thread): void {
    const { next } = thread;
    if (typeof next === "function") {
      thread.log += `${String(next())} `;
      this.#advance(thread, "woken");
    } else if (next !== undefined && this.words[next.index] === next.value) {
      thread.isAsleep = true;
      this.#sleepers.push(id);
    } else {
      thread.log += "n ";
      this.#advance(thread, "woken");
    }
  }

  #wake(id: number, how: Wake): void {
    const thread = this.#thread(id);
    this.#forget(id);
    thread.log += `${how[0]} `;
    this.#advance(thread, how);
  }

  #advance(thread: Thread, how: Wake): void {
    const { done, value } = thread.program.next(how);
    thread.next = done === true ? undefined : value;
  }

  #forget(id: number): void {
    this.#thread(id).isAsleep = false;
    const index = this.#sleepers.indexOf(id);
    if (index >= 0) this.#sleepers.splice(index, 1);
  }

  #thread(id: number): Thread {
    const thread = this.#threads[id - 1];
    assert.ok(thread, `no thread ${id}`);
    return thread;
  }
}

/** Lets a world go on by random choices, and then in turns, until all have come to their end. */
export function runAtRandom(world: World, choices: readonly number[], deathsMax: number): void {
  for (const choice of choices) {
    const actions = world.actions(deathsMax);
    const action = actions[choice % Math.max(1, actions.length)];
    if (action !== undefined) world.take(action);
  }
  for (let turn = 0; !world.isOver; turn += 1) {
    const actions = world.actions(0);
    const action = actions[turn % Math.max(1, actions.length)];
    assert.ok(action !== undefined, "all sleep, and nobody will wake them");
    assert.ok(turn < 5000, "they do not come to their end");
    world.take(action);
  }
}

/** What bounds the ways. */
export interface Limits {
  readonly deathsMax: number;
  /** How often another thread goes on than before. */
  readonly switchesMax?: number;
}

interface Way {
  readonly actions: readonly Action[];
  readonly switches: number;
}

/** Lets a world go on in every possible way; returns how many different states it came to. */
export function runInEveryWay(make: () => World, limits: Limits): number {
  const { deathsMax, switchesMax = Number.POSITIVE_INFINITY } = limits;
  const isBounded = switchesMax !== Number.POSITIVE_INFINITY;
  /* By the state and who came there, with the fewest switches. */
  const seen = new Map<string, number>();
  const ways: Way[] = [{ actions: [], switches: 0 }];
  for (let way = ways.pop(); way !== undefined; way = ways.pop()) {
    const world = make();
    for (const action of way.actions) world.take(action);
    const key = isBounded ? `${world.key}:${way.actions.at(-1)?.[1]}` : world.key;
    if ((seen.get(key) ?? Number.POSITIVE_INFINITY) <= way.switches) continue;
    seen.set(key, isBounded ? way.switches : 0);
    const next = world.actions(deathsMax);
    assert.ok(next.length > 0 || world.isOver, `all sleep after ${JSON.stringify(way.actions)}`);
    ways.push(...waysOn(way, next).filter(({ switches }) => switches <= switchesMax));
  }
  return seen.size;
}

function waysOn({ actions, switches }: Way, next: readonly Action[]): Way[] {
  const last = actions.at(-1)?.[1];
  return next.map((action) => ({
    actions: [...actions, action],
    switches: switches + (action[1] === last ? 0 : 1),
  }));
}
