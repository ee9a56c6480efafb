// Runs the cases of mremap.ts.

import { testCases } from "./case.js";
import { mremapCases } from "./mremap.js";

testCases(mremapCases);
