// Named shared memory: the cases of shm.ts.

import { testCases } from "./case.js";
import { shmCases } from "./shm.js";

testCases(shmCases);
