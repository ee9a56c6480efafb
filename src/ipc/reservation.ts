/**
 * Room in a channel's ring that a user writes in place.
 */
import { memmapError } from "../errors.js";
import { asInteger } from "../validate.js";
import { type ChannelEnd, endOf } from "./channel-end.js";
import type { Sending } from "./channel-producer.js";
import { what } from "./ring.js";

/** Room in the ring, to be written in place. */
export interface Reservation extends Disposable {
  /** The bytes of the message, in the ring: what they held before is of no meaning. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /**
   * Sends the message; the bytes are the receiver's from then on.
   *
   * @param length Of its bytes, from the first; by default all.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED` when it was committed or aborted, or its channel
   *   closed.
   */
  commit(length?: number): void;
  /** Sends nothing; after `commit()` it does nothing. */
  abort(): void;
}

/** Where a record lies, and how long its payload is. @internal */
export interface RecordPlace {
  readonly position: number;
  readonly length: number;
}

/** What has an end: a channel. @internal */
export interface Owner {
  readonly [endOf]: ChannelEnd;
}

/**
 * A reservation. It holds the channel, which must not be collected while somebody writes there.
 * @internal
 */
export class Reserved implements Reservation {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #length: number;
  readonly #owner: Owner;
  readonly #position: number;
  #sending: Sending | undefined;

  constructor(owner: Owner, sending: Sending, place: RecordPlace) {
    this.#owner = owner;
    this.#sending = sending;
    this.#position = place.position;
    this.#length = place.length;
    this.#bytes = owner[endOf].producer.lend(place.position, place.length);
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes;
  }

  commit(length: number = this.#length): void {
    const end = this.#owner[endOf];
    const sending = this.#sending;
    if (sending === undefined || end.isClosed) {
      throw memmapError("ERR_MEMMAP_CLOSED", "Cannot commit a reservation: it has ended");
    }
    asInteger(length, "length", { max: this.#length });
    this.#sending = undefined;
    try {
      end.producer.publish(this.#position, length, what.whole);
    } finally {
      end.producer.leave(sending);
    }
    end.producer.wake();
  }

  abort(): void {
    const sending = this.#sending;
    this.#sending = undefined;
    const end = this.#owner[endOf];
    if (sending !== undefined && !end.isClosed) end.producer.leave(sending);
  }

  [Symbol.dispose](): void {
    this.abort();
  }
}
