// How the property tests run: a failure prints its seed, and MEMMAP_PROPERTY_SEED repeats it;
// MEMMAP_PROPERTY_RUNS asks for more runs than the few that fit into every test run.

/** The parameters of one property that is tried `runs` times by default. */
export function parameters(runs: number): { numRuns: number; seed?: number; verbose: boolean } {
  const { MEMMAP_PROPERTY_SEED: seed, MEMMAP_PROPERTY_RUNS: wanted } = process.env;
  const numRuns = wanted === undefined ? runs : Number(wanted);
  return seed === undefined
    ? { numRuns, verbose: false }
    : { numRuns, seed: Number(seed), verbose: true };
}
