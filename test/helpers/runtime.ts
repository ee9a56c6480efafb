// Which runtime runs the tests, for those few that hold on one of them alone.

/** The runtime that runs this process. */
export const runtimeName: "node" | "bun" | "deno" =
  "Deno" in globalThis ? "deno" : "Bun" in globalThis ? "bun" : "node";
