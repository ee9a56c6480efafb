// Page faults that a program serves itself, by userfaultfd(2): all of them wait for the pager.

import type { Case } from "./case.js";
import { waiting } from "./waiting.js";

export const userfaultfdCases: readonly Case[] = [
  waiting(
    "ksft-mm:uffd-unit:api",
    "a handshake of an unknown version or feature is refused, the right one taken once",
  ),
  waiting(
    "ltp:userfaultfd01",
    "who touches a missing page goes on with the bytes that were copied there",
  ),
  waiting("ltp:userfaultfd04", "a missing page can be served with zeros, and no page twice"),
  waiting("ksft-mm:uffd-unit:zeropage#hugetlb", "huge pages cannot be served with zeros"),
  waiting(
    "ltp:userfaultfd02",
    "a page moved to a missing place brings its bytes, and leaves its own place empty",
  ),
  waiting(
    "ltp:userfaultfd05",
    "a store to a write-protected page is told, and lands when the protection is lifted",
  ),
  waiting(
    "ksft-mm:uffd-unit:wp-unpopulated",
    "a page that was never touched can be write-protected, until DONTNEED takes it away",
  ),
  waiting(
    "ltp:userfaultfd07",
    "a page in the cache that is not mapped is told as a minor fault, and shown when continued",
  ),
  waiting(
    "ksft-mm:uffd-unit:sigbus",
    "a missing page can be a signal instead of a message, until a page is copied there",
  ),
  waiting(
    "man:userfaultfd(2)#user-mode-only",
    "where only faults of user mode are served, a system call into a missing page fails",
  ),
];
