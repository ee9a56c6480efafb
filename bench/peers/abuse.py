"""Does one thing to the memory of Python's mmap: abuse.py ABUSE PATH. See abuse.mjs."""

import mmap
import os
import sys
import zlib

PAGE = 4096
LENGTH = 8 * PAGE
abuse, path = sys.argv[1:]


def mapped(access=mmap.ACCESS_WRITE):
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), LENGTH, access=access)


if abuse in ("truncate", "truncate-zlib"):
    memory = mapped()
    os.truncate(path, PAGE)
    print("read", memory[5 * PAGE] if abuse == "truncate" else zlib.crc32(memory))
elif abuse == "read-only":
    try:
        mapped(mmap.ACCESS_READ)[5 * PAGE] = 99
    except TypeError as error:
        print("TypeError:", error)
elif abuse == "none":
    with open(path, "r+b") as file:
        print("read", mmap.mmap(file.fileno(), LENGTH, prot=0)[5 * PAGE])
elif abuse in ("unmapped", "alias"):
    memory = mapped()
    memory.close()
    try:
        print("read", memory[5 * PAGE])
    except ValueError as error:
        print("ValueError:", error)
elif abuse == "disk-full":
    mapped()[5 * PAGE] = 1
    print("written")
elif abuse == "huge-pool":
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000 | 0x40000 | (21 << 26)
    mmap.mmap(-1, 2**21, flags=flags)[0] = 1
    print("written")
