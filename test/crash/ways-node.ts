// Touches by the modules of the runtime: crypto, zlib, structured copies, comparison.

import assert from "node:assert/strict";
import crypto from "node:crypto";
import { inspect, isDeepStrictEqual } from "node:util";
import v8 from "node:v8";
import zlib from "node:zlib";
import { asBuffer, call, called, later, now, type View, type Way } from "./way.js";

const read = now("read");
const write = now("write");

type Use = (view: View, heap: Uint8Array<ArrayBuffer>) => unknown;

/* The web's crypto takes no memory that is shared, and says so by its types as well. */
function webBytes(view: View): Uint8Array<ArrayBuffer> {
  const { buffer } = view;
  if (buffer instanceof ArrayBuffer) return new Uint8Array(buffer, view.byteOffset, view.length);
  throw new TypeError("the memory is shared");
}

const cryptoReads: Readonly<Record<string, Use>> = {
  "createHash sha256": (view) => crypto.createHash("sha256").update(view).digest(),
  "createHash md5": (view) => crypto.createHash("md5").update(view).digest("hex"),
  "createHmac over it": (view) => crypto.createHmac("sha1", "key").update(view).digest(),
  "createHmac with it as key": (view) => crypto.createHmac("sha256", view).update("a").digest(),
  "pbkdf2Sync of it": (view) => crypto.pbkdf2Sync(view, "salt", 1, 16, "sha256"),
  "createCipheriv over it": (view) =>
    crypto.createCipheriv("aes-128-cbc", Buffer.alloc(16), Buffer.alloc(16)).update(view),
  "createSecretKey of it": (view) => crypto.createSecretKey(view),
  timingSafeEqual: (view) => crypto.timingSafeEqual(view, new Uint8Array(view.length)),
};

const cryptoWrites: Readonly<Record<string, Use>> = {
  randomFillSync: (view) => crypto.randomFillSync(view),
  "crypto.getRandomValues": (view) => crypto.webcrypto.getRandomValues(webBytes(view)),
};

const zlibReads: Readonly<Record<string, Use>> = {
  deflateSync: (view) => zlib.deflateSync(view),
  gzipSync: (view) => zlib.gzipSync(view, { level: 1 }),
  deflateRawSync: (view) => zlib.deflateRawSync(view, { level: 0 }),
  brotliCompressSync: (view) =>
    zlib.brotliCompressSync(view, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } }),
  "inflateSync of no such data": (view) => mayRefuse(() => zlib.inflateSync(view)),
};

/* What it reads may not be what it wants; only that it has read is of interest. */
function mayRefuse(use: () => unknown): unknown {
  try {
    return use();
  } catch (error) {
    return error;
  }
}

const copies: Readonly<Record<string, Use>> = {
  isDeepStrictEqual: (view) => isDeepStrictEqual(view, new Uint8Array(view.length).fill(5)),
  "assert.notDeepEqual": (view) => assert.notDeepEqual(view, new Uint8Array(view.length).fill(6)),
  "util.inspect": (view) => inspect(view, { maxArrayLength: 5000 }),
};

function waysOf(uses: Readonly<Record<string, Use>>, make: typeof read): Way[] {
  return Object.entries(uses).map(([name, use]) =>
    make(
      name,
      (view, { heap }) =>
        () =>
          use(view, heap),
    ),
  );
}

const waitingReads: readonly Way[] = [
  later("read")("deflate", (view) => () => called((done) => zlib.deflate(view, done))),
  later("read")("gzip", (view) => () => called((done) => zlib.gzip(view, done))),
  later("read")("brotliCompress", (view) => {
    const params = { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 };
    return () => called((done) => zlib.brotliCompress(view, { params }, done));
  }),
  later("read")("createDeflate stream", (view) => () => {
    const stream = zlib.createDeflate();
    return called((done) => {
      stream
        .on("error", done)
        .on("end", () => done(null))
        .resume();
      stream.end(view);
    });
  }),
  later("read")(
    "pbkdf2 of it",
    (view) => () => called((done) => crypto.pbkdf2(view, "salt", 1, 16, "sha256", done)),
  ),
  later("read")(
    "scrypt of it",
    (view) => () => called((done) => crypto.scrypt(view, "salt", 16, { N: 2 }, done)),
  ),
  later("read")(
    "subtle.digest",
    (view) => () => crypto.webcrypto.subtle.digest("SHA-256", webBytes(view)),
  ),
  later("read")(
    "subtle.importKey",
    (view) => () =>
      crypto.webcrypto.subtle.importKey(
        "raw",
        webBytes(view),
        { name: "HMAC", hash: "SHA-256" },
        false,
        ["sign"],
      ),
  ),
];

/** crypto, zlib, structured copies. */
export const moduleWays: readonly Way[] = [
  ...waysOf(cryptoReads, read),
  ...waysOf(cryptoWrites, write),
  ...waysOf(zlibReads, read),
  ...waysOf(copies, read),
  read("zlib.crc32", (view) => () => call(zlib, "crc32", view)),
  read("crypto.hash", (view) => () => call(crypto, "hash", "sha256", view)),
  read("structuredClone", (view) => () => structuredClone(view), { whole: true, clones: true }),
  read("v8.serialize", (view) => () => v8.serialize(view), { whole: true }),
  ...waitingReads,
  /* On some processors it enciphers zeros in place: the middle of that is read first. */
  later("update")(
    "randomFill",
    (view) => () => called((done) => crypto.randomFill(asBuffer(view), done)),
  ),
];
