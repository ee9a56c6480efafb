// The cases on memory reached from outside a mapping.

import { testCases } from "./case.js";
import { processVmCases } from "./process-vm.js";

testCases(processVmCases);
