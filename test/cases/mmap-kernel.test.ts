// Runs the cases of mmap-kernel.ts.

import { testCases } from "./case.js";
import { mmapKernelCases } from "./mmap-kernel.js";

testCases(mmapKernelCases);
