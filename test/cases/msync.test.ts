// Runs the cases of msync.ts.

import { testCases } from "./case.js";
import { msyncCases } from "./msync.js";

testCases(msyncCases);
