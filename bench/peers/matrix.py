"""The crash matrix with Python's mmap: the stages and abuses of test/crash, and Python's own ways of
touching (ways.py). Each cell is a forked process; what became of it is a line of its parent:

    matrix.py STAGE ABUSE FOLDER WORK [WAY]...    STAGE, ABUSE, WAY, VERDICT, REASON, tabs between
    matrix.py --count ABUSE...                    how many cells there are of these together

FOLDER is for the files of the mappings, WORK for all others. The verdicts are those of verdict.ts.
"""

import atexit
import errno
import gc
import mmap
import os
import queue
import random
import select
import signal
import sys
import threading

from ways import WAYS, Kit

PAGE = mmap.PAGESIZE
FILE_LENGTH = 8 * PAGE
WINDOW = (3 * PAGE, 2 * PAGE)
LARGE_LENGTH = 4 * 2**20
HUGE_LENGTH = 2 * 2**20
HUGE_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000 | 0x40000 | (21 << 26)
CONTENT, FOREIGN = 5, 0x6E
SECONDS_MAX = 60

# What Python has no way to do.
LACKS = {
    "transferred": "memory cannot be moved to another object",
    "shared": "threads share every object as it is",
    "worker-terminated": "a thread cannot be terminated",
}
FIXED = "a mapping that may not be written has no resize"


def lack_of(stage, abuse):
    """Why there is no such cell, or None."""
    is_fixed = stage == "resized" and abuse in ("read-only", "none")
    return FIXED if is_fixed else LACKS.get(stage)


def is_cell(abuse, way):
    """Whether a way meets an abuse, as in the matrix."""
    if abuse == "close-meanwhile":
        return way.waits
    return abuse != "read-only" or way.touch not in ("read", "kernel-read")


class Scene:
    """A file, its mapping between two others, and the window that is touched."""

    def __init__(self, stage, abuse, folder, work):
        self.stage, self.abuse = stage, abuse
        self.content = 0 if abuse in ("disk-full", "huge-pool") else CONTENT
        self.start, self.length = WINDOW
        self.path = None
        self.other = os.path.join(work, "other.bin")
        if abuse not in ("huge-pool", "close-meanwhile"):
            self.path = os.path.join(folder, f"cell-{os.getpid()}.bin")
            with open(self.path, "wb") as file:
                if abuse == "disk-full":
                    file.truncate(FILE_LENGTH)
                else:
                    file.write(bytes([CONTENT]) * FILE_LENGTH)
        self.others = [self.map_other()]
        self.memory = self.map()
        self.others.append(self.map_other())
        self.before = None
        if abuse == "close-meanwhile":
            self.start, self.length = 0, LARGE_LENGTH
            self.before = random.randbytes(LARGE_LENGTH)
            self.memory[:] = self.before

    def map_other(self):
        with open(self.other, "r+b") as file:
            return mmap.mmap(file.fileno(), FILE_LENGTH)

    def map(self):
        if self.abuse == "huge-pool":
            return mmap.mmap(-1, HUGE_LENGTH, flags=HUGE_FLAGS)
        if self.path is None:
            return mmap.mmap(-1, LARGE_LENGTH)
        length = 6 * PAGE if self.stage == "resized" else FILE_LENGTH
        with open(self.path, "r+b") as file:
            if self.abuse == "read-only":
                return mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ)
            if self.abuse == "none":
                return mmap.mmap(file.fileno(), length, prot=0)
            return mmap.mmap(file.fileno(), length)

    def close(self):
        """Closes the mapping, which a view refuses."""
        try:
            self.memory.close()
        except BufferError:
            pass

    def reach_stage(self):
        """Brings the mapping to its stage; returns what must live until the end."""
        if self.stage == "pinned":
            return memoryview(self.memory)
        if self.stage == "resized" and self.path is not None:
            self.memory.resize(FILE_LENGTH)
        if self.stage == "closed":
            self.memory.close()
        if self.stage == "dropped":
            view = memoryview(self.memory)
            self.memory = None
            gc.collect()
            self.memory = view.obj
        return None

    def commit(self):
        """What is done before the touch."""
        if self.abuse == "truncate-part":
            os.truncate(self.path, PAGE + 100)
        elif self.abuse == "truncate-zero":
            os.truncate(self.path, 0)
        elif self.abuse == "delete":
            os.unlink(self.path)
        elif self.abuse == "close":
            self.close()
            self.others.append(self.map_other())

    def meanwhile(self):
        if self.abuse != "close-meanwhile":
            return
        if self.stage == "resized":
            try:
                self.memory.resize(2 * LARGE_LENGTH)
            except BufferError:
                pass
        else:
            self.close()

    def ordinary(self):
        """Ordinary memory with the same content."""
        memory = mmap.mmap(-1, max(len(self.others[0]), self.start + self.length))
        memory[:] = self.before or bytes([self.content]) * len(memory)
        return memory

    def is_damaged(self):
        with open(self.other, "r+b") as file:
            whole = bytes([FOREIGN]) * FILE_LENGTH
            if file.read() != whole:
                file.seek(0)
                file.write(whole)
                return True
        if self.path is None or self.abuse == "delete":
            return False
        with open(self.path, "rb") as file:
            data = file.read()
        size = {"truncate-part": PAGE + 100, "truncate-zero": 0}.get(self.abuse, FILE_LENGTH)
        may_write = self.abuse not in ("read-only", "none") and self.stage != "closed"
        kept = data[:PAGE] if may_write else data
        return len(data) != size or kept != bytes([self.content]) * len(kept)

    def judge(self, way, memory, outcome, kit):
        """The verdict on a touch that is over; `outcome` is what it gave, or its error."""
        value, error = outcome
        if self.is_damaged():
            return "wrong"
        if error is not None:
            return "told"
        is_kernel = way.touch.startswith("kernel")
        if is_kernel and isinstance(value, int) and value < self.length:
            return "told"
        other = self.ordinary()
        same = way.use(other, self.start, self.length, kit)
        end = self.start + self.length
        wanted = other[self.start : end]
        is_right = value == same and (memory.closed or memory[self.start : end] == wanted)
        if self.path is not None and self.abuse != "delete":
            with open(self.path, "rb") as file:
                is_right = is_right and file.read()[self.start : end] == wanted
        return "right" if is_right else "wrong"


