// Transparent huge pages: the cases of transparent-huge.ts.

import { testCases } from "./case.js";
import { transparentHugeCases } from "./transparent-huge.js";

testCases(transparentHugeCases);
