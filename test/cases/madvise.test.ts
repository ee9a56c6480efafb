// Advice on pages: the cases of madvise.ts.

import { testCases } from "./case.js";
import { madviseCases } from "./madvise.js";

testCases(madviseCases);
