// Cases whose memory is paged by the program itself: listed and counted apart until the pager does
// that.

import type { Case } from "./case.js";

/** The reason that these cases give for being skipped. */
export const needsPager = "needs userfaultfd, which the pager will bring";

/** Such a case. */
export function waiting(id: string, says: string): Case {
  return { id, says, skip: needsPager, run: (_check, t) => t.skip(needsPager) };
}
