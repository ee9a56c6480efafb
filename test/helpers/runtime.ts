// Which runtime runs the tests, and on what, for those few that hold on one of them alone.

/** The runtime that runs this process. */
export const runtimeName: "node" | "bun" | "deno" =
  "Deno" in globalThis ? "deno" : "Bun" in globalThis ? "bun" : "node";

/**
 * What scripts/arm64.mjs calls the runtime that it emulates, as the crash matrix does; undefined on
 * a real processor. An emulated runtime cannot see that it is one.
 */
export const emulatedName: string | undefined = process.env["TEST_EMULATED"];
