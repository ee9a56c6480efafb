// The cases on faults that a program serves itself.

import { testCases } from "./case.js";
import { userfaultfdCases } from "./userfaultfd.js";

testCases(userfaultfdCases);
