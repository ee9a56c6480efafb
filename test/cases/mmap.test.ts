// Runs the cases of mmap.ts.

import { testCases } from "./case.js";
import { mmapCases } from "./mmap.js";

testCases(mmapCases);
