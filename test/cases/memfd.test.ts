// Memory files: the cases of memfd.ts.

import { testCases } from "./case.js";
import { memfdCases } from "./memfd.js";

testCases(memfdCases);
