// Which advice another process takes, for probe.ts.

import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { withPeer } from "../helpers/peer.js";
import { anonymous, mapPages, pages, rw } from "../helpers/raw-pages.js";
import type { CaseContext, Check } from "./case.js";

/* Two huge pages at a border of one, all of it written. */
const peer = `
  const size = 2 ** 22;
  const rw = raw.PROT_READ | raw.PROT_WRITE;
  const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
  const place = raw.mmap(null, 2 * size, rw, kind, -1, 0);
  const address = place + ((-place % BigInt(size)) + BigInt(size)) % BigInt(size);
  const view = raw.view(address, size).fill(7);
  ready({ pid: process.pid, address: String(address) });
  await until(isStopped);
  answer({ kept: view.every((byte) => byte === 7) });`;

const advices = Object.entries(raw)
  .filter(([name]) => name.startsWith("MADV_"))
  .map(([name, value]) => [name, Number(value)] as const);

const remote = ["MADV_WILLNEED", "MADV_COLD", "MADV_PAGEOUT", "MADV_COLLAPSE"];

/** Advises on another process, and on this one. */
export async function checkRemoteAdvice(check: Check, t: CaseContext): Promise<void> {
  const answer = await withPeer(t, { code: peer }, ({ pid, address }) => {
    const pidfd = raw.pidfd_open(Number(pid), 0);
    t.after(() => raw.close(pidfd));
    const ranges = [{ addr: BigInt(String(address)), length: 2 ** 22 }];
    for (const [name, advice] of advices) {
      const advise = () => raw.process_madvise(pidfd, ranges, advice, 0);
      if (remote.includes(name)) check.equal(advise(), 2 ** 22, name);
      else check.refuses(advise, "EINVAL");
    }
  });
  check.deepEqual(answer, { kept: true });
  const self = raw.pidfd_open(process.pid, 0);
  t.after(() => raw.close(self));
  const addr = mapPages(t, 4, { flags: anonymous, prot: rw });
  const own = (advice: number) =>
    raw.process_madvise(self, [{ addr, length: pages(4) }], advice, 0);
  const view = raw.view(addr, 4 * pageSize).fill(3);
  const { MADV_COLD, MADV_DOFORK, MADV_DONTFORK, MADV_FREE, MADV_POPULATE_READ } = raw;
  for (const advice of [MADV_DONTFORK, MADV_DOFORK, MADV_POPULATE_READ, MADV_FREE, MADV_COLD]) {
    check.equal(own(advice), 4 * pageSize);
  }
  check.equal(own(raw.MADV_DONTNEED), 4 * pageSize);
  check.ok(view.every((byte) => byte === 0));
  check.equal(own(raw.MADV_GUARD_INSTALL), 4 * pageSize);
  check.refuses(() => raw.madvise(addr, 4 * pageSize, MADV_POPULATE_READ), "EFAULT");
  check.equal(own(raw.MADV_GUARD_REMOVE), 4 * pageSize);
}
