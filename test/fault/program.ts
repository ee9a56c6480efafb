// The program that makes each system call of an operation fail in turn, and looks at what is left:
// which error came, whether the mapping still is what it was, and whether anything was lost.

/* Names of calls and errors, as failCall() and the manual have them. */
const calls = [
  "mmap",
  "munmap",
  "mremap",
  "mprotect",
  "madvise",
  "msync",
  "mlock",
  "munlock",
  "mincore",
  "fallocate",
  "memfd_create",
  "ftruncate",
  "process_vm_readv",
  "fcntl",
];
const errors = { ENOMEM: 12, EINTR: 4, EAGAIN: 11, EIO: 5, ENOSPC: 28 };

/** An operation, as source text; `state` is what `setup` returned. */
export interface Operation {
  /** Makes what the operation works on: `mapping`, and whatever else it wants in its state. */
  readonly setup: string;
  /** The operation; may await. What it returns, when it has a `close`, is closed. */
  readonly act: string;
  /** Throws when the state is not what it was before. Default: content, length and protection. */
  readonly intact?: string;
}

/** More calls than any operation makes of one name. */
const callsMax = 9;

/* What is counted: descriptors, areas by name, and the size of the address space. */
const counting = `
  import { native as load } from "#dist/native.js";
  const native = load();
  /* Far more than what the C library and the engine take for their threads. */
  const length = 1024 * 1024 * 1024;
  const odd = new Map();
  const note = (what, where) => { if (!odd.has(what)) odd.set(what, where); };
  /* Descriptors of the runtime itself come and go. */
  const isOurs = (link) => {
    try {
      const name = fs.readlinkSync(link);
      return /memfd:memmap(?!:guard)/.test(name) || name.startsWith(folder);
    } catch {
      return false;
    }
  };
  const counts = () => {
    native.releaseRetired();
    const size = /^VmSize:\\s+(\\d+)/m.exec(fs.readFileSync("/proc/self/status", "utf8"))[1];
    const rows = fs.readFileSync("/proc/self/maps", "utf8").split("\\n");
    const fds = fs.readdirSync("/proc/self/fd");
    return {
      fds: fds.filter((fd) => isOurs("/proc/self/fd/" + fd)).length,
      rows: rows.filter((row) => /memfd:memmap(?!:guard)|data-/.test(row)).length,
      mebibytes: Math.round(size / 1024),
    };
  };
  const isBack = (before, now, call) => {
    if (now.fds > before.fds) return false;
    /* An area that the kernel was made to keep stays: nobody can do anything about that. */
    if (call === "munmap") return true;
    return now.rows <= before.rows && now.mebibytes < before.mebibytes + 900;
  };`;

/* One try: the operation with a failure in it, what came of that, and the operation once more. */
const attempting = `
  const factsOf = ({ mapping }) => {
    if (mapping === undefined) return "";
    const { byteLength, bytes, protection, closed, address } = mapping;
    const content = byteLength > 0 && protection !== "none"
      ? [bytes[0], bytes[100], bytes[byteLength - 1]]
      : [];
    return JSON.stringify([byteLength, bytes.length, protection, closed, String(address), content]);
  };
  function judge(failure, error, where) {
    const { code, name, syscall } = failure;
    const known = failure instanceof SystemError
      ? code === error.name || code === "EFAULT"
      : failure instanceof FaultError;
    if (!known) note(["error", name, code, syscall, failure.stack].join(" "), where);
  }
  async function lookAfter(state, before, where) {
    const after = factsOf(state);
    if (after !== before) note("changed from " + before + " to " + after, where);
    try {
      intact(state);
    } catch (caught) {
      note("not intact: " + caught.message, where);
    }
    try {
      return await act(state);
    } catch (caught) {
      note("again: " + caught.message, where);
    }
  }
  async function attempt(call, error, nth) {
    const state = setup();
    const before = factsOf(state);
    const where = [call, error.name, nth].join();
    let result;
    let failure;
    native.failCall(call, nth, error.number);
    try {
      result = await act(state);
    } catch (caught) {
      failure = caught;
    }
    native.failCall(call, 0, 0);
    if (failure !== undefined) {
      judge(failure, error, where);
      result = await lookAfter(state, before, where);
    }
    for (const one of [...Object.values(state), result]) one?.close?.();
    return failure !== undefined;
  }`;

const trying = `
  /* Once without a failure and once with one, so that what is made once is not counted. */
  await attempt("mmap", { name: "ENOMEM", number: 12 }, 0);
  await attempt("mmap", { name: "ENOMEM", number: 12 }, 1);
  await sleep(10);
  let failed = 0;
  for (const call of ${JSON.stringify(calls)}) {
    const before = counts();
    for (const [name, number] of Object.entries(${JSON.stringify(errors)})) {
      for (let nth = 1; nth <= ${callsMax}; nth++) {
        if (await attempt(call, { name, number }, nth)) failed += 1;
      }
    }
    for (let i = 0; i < 50 && !isBack(before, counts(), call); i++) {
      globalThis.gc?.();
      globalThis.Bun?.gc(true);
      await sleep(10);
      if (i === 49) note("left: " + JSON.stringify({ before, after: counts() }), call);
    }
  }
  answer({ odd: [...odd].map(([what, where]) => where + ": " + what), failed });
  process.exit(0);`;

/** The text of a program that tries one operation with every failure. */
export function failureProgram({ setup, act, intact = "" }: Operation): string {
  return `${counting}
    const setup = () => { ${setup} };
    const act = async (state) => { ${act} };
    const intact = (state) => { ${intact} };
    ${attempting}
    ${trying}`;
}
