// The crash matrix of the stages in which a worker touches.

import { workerStages } from "./matrix.js";
import { testStages } from "./stage-tests.js";

testStages(workerStages);
