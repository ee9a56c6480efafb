// Advice on other processes: the cases of process-madvise.ts.

import { testCases } from "./case.js";
import { processMadviseCases } from "./process-madvise.js";

testCases(processMadviseCases);
