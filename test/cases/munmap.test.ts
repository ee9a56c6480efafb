// Runs the cases of munmap.ts.

import { testCases } from "./case.js";
import { munmapCases } from "./munmap.js";

testCases(munmapCases);
