// The cases on the page table.

import { testCases } from "./case.js";
import { pagemapCases } from "./pagemap.js";

testCases(pagemapCases);
