/**
 * What the runtime can hold.
 */
import { constants } from "node:buffer";

/**
 * The largest offset or length in bytes: exact as a number, with room to round it up to the largest
 * page. No system has so many addresses.
 */
export const byteMax: number = Number.MAX_SAFE_INTEGER - 2 ** 40;

/** The longest view in bytes: 4 GiB on Node 20 and Bun, no bound that matters elsewhere. */
export const viewMax: number = Math.min(constants.MAX_LENGTH, byteMax);
