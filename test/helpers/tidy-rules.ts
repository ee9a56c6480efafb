// The rules of test/tidy.test.ts that look at text: pure functions from a file to what is wrong in
// it. They read line by line and rely on the formatter, so they stay short; where a rule can be
// fooled on purpose, a reviewer is the next line of defence.
//
// Words that these rules refuse are spelled in two parts here, so that this file passes them.

export interface TextFile {
  /** Relative to the root of the checkout, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

/** What is wrong and where: `path:line: what`. */
export type Finding = string;

export type Rule = (file: TextFile) => Finding[];

const COLUMNS_MAX = 100;
const TS_LINES_MAX = 400;
const C_LINES_MAX = 700;
const FUNCTION_LINES_MAX = 70;

/** No line of code passes 100 columns. */
export const longLines: Rule = (file) =>
  isCode(file)
    ? findLines(file, (line) => {
        const columns = [...line].length;
        return columns > COLUMNS_MAX && `${columns} columns, the limit is ${COLUMNS_MAX}`;
      })
    : [];

/** No TypeScript file passes 400 lines and no C file 700. */
export const longFiles: Rule = (file) => {
  const limit = /\.[ch]$/.test(file.path) ? C_LINES_MAX : TS_LINES_MAX;
  const count = linesOf(file).length;
  if (!isCode(file) || count <= limit) return [];
  return [`${file.path}:${count}: ${count} lines, the limit is ${limit}`];
};

/** No function passes 70 lines, its header and its braces included. */
export const longFunctions: Rule = (file) => {
  if (!isCode(file)) return [];
  const spans = /\.[ch]$/.test(file.path) ? functionsOfC(file) : functionsOfScript(file);
  return spans
    .map(({ first, last }) => ({ first, count: last - first + 1 }))
    .filter(({ count }) => count > FUNCTION_LINES_MAX)
    .map(({ first, count }) => at(file, first, `a function of ${count} lines`));
};

/** Nothing is left for later: it is done, or it is an issue. */
export const unfinished: Rule = (file) => {
  const words = ["TO-DO", "FIX-ME", "X-XX", "HA-CK"].map((word) => word.replace("-", ""));
  const pattern = new RegExp(`\\b(?:${words.join("|")})\\b`);
  return findLines(file, (line) => pattern.test(line) && "unfinished work");
};

/** No way around the type checker or the linter. */
export const typeEscapes: Rule = (file) => {
  if (!/\.(?:ts|mjs)$/.test(file.path)) return [];
  const typed = /(?:[:<|&,(=]|\bas|\bextends)\s*any\b(?!\s*[:=])/;
  const twice = new RegExp(["as unknown", "as\\b"].join(" "));
  const switches = new RegExp(["@ts-(?:ig", "nore|no", "check)|biome-ig", "nore"].join(""));
  return findLines(file, (line) => {
    const code = withoutComment(withoutStrings(line));
    const found = typed.exec(code) ?? twice.exec(code) ?? switches.exec(line);
    return found !== null && `\`${found[0].trim()}\` hides a mistake from the checker`;
  });
};

/** A test runs, or says why not: `t.skip("reason")`, `{ skip: reason }`; none runs alone. */
export const silentSkips: Rule = (file) => {
  if (!/^test\/.*\.ts$/.test(file.path)) return [];
  return findLines(file, (line) => {
    const code = withoutComment(withoutStrings(line));
    if (/\.only\(|\bonly: true/.test(code)) return "keeps the other tests from running";
    return (
      /\b(?:test|it|suite|describe)\.skip\(|\.skip\(\)|\bskip: true/.test(code) &&
      "skips a test without a reason"
    );
  });
};

/** Each file says first what it owns. */
export const missingHeaders: Rule = (file) => {
  if (!isCode(file)) return [];
  const [first = "", second = ""] = linesOf(file);
  const opening = first.startsWith("#!") ? second : first;
  return /^\/[/*]/.test(opening) ? [] : [at(file, 0, "no comment on what the file owns")];
};

/** What is true on one machine alone stays out of the project. */
export const machinePlaces: Rule = (file) => {
  const places = [
    ["/wo", "rk/"],
    ["/ro", "ot/"],
    ["/tmp/", "rt\\b"],
    ["\\.\\./sha", "red/"],
    ["regis", "try\\.npmjs"],
    ["https?://[^\\s/]*regis", "try"],
  ];
  const pattern = new RegExp(places.map((parts) => parts.join("")).join("|"));
  return findLines(file, (line) => {
    const found = pattern.exec(line);
    return found !== null && `\`${found[0]}\` is a place of one machine`;
  });
};

// ==== Imports ==================================================================================

/** src/native.ts alone loads the addon; nothing in src needs a package at run time. */
export const addonLoads: Rule = (file) => {
  if (!isSource(file)) return [];
  const packages = importsOf(file)
    .filter(({ name }) => !/^(?:node:|\.)/.test(name))
    .map(({ name, line }) => at(file, line, `imports the package ${name}`));
  if (file.path === "src/native.ts") return packages;
  const loads = findLines(file, (line) => {
    const code = withoutComment(line);
    return /\bcreateRequire\b|\bdlopen\b|\.node["'`]/.test(code) && "loads an addon";
  });
  return [...packages, ...loads];
};

/** The modules at the top of src/ import none of its folders; those import the top, never one
 * another. The command stands above all and may import everything. */
export const importDirections: Rule = (file) => {
  if (!isSource(file) || file.path.startsWith("src/cli/")) return [];
  const own = folderOf(file.path);
  return importsOf(file)
    .filter(({ name }) => name.startsWith("."))
    .map(({ name, line }) => ({ line, target: resolvePath(file.path, name) }))
    .filter(({ target }) => ![own, "src"].includes(folderOf(target)))
    .map(({ target, line }) => at(file, line, `imports ${target}, which stands above it`));
};

/** A file that calls itself pure imports neither the system nor the addon. */
export const impurities: Rule = (file) => {
  if (!isPure(file)) return [];
  return importsOf(file)
    .filter(({ name }) => name.startsWith("node:") || name.endsWith("/native.js"))
    .map(({ name, line }) => at(file, line, `is pure, but imports ${name}`));
};

/** A door holds names, no logic. */
export const doorLogic: Rule = (file) => {
  if (!isSource(file) || !file.path.endsWith("/index.ts")) return [];
  const blank = (text: string) => text.replace(/[^\n]/g, " ");
  const rest = file.text
    .replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, blank)
    .replace(/export (?:type )?(?:\{[^}]*\}|\*) from "[^"]+";/g, blank);
  return findLines(
    { ...file, text: rest },
    (line) => line.trim() !== "" && "a door holds names only",
  );
};

/** Whether the header comment of a source file holds the word that promises it. */
export function isPure(file: TextFile): boolean {
  const header = /^(?:#!.*\n)?(?:\/\*[\s\S]*?\*\/|(?:\/\/.*\n)+)/.exec(file.text);
  return isSource(file) && header !== null && /\bPure:/.test(header[0]);
}

/** The modules that a file names in its imports, exports and `import()` calls. */
export function importsOf(file: TextFile): { name: string; line: number }[] {
  return linesOf(file).flatMap((text, line) => {
    if (withoutComment(text) === "") return [];
    const match = /(?:\bfrom|^import|\bimport\()\s*"([^"]+)"/.exec(text);
    return match?.[1] === undefined ? [] : [{ name: match[1], line }];
  });
}

// ==== Shapes ===================================================================================

interface Span {
  readonly first: number;
  readonly last: number;
}

/** The functions of TypeScript and JavaScript, known by what stands before the opening brace. */
function functionsOfScript(file: TextFile): Span[] {
  const lines = linesOf(file);
  return [...lines.keys()]
    .filter((i) => /(?:=>|\)(?:: .+)?) \{$/.test(lines[i] ?? ""))
    .map((i) => blockOpenedAt(lines, i))
    .filter(
      ({ first }) => !/^\s*(?:\} )?(?:if|else|for|while|switch|catch)\b/.test(lines[first] ?? ""),
    );
}

/** The block that a line opens, with the lines above over which its header may be broken. */
function blockOpenedAt(lines: readonly string[], opening: number): Span {
  const indent = /^\s*/.exec(lines[opening] ?? "")?.[0].length ?? 0;
  const isAtIndent = (line: string | undefined) =>
    line === undefined || /\S/.exec(line)?.index === indent;
  let first = opening;
  if (lines[opening]?.[indent] === ")") {
    do first--;
    while (!isAtIndent(lines[first]));
  }
  let last = opening + 1;
  while (!isAtIndent(lines[last])) last++;
  return { first, last };
}

/** The functions of C: each ends with a brace alone at the margin, and begins with the last line
 * before it that stands there and is neither a label nor for the preprocessor. */
function functionsOfC(file: TextFile): Span[] {
  const lines = linesOf(file);
  return [...lines.keys()]
    .filter((i) => lines[i] === "}")
    .map((last) => {
      let first = last - 1;
      while (first > 0 && !/^[A-Za-z_].*[^:]$/.test(lines[first] ?? "")) first--;
      return { first, last };
    });
}

function isCode(file: TextFile): boolean {
  return /\.(?:ts|mjs|c|h)$/.test(file.path);
}

function isSource(file: TextFile): boolean {
  return /^src\/.*\.ts$/.test(file.path);
}

function linesOf(file: TextFile): string[] {
  const lines = file.text.split("\n");
  return lines.at(-1) === "" ? lines.slice(0, -1) : lines;
}

/** A line without its comment; empty when it is one. A `//` inside a string ends it early. */
function withoutComment(line: string): string {
  return /^\s*(?:\*|\/\*)/.test(line) ? "" : line.replace(/(?:^|\s)\/\/.*/, "").trimEnd();
}

function withoutStrings(line: string): string {
  return line.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`/g, '""');
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

/** The path of the file that a relative import names. */
function resolvePath(from: string, name: string): string {
  return new URL(name, `file:///${from}`).pathname.slice(1).replace(/\.js$/, ".ts");
}

function findLines(file: TextFile, check: (line: string) => string | false): Finding[] {
  return linesOf(file).flatMap((line, i) => {
    const what = check(line);
    return what === false ? [] : [at(file, i, what)];
  });
}

function at(file: TextFile, lineIndex: number, what: string): Finding {
  return `${file.path}:${lineIndex + 1}: ${what}`;
}
