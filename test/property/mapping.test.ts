// A mapping against its model (mapping-model.ts) under random sequences of operations
// (mapping-operations.ts), for all four kinds, on the ordinary file system and on tmpfs. At the end
// of each the bytes are compared, the file as `fs` reads it, and the kernel's own idea of each
// page's protection. Touches of pages that forbid them are among the operations: what they leave in
// the process is the model's, and the file never sees any of it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import fc from "fast-check";
import { pageSize } from "memmap";
import { permissionsAt } from "../helpers/proc-self.js";
import { needs, tempDir } from "../helpers/temp.js";
import { byteMax, kindOf, mapKind, start, variants } from "./mapping-kinds.js";
import { MappingModel } from "./mapping-model.js";
import {
  apply,
  assertBytes,
  close,
  type Operation,
  operations,
  type Subject,
} from "./mapping-operations.js";
import { parameters } from "./support.js";

/** The whole content and the kernel's protections, whatever was done before. */
function assertAll(subject: Subject): void {
  const { mapping, model } = subject;
  const start = Number(mapping.address % BigInt(pageSize));
  for (const page of model.protections.keys()) {
    const protection = model.protectionNow(page);
    const letters = permissionsAt(mapping.address - BigInt(start) + BigInt(page * pageSize));
    const expected = { none: "--", read: "r-", "read-write": "rw" }[String(protection)];
    assert.equal(letters.slice(0, 2), expected, `page ${page}`);
  }
  assert.equal(mapping.byteLength, model.byteLength);
  assert.equal(
    mapping.protection,
    new Set(model.protections).size > 1 ? "mixed" : model.protections[0],
  );
  const all = { offset: 0, length: model.byteLength };
  if (model.isShown(all)) assertBytes(mapping.bytes, model.shown);
  mapping.protect("read");
  model.protect("read", all);
  mapping.remap();
  model.remap(all);
  assertBytes(mapping.read(0, model.byteLength), model.bytes);
  assertBytes(mapping.bytes, model.bytes);
}

/** Every run begins with bytes that differ from what a fresh page holds, where it may write. */
const first: Operation = {
  do: "write",
  data: {
    range: { offset: 0, length: byteMax, isCut: true },
    pattern: Uint8Array.of(1, 2, 3, 4, 5, 6, 7),
  },
};

for (const variant of variants) {
  const { base } = variant;
  const skip = base === undefined ? {} : needs({ fileSystem: "tmpfs", at: base });
  test(`${variant.name} behaves as its model under random operations`, skip, async (t) => {
    const path = join(base === undefined ? tempDir(t) : tempDir(t, base), "file");
    const steps = fc.array(operations, { maxLength: 40, size: "max" });
    const late = fc.array(operations, { maxLength: 5, size: "max" });
    const property = fc.asyncProperty(start, steps, late, async (numbers, before, after) => {
      const kind = kindOf(variant, numbers);
      const mapping = mapKind(kind, path);
      const subject: Subject = { mapping, model: new MappingModel(kind), pins: [] };
      try {
        await apply(first, subject);
        for (const operation of before) await apply(operation, subject);
        assertAll(subject);
      } finally {
        close(subject);
      }
      for (const operation of after) await apply(operation, subject);
      if (kind.backing === "file") assertBytes(readFileSync(path), subject.model.file);
      if (kind.sharing === "private") assertBytes(subject.model.file, kind.file);
    });
    await fc.assert(property, parameters(300));
  });
}
