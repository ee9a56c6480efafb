// Pages of the pool of huge pages: the cases of huge-pages.ts.

import { testCases } from "./case.js";
import { hugePageCases } from "./huge-pages.js";

testCases(hugePageCases);
