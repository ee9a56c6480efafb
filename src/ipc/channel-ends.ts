/**
 * The ends of a channel: who has it open, in which role, and what became of the others. Owns this
 * end's entry in the table of ends (channel-layout.ts).
 *
 *     +-----------+------------+------------------------+------+    roles: 1 sends, 2 receives,
 *     | thread id | start time | thread id << 8 | roles | lane |           4 has a lane,
 *     +-----------+------------+------------------------+------+           8 is taking one
 *
 * An end that has neither sent nor received yet may do both. The id is repeated beside the roles,
 * so that those which a dead end left are never taken for the next one's.
 *
 * Invariants: an entry belongs to its thread until that has left or is dead; whoever finds it dead
 * first writes how the last of its role went, then frees the entry in one atomic step. The start
 * time of a free entry is 0, so that a new end is never judged by that of a former one. The epoch
 * counts up after each change, but whoever makes one may be killed before: what is remembered of
 * the table is forgotten whenever somebody looks who has died.
 */
import { memmapError } from "../errors.js";
import { errnoOf, systemError } from "../failure.js";
import { blockSync, type Stage, type Task } from "./block.js";
import { at, end, endsMax, lane } from "./channel-layout.js";
import { canJudge } from "./namespace.js";
import { OwnedWord } from "./owned-word.js";
import { isDead, thisThread } from "./owner.js";
import type { Place } from "./place.js";
import { notify } from "./wait.js";

/** What an end does; several added up. */
const role = { sends: 1, receives: 2 } as const;

/* A broadcast's end has a lane when it must get what is sent; while it takes it, its cursor may be
   far behind. */
const laneBit = { has: 4, takes: 8 } as const;

/** How a channel stands, as one end sees it. */
export type ChannelState = "open" | "closed" | "peer-died";

/* How the last end of a role went. */
const gone = { closed: 1, died: 2 } as const;

/** How long a lane may be in the hands of those who drop what a former end had not read. */
const laneMs = 2000;

/** A lane that producers wait for. */
export interface LaneOfEnd {
  /** Its first word. */
  readonly first: number;
  /** Whether its end is just taking it: then it bounds nobody where its cursor is out of range. */
  readonly isNew: boolean;
}

interface Others {
  readonly epoch: number;
  readonly send: boolean;
  readonly receive: boolean;
  /** The lanes of all receivers, this end's too. */
  readonly lanes: readonly LaneOfEnd[];
}

/** Wakes whoever sleeps on a count, if somebody does. */
export function wake(words: Int32Array, flag: number, count: number): void {
  if (Atomics.load(words, flag) === 0 || Atomics.exchange(words, flag, 0) === 0) return;
  Atomics.add(words, count, 1);
  notify(words, count);
}

class TakeLane implements Task<true> {
  readonly action = "take";
  readonly place: Place;
  index = 0;
  value = 0;
  readonly #word: OwnedWord;

  constructor(place: Place, word: OwnedWord) {
    this.place = place;
    this.#word = word;
  }

  attempt(stage: Stage): true | undefined {
    const taken = this.#word.attempt(stage);
    if (taken === "unrepaired") this.#word.repaired();
    if (typeof taken === "string") return true;
    if (taken !== undefined) Object.assign(this, taken);
    return undefined;
  }

  giveUp(): void {
    this.#word.passOn();
  }
}

/** This end among the ends of a channel. */
export class Ends {
  readonly #place: Place;
  readonly #isBroadcast: boolean;
  #base = 0;
  #roles = 0;
  #others: Others | undefined;

  constructor(place: Place, isBroadcast: boolean) {
    this.#place = place;
    this.#isBroadcast = isBroadcast;
  }

  /** The first word of the lane that this end reads from. */
  get lane(): number {
    return this.#isBroadcast ? this.#base + end.lane : at.queueLane;
  }