def touch(way, memory, scene, kit):
    """What a touch gives, and its error."""
    try:
        return way.use(memory, scene.start, scene.length, kit), None
    except Exception as error:  # Whatever it is, it was told.
        return None, error


def in_thread(target, *args, daemon=False):
    thread = threading.Thread(target=target, args=args, daemon=daemon)
    thread.start()
    return thread


def touch_in_thread(way, scene, kit):
    """Touches in a thread: what was handed to it, or what it maps itself."""
    handed, answers = queue.Queue(), queue.Queue()
    mapped, committed = threading.Event(), threading.Event()

    def run():
        memory = handed.get() if scene.stage == "posted" else scene.map()
        mapped.set()
        committed.wait()
        try:
            if scene.stage == "worker-exiting":
                sys.exit()
        finally:
            answers.put((memory, touch(way, memory, scene, kit)))

    thread = in_thread(run)
    handed.put(scene.memory)
    mapped.wait()
    scene.commit()
    committed.set()
    memory, outcome = answers.get()
    thread.join()
    return memory, outcome


def touch_meanwhile(way, scene, kit):
    """Touches in a thread of its own, while the mapping is closed, or not."""
    answers = queue.Queue()
    thread = in_thread(lambda: answers.put(touch(way, scene.memory, scene, kit)))
    scene.meanwhile()
    thread.join()
    return answers.get()


def run_cell(stage, abuse, way, folders, say):
    """One cell, in the forked process."""
    folder, work = folders
    kit = Kit(work)
    scene = Scene(stage, abuse, folder, work)
    if stage in ("posted", "attached", "worker-exiting"):
        memory, outcome = touch_in_thread(way, scene, kit)
        say(scene.judge(way, memory, outcome, kit))
        return
    kept = scene.reach_stage()
    scene.commit()
    if stage == "exiting":
        begin_at_exit(way, scene, kit, say)
        return
    memory = scene.memory
    outcome = touch_meanwhile(way, scene, kit) if way.waits else touch(way, memory, scene, kit)
    say(scene.judge(way, memory, outcome, kit))
    del kept


def begin_at_exit(way, scene, kit, say):
    """The last handler of the process touches, or a thread that goes on meanwhile."""

    def at_exit():
        if not way.waits:
            outcome = touch(way, scene.memory, scene, kit)
            say(scene.judge(way, scene.memory, outcome, kit))
        else:
            say("wrong" if scene.is_damaged() else "unseen")

    atexit.register(at_exit)
    if way.waits:
        in_thread(touch, way, scene.memory, scene, kit, daemon=True)
        scene.meanwhile()


def verdict_of(pid, pipe):
    """Waits for the verdict of a cell, or for the end of its process."""
    ready, _, _ = select.select([pipe], [], [], SECONDS_MAX)
    text = os.read(pipe, 100).decode() if ready else ""
    if not ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if not ready:
        return "hung"
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return name if name in ("SIGBUS", "SIGSEGV") else "abort"
    return text if status == 0 and text else "abort"


def fill_up(folder):
    """Takes every free page of a small file system; a large one is somebody's disk."""
    free = os.statvfs(folder)
    if free.f_bavail * free.f_bsize > 64 * 2**20:
        raise RuntimeError(f"{folder} is no small file system")
    with open(os.path.join(folder, "filler"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def main():
    if sys.argv[1] == "--count":
        print(sum(is_cell(abuse, way) for abuse in sys.argv[2:] for way in WAYS))
        return
    stage, abuse, folder, work, *only = sys.argv[1:]
    if abuse == "disk-full":
        fill_up(folder)
    with open(os.path.join(work, "other.bin"), "wb") as file:
        file.write(bytes([FOREIGN]) * FILE_LENGTH)
    for way in WAYS:
        if not is_cell(abuse, way) or (only and way.name not in only):
            continue
        reason = lack_of(stage, abuse)
        verdict = "cannot"
        if reason is None:
            sys.stdout.flush()
            pipe, end = os.pipe()
            pid = os.fork()
            if pid == 0:
                run_cell(stage, abuse, way, (folder, work), lambda word: os.write(end, word.encode()))
                return
            os.close(end)
            verdict = verdict_of(pid, pipe)
            os.close(pipe)
            path = os.path.join(folder, f"cell-{pid}.bin")
            if os.path.exists(path):
                os.unlink(path)
        print(stage, abuse, way.name, verdict, *([reason] if reason else []), sep="\t")


main()
