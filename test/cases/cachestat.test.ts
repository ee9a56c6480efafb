// Counts of the page cache: the cases of cachestat.ts.

import { cachestatCases } from "./cachestat.js";
import { testCases } from "./case.js";

testCases(cachestatCases);
