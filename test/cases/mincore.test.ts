// Runs the cases of mincore.ts.

import { testCases } from "./case.js";
import { mincoreCases } from "./mincore.js";

testCases(mincoreCases);
