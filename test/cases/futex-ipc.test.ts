// The cases on processes that meet in mapped memory.

import { testCases } from "./case.js";
import { futexIpcCases } from "./futex-ipc.js";

testCases(futexIpcCases);
