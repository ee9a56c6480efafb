// Runs the cases of mremap-move.ts.

import { testCases } from "./case.js";
import { mremapMoveCases } from "./mremap-move.js";

testCases(mremapMoveCases);
