/**
 * Pure: the word of a structure that says in which namespace its thread ids count. The first user
 * writes its own; when another namespace joins in, as with containers that share memory, the word
 * says so, and from then on nobody is taken for dead.
 *
 * Invariant: whoever writes its id somewhere has written this word before.
 */

const mixed = -1;

/** Joins the users of a structure. */
export function joinNamespace(words: Int32Array, index: number, namespace: number): void {
  const mine = namespace === 0 ? mixed : namespace;
  const found = Atomics.compareExchange(words, index, 0, mine);
  if (found !== 0 && found !== mine) Atomics.store(words, index, mixed);
}

/** Whether the ids of a structure mean something to a thread of that namespace. */
export function canJudge(words: Int32Array, index: number, namespace: number): boolean {
  return namespace !== 0 && Atomics.load(words, index) === namespace;
}
