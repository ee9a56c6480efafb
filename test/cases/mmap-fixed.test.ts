// Runs the cases of mmap-fixed.ts.

import { testCases } from "./case.js";
import { mmapFixedCases } from "./mmap-fixed.js";

testCases(mmapFixedCases);
