// Runs the cases of mmap-shared.ts.

import { testCases } from "./case.js";
import { mmapSharedCases } from "./mmap-shared.js";

testCases(mmapSharedCases);
