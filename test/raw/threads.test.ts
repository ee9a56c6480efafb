// Raw addresses belong to all threads of the process: threads that map, unmap, move and touch one
// range at once, and threads that end while others hold views over what they mapped, or have got
// views of theirs.

import assert from "node:assert/strict";
import test from "node:test";
import { rawAnswer } from "./program.js";

test("threads that change one range at once end nothing, and leave memory of others", async (t) => {
  const code = `
    const places = new BigUint64Array(workerData?.data.places ?? new SharedArrayBuffer(64));
    const end = Date.now() + 1500;
    function play(number) {
      const views = [];
      let turns = 0, seed = number + 1;
      const random = (limit) => (seed = (seed * 48271) % 2147483647) % limit;
      while (Date.now() < end) {
        const from = places[random(2)] + BigInt(random(4)) * page;
        const length = (1 + random(4)) * pageSize;
        const calls = [
          () => raw.mmap(from, length, rw, kind | raw.MAP_FIXED, -1, 0),
          () => raw.mmap(from, length, 0, kind | raw.MAP_FIXED, -1, 0),
          () => raw.munmap(from, length),
          () => raw.mprotect(from, length, random(2) * 3),
          () => raw.mremap(from, length, length, moving, places[random(2)] + 4n * page),
          () => raw.madvise(from, length, raw.MADV_DONTNEED),
          () => views.push(raw.view(from, length)),
          () => { for (const view of views) view[random(view.length)] = 1; },
          () => { for (const view of views) turns += view[random(view.length)]; },
          () => views.splice(0, 3),
        ];
        const code = codeOf(calls[random(calls.length)]);
        if (!/^(|E[A-Z]+|ERR_MEMMAP_UNSAFE_FIXED|ERR_MEMMAP_PINNED)$/.test(code)) return code;
        while (faults(0n, 2n ** 64n - 1n) !== 0);
        turns += 1;
      }
      return turns > 100;
    }
    process.on("uncaughtException", (error) => {
      if (!(error instanceof FaultError)) throw error;
    });
    if (!isMainThread) {
      parentPort.postMessage(play(workerData.data.number));
      await forever();
    }
    const foreign = makeForeign(4);
    places[0] = mapPages(8);
    places[1] = mapPages(8);
    const workers = [1, 2].map((number) => startPart("play", { places: places.buffer, number }));
    const results = workers.map(messageOf);
    const mine = play(0);
    const theirs = await Promise.all(results);
    await Promise.all(workers.map((worker) => worker.terminate()));
    const views = [raw.view(mapPages(1), 1)];
    answer({ played: [mine, ...theirs], whole: foreign.isWhole() });
    process.exit(0);`;
  const answer = await rawAnswer(t, code);
  assert.deepEqual(answer, { played: [true, true, true], whole: true });
});

test("what a thread has mapped goes when it ends, but for addresses under a view", async (t) => {
  const code = `
    if (!isMainThread) {
      // Without a view of its own, whose addresses some runtimes would keep for good.
      const fd = fs.openSync(makeFile(2));
      const address = raw.mmap(null, 2 * pageSize, rw, raw.MAP_PRIVATE, fd, 0);
      parentPort.postMessage({ address, bare: mapPages(2) });
      await forever();
    }
    const worker = startPart("map");
    const { address, bare } = await messageOf(worker);
    const held = [raw.view(address + page, 10)];
    const before = [at(bare), held[0][0]];
    await worker.terminate();
    await until(() => at(address) === ""); // Deno does not wait for the thread
    const after = [at(bare), at(address + page)];
    const read = held[0][0];
    const told = faults(address, 2 * pageSize);
    held.length = 0;
    answer({ before, after, read, told, freed: await freed(address + page) });`;
  assert.deepEqual(await rawAnswer(t, code), {
    before: ["rw-p", 2],
    after: ["", "---p"],
    read: 0,
    told: [1, "closed"],
    freed: true,
  });
});

test("a view that a thread has given away outlives the thread", async (t) => {
  const code = `
    if (!isMainThread) {
      const bytes = raw.view(workerData.data.address, pageSize);
      const { buffer } = bytes;
      try {
        parentPort.postMessage(buffer, [buffer]);
      } catch {
        parentPort.postMessage(undefined); // where the runtime gives no such buffer away
      }
      await forever();
    }
    const address = mapPages(1);
    const worker = startPart("give", { address });
    const buffer = await messageOf(worker);
    await worker.terminate();
    await collect();
    raw.munmap(address, pageSize);
    const views = Array.from({ length: 20 }, () => makePages(1));
    const kept = buffer === undefined ? "---p" : at(address);
    const read = buffer === undefined ? 0 : new Uint8Array(buffer)[0];
    faults(address, pageSize);
    answer({ kept, read, others: views.every(({ bytes }) => bytes[0] === 1) });`;
  assert.deepEqual(await rawAnswer(t, code), { kept: "---p", read: 0, others: true });
});

test("threads with views come and go without a trace in the ranges of others", async (t) => {
  const code = `
    if (!isMainThread) {
      const views = Array.from({ length: 20 }, () => makePages(2));
      for (const { address } of views.slice(10)) raw.munmap(address, pageSize);
      parentPort.postMessage(views.map(({ address }) => address));
      await forever();
    }
    const { address, bytes } = makePages(2);
    const all = [];
    for (let i = 0; i < 5; i++) {
      const worker = startPart("views");
      all.push(...(await messageOf(worker)));
      await worker.terminate();
    }
    await collect();
    // What is left of them is memory that nobody may touch.
    const left = [...new Set(all.map((each) => at(each)))].filter((each) => each === "rw-p");
    raw.munmap(address, pageSize);
    const again = Array.from({ length: 50 }, () => makePages(1));
    const fine = again.every(({ bytes }) => bytes[0] === 1);
    answer({ left: left.length, fine, mine: [bytes[pageSize], at(address)] });`;
  const { left, ...rest } = await rawAnswer(t, code);
  assert.deepEqual(rest, { fine: true, mine: [2, "---p"] });
  assert.ok(Number(left) <= 1, "a page of theirs is still mapped, and not by somebody else");
});
