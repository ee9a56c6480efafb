"""Python's ways of touching memory, as data: each has a name, what it does with the pages (as in
test/crash/way.ts), whether it works in a thread while others go on, and a function of the mapping,
the start and the length of the window, and a kit of what is not mapped.
"""

import array
import base64
import binascii
import bz2
import codecs
import ctypes
import hashlib
import hmac
import io
import lzma
import marshal
import os
import pickle
import re
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Kit:
    """An ordinary file, and ordinary bytes as long as the window."""

    def __init__(self, folder):
        path = os.path.join(folder, f"scratch-{os.getpid()}")
        self.file = open(path, "w+b", buffering=0)
        os.unlink(path)
        self.file.write(b"\x42" * 8192)
        self.heap = b"\x41" * 8192


@dataclass(frozen=True)
class Way:
    name: str
    touch: str
    waits: bool
    use: Callable[[Any, int, int, Kit], Any]


def view_of(memory, start, length):
    return memoryview(memory)[start : start + length]


def with_view(function):
    """A use of a view of the window."""

    def use(memory, start, length, kit):
        with view_of(memory, start, length) as view:
            return function(view, kit)

    return use


def kernel_use(function):
    """A use of a view by a system call, from the beginning of the file."""

    def use(memory, start, length, kit):
        with view_of(memory, start, length) as view:
            kit.file.seek(0)
            return function(view, kit)

    return use


def through_socket(view, kit):
    one, other = socket.socketpair()
    with one, other:
        return one.send(view)


def from_socket(view, kit):
    one, other = socket.socketpair()
    with one, other:
        one.sendall(kit.heap)
        return other.recv_into(view)


def cast(view, letter):
    return view.cast(letter)


def total_of(memory, start, length, kit):
    total = 0
    for index in range(start, start + length):
        total += memory[index]
    return total


def fill_each(memory, start, length, kit):
    for index in range(start, start + length):
        memory[index] = index % 256


def add_to_each(memory, start, length, kit):
    for index in range(start, start + length):
        memory[index] = (memory[index] + 7) % 256


def assign(function):
    """A use that returns nothing."""

    def use(memory, start, length, kit):
        function(memory, start, length)

    return use


def set_index(memory, start, length):
    memory[start + 4097] = 1


def set_slice(memory, start, length):
    memory[start : start + length] = b"\x33" * length