  /**
   * Enters the table.
   *
   * @throws {SystemError} `EUSERS` when all entries are taken.
   */
  join(): void {
    const { id, startTime } = thisThread();
    for (const mayReap of [false, true]) {
      if (mayReap) this.reap();
      const { words } = this.#place;
      for (let i = 0; i < endsMax; i += 1) {
        const base = at.ends + i * end.words;
        if (Atomics.compareExchange(words, base + end.thread, 0, id) !== 0) continue;
        this.#base = base;
        Atomics.store(words, base + end.startTime, startTime);
        this.#setRoles(0);
        return;
      }
    }
    const what = `Cannot open ${this.#place.label}: it has ${endsMax} ends already`;
    throw systemError(errnoOf("EUSERS"), { syscall: "mmap", what });
  }

  #setRoles(roles: number): void {
    const { words } = this.#place;
    this.#roles = roles;
    Atomics.store(words, this.#base + end.roles, (thisThread().id << 8) | roles);
    Atomics.add(words, at.epoch, 1);
  }

  /** This end sends from now on. */
  sends(): void {
    if ((this.#roles & role.sends) === 0) this.#setRoles(this.#roles | role.sends);
  }

  /** This end receives; in a broadcast, what is sent from now on. */
  receives(): void {
    this.listens();
    if ((this.#roles & role.receives) === 0) this.#setRoles(this.#roles | role.receives);
  }

  /**
   * This end of a broadcast gets what is sent from now on, whether it asks for it soon or not.
   *
   * Producers go on meanwhile. One that has looked at the table before sends no more than one
   * record without heeding the new lane, so the tail that stands still around the moment in which
   * the cursor is written is where this end begins.
   */
  listens(): void {
    if (!this.#isBroadcast || (this.#roles & laneBit.has) !== 0) return;
    /* Its lane may be in the hands of a producer that drops what a former end had not read. */
    const { words } = this.#place;
    const word = new OwnedWord(this.#place, { index: this.lane, namespaceIndex: at.namespace });
    blockSync(new TakeLane(this.#place, word), laneMs);
    try {
      Atomics.store(words, this.lane + lane.dropped, 0);
      Atomics.store(words, this.lane + lane.partial, 0);
      this.#setRoles(this.#roles | laneBit.takes);
      const cursor = this.lane + lane.cursor;
      for (let tail = Atomics.load(words, at.tail); ; tail = Atomics.load(words, at.tail)) {
        Atomics.store(words, cursor, tail);
        if (Atomics.load(words, at.tail) === tail) break;
      }
      this.#setRoles((this.#roles & ~laneBit.takes) | laneBit.has);
    } finally {
      word.release();
    }
  }

  /** Leaves the table, and tells the others. */
  close(): void {
    const { words } = this.#place;
    this.#note(this.#roles, gone.closed);
    Atomics.store(words, this.#base + end.roles, 0);
    Atomics.store(words, this.#base + end.startTime, 0);
    Atomics.compareExchange(words, this.#base + end.thread, thisThread().id, 0);
    this.#tell();
  }

  #note(bits: number, how: number): void {
    const { words } = this.#place;
    const roles = bits & (role.sends | role.receives);
    if (roles !== role.receives) Atomics.store(words, at.lastSender, how);
    if (roles !== role.sends) Atomics.store(words, at.lastReceiver, how);
  }

  #tell(): void {
    const { words } = this.#place;
    Atomics.add(words, at.epoch, 1);
    wake(words, at.dataFlag, at.dataCount);
    wake(words, at.spaceFlag, at.spaceCount);
  }

  /** Frees the entries of ends that are dead, and forgets what was known of the table. */
  reap(): void {
    this.forget();
    const { words } = this.#place;
    if (!canJudge(words, at.namespace, thisThread().namespace)) return;
    for (let i = 0; i < endsMax; i += 1) {
      const base = at.ends + i * end.words;
      const id = Atomics.load(words, base + end.thread);
      if (id === 0 || base === this.#base) continue;
      if (!isDead(id, Atomics.load(words, base + end.startTime))) continue;
      if (Atomics.load(words, base + end.thread) !== id) continue;
      this.#note(this.#rolesAt(base, id), gone.died);
      Atomics.store(words, base + end.startTime, 0);
      Atomics.compareExchange(words, base + end.thread, id, 0);
      this.#tell();
    }
  }

  /** Looks at the table again the next time, whatever the epoch says. */
  forget(): void {
    this.#others = undefined;
  }

  #rolesAt(base: number, id: number): number {
    const word = Atomics.load(this.#place.words, base + end.roles);
    return word >>> 8 === id ? word & 255 : 0;
  }

  #look(): Others {
    const { words } = this.#place;
    const epoch = Atomics.load(words, at.epoch);
    if (this.#others?.epoch === epoch) return this.#others;
    let [send, receive] = [false, false];
    const lanes: LaneOfEnd[] = [];
    for (let i = 0; i < endsMax; i += 1) {
      const base = at.ends + i * end.words;
      const id = Atomics.load(words, base + end.thread);
      if (id === 0) continue;
      const bits = this.#rolesAt(base, id);
      const isNew = (bits & laneBit.takes) !== 0;
      if (isNew || (bits & laneBit.has) !== 0) lanes.push({ first: base + end.lane, isNew });
      if (base === this.#base) continue;
      const roles = bits & (role.sends | role.receives);
      send ||= roles !== role.receives;
      receive ||= roles !== role.sends;
    }
    this.#others = { epoch, send, receive, lanes };
    return this.#others;
  }

  /** Counts up whenever an end comes, goes, or takes a role. */
  get epoch(): number {
    return Atomics.load(this.#place.words, at.epoch);
  }

  /** The lanes that producers wait for. */
  get lanes(): readonly LaneOfEnd[] {
    return this.#isBroadcast ? this.#look().lanes : queueLanes;
  }

  /** Whether a lane is that of an end of this thread. */
  isOwnLane(first: number): boolean {
    const thread = first - end.lane + end.thread;
    return this.#isBroadcast && Atomics.load(this.#place.words, thread) === thisThread().id;
  }

  #stateOf(isThere: boolean, last: number): ChannelState {
    if (isThere) return "open";
    const how = Atomics.load(this.#place.words, last);
    if (how === 0) return "open";
    return how === gone.closed ? "closed" : "peer-died";
  }

  /** Whether anybody else may still send. */
  get senders(): ChannelState {
    return this.#stateOf(this.#look().send, at.lastSender);
  }

  /** Whether anybody else may still receive. */
  get receivers(): ChannelState {
    return this.#stateOf(this.#look().receive, at.lastReceiver);
  }

  /** How the channel stands for this end, by what it does. */
  get state(): ChannelState {
    const states: ChannelState[] = [];
    const roles = this.#roles & (role.sends | role.receives);
    if (roles !== role.sends) states.push(this.senders);
    if (roles !== role.receives) states.push(this.receivers);
    if (states.includes("open")) return "open";
    return states.includes("peer-died") ? "peer-died" : "closed";
  }

  /** Throws when nobody is left to receive what a queue keeps; a broadcast is for who is there. */
  requireReceivers(): void {
    if (this.#isBroadcast) return;
    const state = this.receivers;
    if (state === "open") return;
    const what = `Cannot send to ${this.#place.label}`;
    if (state === "peer-died") {
      throw memmapError("ERR_MEMMAP_PEER_DIED", `${what}: the last who could receive has died`);
    }
    throw memmapError("ERR_MEMMAP_CLOSED", `${what}: the last who could receive has closed it`);
  }

  /** The error of those who receive when the last who could send has died. */
  sendersDied(): Error {
    const what = `Cannot receive from ${this.#place.label}`;
    return memmapError("ERR_MEMMAP_PEER_DIED", `${what}: the last who could send has died`);
  }
}

const queueLanes: readonly LaneOfEnd[] = [{ first: at.queueLane, isNew: false }];
