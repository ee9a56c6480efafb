// Guard regions: the cases of guard-regions.ts.

import { testCases } from "./case.js";
import { guardRegionCases } from "./guard-regions.js";

testCases(guardRegionCases);
