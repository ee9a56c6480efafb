// Locked memory: the cases of mlock.ts.

import { testCases } from "./case.js";
import { mlockCases } from "./mlock.js";

testCases(mlockCases);
