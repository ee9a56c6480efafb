// The cases on what /proc says of mappings.

import { testCases } from "./case.js";
import { procfsCases } from "./procfs.js";

testCases(procfsCases);
