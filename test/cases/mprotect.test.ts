// Runs the cases of mprotect.ts.

import { testCases } from "./case.js";
import { mprotectCases } from "./mprotect.js";

testCases(mprotectCases);
