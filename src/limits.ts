/**
 * What the runtime can hold.
 */
import { constants } from "node:buffer";

/** The longest view in bytes: 4 GiB on Node 20 and Bun, no bound that matters elsewhere. */
export const viewMax: number = constants.MAX_LENGTH;
