// Folders on ext4, for what file systems do differently: where temporary files are on ext4 anyway,
// nothing needs to be mounted.

import { tmpdir } from "node:os";
import { mountLoop, whyNoLoop } from "./root-powers.js";
import { type Cleanup, needs, tempDir } from "./temp.js";

/** Why temporary files are not on ext4; false where they are. */
export const noExt4Here: string | false = needs({ fileSystem: "ext4", at: tmpdir() }).skip;

/** Why there is no folder on ext4: neither for temporary files nor to be mounted. */
export const noExt4: string | false = noExt4Here && whyNoLoop("ext4");

/** An empty folder on ext4, removed after the test. */
export function ext4Folder(t: Cleanup): string {
  return noExt4Here ? mountLoop(t, "ext4") : tempDir(t);
}
