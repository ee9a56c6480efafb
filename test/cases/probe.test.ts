// The cases on what this kernel was found to do.

import { testCases } from "./case.js";
import { probeCases } from "./probe.js";

testCases(probeCases);