def set_steps(memory, start, length):
    memory[start : start + length : 2] = b"\x34" * (length // 2)


def add_one(memory, start, length):
    memory[start + 4100] += 1


def write_at(memory, start, length):
    memory.seek(start)
    memory.write(b"\x35" * length)


def write_byte_at(memory, start, length):
    memory.seek(start)
    memory.write_byte(3)


def read_at(method, *args):
    def use(memory, start, length, kit):
        memory.seek(start)
        return getattr(memory, method)(*[length for _ in args])

    return use


def set_view(view, kit):
    view[:] = bytes(len(view))


def set_words(view, kit):
    words = view.cast("I")
    words[1025] = 7


def move_in(view, kit):
    target = (ctypes.c_char * len(view)).from_buffer(view)
    ctypes.memmove(target, b"\x36" * len(view), len(view))
    del target


def add_in_c(view, kit):
    word = ctypes.c_uint32.from_buffer(view, 4100)
    word.value += 1
    del word


def copy_out(view, kit):
    source = (ctypes.c_char * len(view)).from_buffer(view)
    copied = ctypes.string_at(ctypes.addressof(source), len(view))
    del source
    return copied


METHODS = {
    "index": lambda m, start, length, kit: m[start + 4096],
    "slice": lambda m, start, length, kit: m[start : start + length],
    "slice with a step": lambda m, start, length, kit: m[start : start + length : 7],
    "loop of indexes": total_of,
    "find": lambda m, start, length, kit: m.find(b"needle", start, start + length),
    "rfind": lambda m, start, length, kit: m.rfind(b"needle", start, start + length),
    "read": read_at("read", "length"),
    "read_byte": read_at("read_byte"),
    "readline": read_at("readline"),
    "struct.unpack_from": lambda m, start, length, kit: struct.unpack_from("<IdQ", m, start + 4088),
    "array.array of a slice": lambda m, start, length, kit: array.array("I", m[start : start + length]),
}

READS = {
    "bytes": lambda view, kit: bytes(view),
    "bytearray": lambda view, kit: bytearray(view),
    "list": lambda view, kit: list(view),
    "tuple of it reversed": lambda view, kit: tuple(reversed(view)),
    "sum": lambda view, kit: sum(view),
    "max": lambda view, kit: max(view),
    "sorted": lambda view, kit: sorted(view),
    "set": lambda view, kit: set(view),
    "in": lambda view, kit: 0xFE in view,
    "comprehension": lambda view, kit: [byte + 1 for byte in view],
    "memoryview.tobytes": lambda view, kit: view.tobytes(),
    "memoryview.tolist": lambda view, kit: view.tolist(),
    "memoryview.hex": lambda view, kit: view.hex(),
    "memoryview ==": lambda view, kit: view == kit.heap,
    "memoryview of doubles": lambda view, kit: sum(cast(view, "d")),
    "memoryview of words": lambda view, kit: cast(view, "I")[1025],
    "b''.join": lambda view, kit: b"".join([kit.heap, view]),
    "bytearray +=": lambda view, kit: bytearray(kit.heap).__iadd__(view),
    "str of latin1": lambda view, kit: str(view, "latin1"),
    "codecs.decode": lambda view, kit: codecs.decode(view, "utf-16-le", "replace"),
    "int.from_bytes": lambda view, kit: int.from_bytes(view, "little"),
    "struct.iter_unpack": lambda view, kit: list(struct.iter_unpack("<hhI", view)),
    "array.frombytes": lambda view, kit: array.array("B").frombytes(view),
    "re.search": lambda view, kit: re.search(b"needle", view),
    "re.findall": lambda view, kit: len(re.findall(b"[\x00-\x07]", view)),
    "binascii.hexlify": lambda view, kit: binascii.hexlify(view),
    "binascii.crc_hqx": lambda view, kit: binascii.crc_hqx(view, 0),
    "base64.b64encode": lambda view, kit: base64.b64encode(view),
    "zlib.crc32": lambda view, kit: zlib.crc32(view),
    "zlib.adler32": lambda view, kit: zlib.adler32(view),
    "zlib.compress": lambda view, kit: zlib.compress(view, 1),
    "zlib.compressobj": lambda view, kit: zlib.compressobj(0).compress(view),
    "bz2.compress": lambda view, kit: bz2.compress(view, 1),
    "lzma.compress": lambda view, kit: lzma.compress(view, preset=0),
    "hashlib.sha256": lambda view, kit: hashlib.sha256(view).digest(),
    "hashlib.md5": lambda view, kit: hashlib.md5(view).digest(),
    "hashlib.blake2b": lambda view, kit: hashlib.blake2b(view).digest(),
    "hashlib.pbkdf2_hmac": lambda view, kit: hashlib.pbkdf2_hmac("sha256", view, b"salt", 1),
    "hmac.digest": lambda view, kit: hmac.digest(b"key", view, "sha1"),
    "io.BytesIO": lambda view, kit: io.BytesIO(view).read(),
    "pickle.dumps": lambda view, kit: pickle.dumps(bytearray(view)),
    "marshal.dumps": lambda view, kit: marshal.dumps(view),
}

WRITES = {
    "index, written": assign(set_index),
    "slice, written": assign(set_slice),
    "slice with a step, written": assign(set_steps),
    "loop of indexes, written": fill_each,
    "write": assign(write_at),
    "write_byte": assign(write_byte_at),
    "struct.pack_into": lambda m, start, length, kit: struct.pack_into("<IQ", m, start + 4092, 1, 2),
    "memoryview, written": with_view(set_view),
    "memoryview of words, written": with_view(set_words),
    "ctypes.memmove into it": with_view(move_in),
}

UPDATES = {
    "index +=": assign(add_one),
    "loop of indexes +=": add_to_each,
    "move": lambda m, start, length, kit: m.move(start, start + 4096, 4096),
    "move, overlapping": lambda m, start, length, kit: m.move(start + 100, start, 5000),
    "ctypes word +=": with_view(add_in_c),
    "ctypes.string_at": with_view(copy_out),
}

KERNEL_READS = {
    "os.write": lambda view, kit: os.write(kit.file.fileno(), view),
    "os.writev": lambda view, kit: os.writev(kit.file.fileno(), [view]),
    "os.pwrite": lambda view, kit: os.pwrite(kit.file.fileno(), view, 0),
    "file.write": lambda view, kit: kit.file.write(view),
    "socket.send": through_socket,
}

KERNEL_WRITES = {
    "os.preadv": lambda view, kit: os.preadv(kit.file.fileno(), [view], 0),
    "file.readinto": lambda view, kit: kit.file.readinto(view),
    "socket.recv_into": from_socket,
}

# In a thread, where most of them let the others go on meanwhile.
IN_THREADS = [
    *[(name, "read", with_view(READS[name])) for name in (
        "bytes", "zlib.crc32", "zlib.compress", "bz2.compress", "lzma.compress", "hashlib.sha256",
        "hashlib.pbkdf2_hmac",
    )],
    *[(name, "kernel-read", kernel_use(KERNEL_READS[name])) for name in ("os.write", "file.write")],
    *[(name, "kernel-write", kernel_use(KERNEL_WRITES[name])) for name in ("os.preadv",)],
    ("slice, written", "write", WRITES["slice, written"]),
    ("loop of indexes +=", "update", UPDATES["loop of indexes +="]),
]

WAYS = [
    *[Way(name, "read", False, use) for name, use in METHODS.items()],
    *[Way(name, "read", False, with_view(use)) for name, use in READS.items()],
    *[Way(name, "write", False, use) for name, use in WRITES.items()],
    *[Way(name, "update", False, use) for name, use in UPDATES.items()],
    *[Way(name, "kernel-read", False, kernel_use(use)) for name, use in KERNEL_READS.items()],
    *[Way(name, "kernel-write", False, kernel_use(use)) for name, use in KERNEL_WRITES.items()],
    *[Way(f"{name} in a thread", touch, True, use) for name, touch, use in IN_THREADS],
]
