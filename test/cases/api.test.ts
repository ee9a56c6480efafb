// The cases on what a language may do with a mapping.

import { apiCases } from "./api.js";
import { testCases } from "./case.js";

testCases(apiCases);
