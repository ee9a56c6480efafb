// The crash matrix of the stages in which the thread that mapped touches.

import { stages, workerStages } from "./matrix.js";
import { testStages } from "./stage-tests.js";

testStages(stages.filter((stage) => !workerStages.includes(stage)));
