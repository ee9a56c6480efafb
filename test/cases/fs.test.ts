// The cases on file systems under mappings.

import { testCases } from "./case.js";
import { fsCases } from "./fs.js";

testCases(fsCases);
