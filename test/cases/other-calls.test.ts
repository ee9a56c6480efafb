// Runs the cases of other-calls.ts.

import { testCases } from "./case.js";
import { otherCallsCases } from "./other-calls.js";

testCases(otherCallsCases);
