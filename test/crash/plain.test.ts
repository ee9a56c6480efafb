// What the matrix leaves out because the runtime does the same to ordinary memory. Each test shows
// that with a buffer that was never mapped: when one fails, its exclusion in matrix.ts can go.

import assert from "node:assert/strict";
import test from "node:test";
import { runSource } from "../helpers/child.js";
import { tempDir } from "../helpers/temp.js";
import { exclusions } from "./matrix.js";
import { runtime } from "./run.js";

/** Takes an ordinary buffer away, as close() takes a mapped one. */
const takeAway = `
  const view = new Uint8Array(8192).fill(3);
  const { buffer } = view;
  const end = () => structuredClone(buffer, { transfer: [buffer] });
`;

const programs: Readonly<Record<string, { readonly code: string; readonly expected: RegExp }>> = {
  "a stream of an ordinary buffer that is taken away never ends either": {
    code: `
      import { createWriteStream } from "node:fs";
      ${takeAway}
      const seen = [];
      const stream = createWriteStream(process.argv[2] + "/out.bin");
      for (const event of ["finish", "close", "error"]) stream.on(event, () => seen.push(event));
      process.on("exit", () => console.log("at the end:", seen.join()));
      stream.end(view);
      end();
    `,
    expected: /at the end: \n/,
  },
  "compressing an ordinary buffer that is taken away aborts, throws or never ends as well": {
    code: `
      import { randomFillSync } from "node:crypto";
      import { deflate } from "node:zlib";
      const { buffer } = randomFillSync(new Uint8Array(2 ** 22));
      deflate(new Uint8Array(buffer), () => console.log("compressed"));
      structuredClone(buffer, { transfer: [buffer] });
    `,
    /* Whichever of the three it is, the callback is never called. */
    expected: /^(?![\s\S]*compressed)/,
  },
  "an ordinary buffer that is taken away ends the process there, too": {
    code: `
      import { randomFill } from "node:crypto";
      ${takeAway}
      randomFill(Buffer.from(buffer), () => console.log("filled"));
      end();
    `,
    expected: /Cannot perform Construct on a detached ArrayBuffer/,
  },
  "the emulator refuses to double shared memory (mremap with an old size of 0)": {
    code: `
      import { truncateSync, writeFileSync } from "node:fs";
      import { mapFileSync } from "memmap";
      const path = process.argv[2] + "/data.bin";
      const saying = (name, use) => {
        try {
          use();
          console.log(name, "works");
        } catch ({ code }) {
          console.log(name, code);
        }
      };
      writeFileSync(path, Buffer.alloc(8192));
      const mapping = mapFileSync(path, { faults: "collect" });
      saying("resize", () => mapping.resize(4096));
      truncateSync(path, 0);
      console.log(mapping.bytes[4096]);
      saying("remap", () => mapping.remap());
    `,
    expected: /resize ENOMEM\n0\nremap EOPNOTSUPP/,
  },
  "the emulator refuses to map huge pages": {
    code: `
      import { mapAnonymous } from "memmap";
      try {
        mapAnonymous(2 ** 21, { hugePages: 2 ** 21, reserve: false });
      } catch ({ code }) {
        console.log(code);
      }
    `,
    expected: /EINVAL/,
  },
  "the runtime has no ArrayBuffer.prototype.transfer": {
    code: `console.log(typeof ArrayBuffer.prototype.transfer);`,
    expected: /undefined/,
  },
  "the runtime can make no SharedArrayBuffer over a mapping": {
    code: `
      import { mapAnonymous } from "memmap";
      console.log(mapAnonymous(8192).sharedBuffer);
    `,
    expected: /undefined/,
  },
};

for (const { reason, runtimes } of exclusions) {
  const skip = !runtimes.includes(runtime) && `only for ${runtimes.join(", ")}`;
  test(`exclusion: ${reason}`, { skip }, async (t) => {
    const program = programs[reason];
    assert.ok(program, "an exclusion without a proof");
    const { stdout, stderr } = await runSource(program.code, [tempDir(t)]);
    assert.match(stdout + stderr, program.expected);
  });
}
