// Runs the cases of limits.ts.

import { testCases } from "./case.js";
import { limitsCases } from "./limits.js";

testCases(limitsCases);
