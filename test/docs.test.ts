// The examples of the documents and of the doc comments: each is a whole program, compiled under
// the flags of the tests and run in a folder of its own. The folder holds message.txt (the text
// "Hello, mapped world!" and a newline) and data.bin (1 MiB; each byte is its offset modulo 256).
//
// A fence tagged "ts" is an example. One that cannot run here says why behind the tag:
//     ```ts ignore-run: needs a second machine
// It is compiled all the same.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { runScript } from "./helpers/child.js";
import { tempDir } from "./helpers/temp.js";

interface Example {
  readonly document: string;
  /** The line of the fence that opens it, from 1. */
  readonly line: number;
  readonly code: string;
  /** What stands behind `ignore-run:`; undefined for an example that runs. */
  readonly reason: string | undefined;
}

process.chdir(fileURLToPath(new URL("../../", import.meta.url)));
const work = "out/docs-examples";

const documents = [
  ...["README.md"].filter((file) => existsSync(file)),
  ...filesBelow("docs", ".md"),
  ...filesBelow("src", ".ts"),
];
const examples = documents.flatMap((path) => examplesOf(path, readFileSync(path, "utf8")));
const errors = await compile(examples);

test("every example compiles", () => {
  assert.equal(errors, "");
});

for (const example of examples) {
  const name = `${example.document}:${example.line} runs`;
  const skip = example.reason ?? false;
  test(name, { skip }, async (t) => {
    const cwd = tempDir(t);
    writeFileSync(join(cwd, "message.txt"), "Hello, mapped world!\n");
    const data = Uint8Array.from({ length: 2 ** 20 }, (_, offset) => offset % 256);
    writeFileSync(join(cwd, "data.bin"), data);
    const program = join(process.cwd(), work, "js", `${nameOf(example)}.js`);
    const { code, signal, stdout, stderr } = await runScript(program, [], { cwd });
    assert.equal(signal ?? code, 0, `${example.document}:${example.line}\n${stdout}${stderr}`);
  });
}

test("a fence is found in text and in comments, with its line and its reason", () => {
  const text = "A\n```ts\nlet a;\n```\n```ts ignore-run: no disk\nb;\n```\n```sh\nls\n```\n";
  assert.deepEqual(examplesOf("a.md", text), [
    { document: "a.md", line: 2, code: "let a;", reason: undefined },
    { document: "a.md", line: 5, code: "b;", reason: "no disk" },
  ]);
  const source = "/**\n * A.\n * ```ts\n * if (a) {\n *   b;\n *\n * }\n * ```\n */\nlet c;\n";
  assert.deepEqual(examplesOf("src/a.ts", source), [
    { document: "src/a.ts", line: 3, code: "if (a) {\n  b;\n\n}", reason: undefined },
  ]);
  assert.throws(() => examplesOf("a.md", "```ts ignore-run\n```\n"), /a\.md:1: .*reason/);
  assert.throws(() => examplesOf("a.md", "```ts\nlet a;\n"), /a\.md:1: .*closed/);
});

/** The fences tagged "ts" in a document, or in the comments of a source file. */
function examplesOf(document: string, text: string): Example[] {
  const isSource = document.endsWith(".ts");
  const lines = text.split("\n").map((line) => {
    if (!isSource) return line;
    return /^\s*\*(?!\/)/.test(line) ? line.replace(/^\s*\* ?/, "") : undefined;
  });
  const examples: Example[] = [];
  for (const [i, line] of lines.entries()) {
    const fence = /^```ts(?:\s+(.*))?$/.exec(line ?? "");
    if (fence === null) continue;
    const place = `${document}:${i + 1}`;
    const [, reason] = /^ignore-run: (\S.*)$/.exec(fence[1] ?? "") ?? [];
    assert.ok(fence[1] === undefined || reason, `${place}: write \`ignore-run:\` and the reason`);
    const end = lines.indexOf("```", i + 1);
    assert.ok(end !== -1, `${place}: the fence is not closed`);
    const code = lines.slice(i + 1, end).join("\n");
    examples.push({ document, line: i + 1, code, reason });
  }
  return examples;
}

/** Compiles all examples at once and returns what tsc reports, by document and line. */
async function compile(examples: readonly Example[]): Promise<string> {
  rmSync(work, { recursive: true, force: true });
  if (examples.length === 0) return "";
  mkdirSync(work, { recursive: true });
  for (const example of examples) {
    // Set off by as many lines as in the document, so that tsc reports the document's own.
    const text = `${"\n".repeat(example.line)}${example.code}\nexport {};\n`;
    writeFileSync(join(work, `${nameOf(example)}.ts`), text);
  }
  const config = {
    extends: "../../tsconfig.test.json",
    // One example that does not compile must not hide whether the others run.
    compilerOptions: { rootDir: ".", outDir: "js", noEmitOnError: false },
    include: ["*.ts"],
  };
  writeFileSync(join(work, "tsconfig.json"), JSON.stringify(config));
  const { stdout, stderr } = await runScript("node_modules/typescript/lib/tsc.js", [
    "--pretty",
    "false",
    "--project",
    work,
  ]);
  const byFile = new Map(examples.map((example) => [nameOf(example), example.document]));
  return `${stdout}${stderr}`.replace(
    /^(?:out\/docs-examples\/)?([\w-]+)\.ts\((\d+),\d+\)/gm,
    (place, file: string, line: string) => `${byFile.get(file) ?? place}:${line}`,
  );
}

/** The name of an example's file: its document and line, in letters that every tool takes. */
function nameOf(example: Example): string {
  return `${example.document.replace(/\W/g, "-")}-${example.line}`;
}

function filesBelow(folder: string, extension: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(extension))
    .map((name) => join(folder, name))
    .sort();
}
