# hyperion-gdb.py - gdb commands that show the fibers of libhyperion.
#
#   (gdb) source hyperion-gdb.py
#   (gdb) hyperion fibers -state parked      who waits for what
#   (gdb) hyperion fiber 0x40000007          backtrace, up, info locals in it
#   (gdb) hyperion fiber 0                   back to its worker's thread
#   (gdb) hyperion bt all                    equal backtraces, counted
#
# For running processes and for core files: nothing is written to either. A
# selected fiber is shown as the callers of the frame in which its thread
# stopped, by an unwinder that answers for that one frame:
#
#      #0  where the thread stopped   <- the unwinder: the caller is at
#      #1  hy_arch_hop                   hy_arch_hop_resumed, with the stack
#      #2  hop ...                       pointer that the fiber has left
#
# From there gdb goes on with the library's unwind information, which it has
# without symbols too. The layout of the library's structs is read from a
# section that the library carries for this script (debugger.c).
#
# gdb 10 or newer, with Python 3.

import fnmatch
import re

import gdb
import gdb.unwinder
from gdb.FrameDecorator import FrameDecorator

FORMAT = 1  # as in debugger.c
WORD_NAME, WORD_SIZE_AT = 28, 28
STATES = {1: "new", 2: "ready", 3: "running", 4: "parked"}  # hy_fiber_state
CHUNK_BYTES = 1 << 20
LIST_MOST = 50
BACKTRACES_MOST = 1000
MISSING = (0, 0)
SOURCES = r"(^|/)(lib/(base|ring|runtime)|arch/\w+)/[^/]+$"
# Program counter, stack pointer, thread pointer, frame pointer; and on which
# side of its thread pointer a thread's variables lie.
MACHINES = {
    "i386:x86-64": ("rip", "rsp", "fs_base", "rbp", -1),
    "aarch64": ("pc", "sp", "tpidr", "x29", 1),
}


# --- reading memory -----------------------------------------------------------

def read(address, count):
    return gdb.selected_inferior().read_memory(address, count).tobytes()


def order():
    text = gdb.execute("show endian", to_string=True)
    return "big" if "big endian" in text else "little"


def pointer_bytes():
    return gdb.lookup_type("char").pointer().sizeof


def read_text(address, most):
    """A C string; what can't be read ends it."""
    text = b""
    while len(text) < most:
        try:
            part = read(address + len(text), min(32, most - len(text)))
        except gdb.MemoryError:
            break
        text += part
        if b"\0" in part:
            break
    return text.split(b"\0")[0].decode(errors="replace")


def symbol(address):
    text = gdb.execute("info symbol %#x" % address, to_string=True)
    if text.startswith("No symbol"):
        return "%#x" % address
    return text.split(" in section ")[0].strip()


# --- the library --------------------------------------------------------------

class Library:
    """One copy of the library in the process, and its section's words."""

    def __init__(self, low, high, path):
        self.path = path
        self.order = order()
        self.pointer = pointer_bytes()
        self.words = {}
        size = (WORD_SIZE_AT + 4 + self.pointer + self.pointer - 1)
        size -= size % self.pointer
        data = read(low, high - low)
        for at in range(0, len(data) - size + 1, size):
            name = data[at:at + WORD_NAME].split(b"\0")[0].decode()
            field = self.number(data[at + WORD_SIZE_AT:at + WORD_SIZE_AT + 4])
            value = self.number(data[at + size - self.pointer:at + size])
            self.words[name] = (value, field)
        found = self.words.get("hyperion fibers", (0, 0))[0]
        if found != FORMAT:
            raise gdb.GdbError(
                "%s: its fibers are described in format %d, and this "
                "hyperion-gdb.py knows %d: use the one that was installed "
                "with that library" % (path, found, FORMAT))

    def number(self, data):
        return int.from_bytes(data, self.order)

    def word(self, name):
        if name not in self.words:
            raise gdb.GdbError(
                "%s does not tell of '%s': this hyperion-gdb.py is of another "
                "version than the library (%s)"
                % (self.path, name, self.version()))
        return self.words[name][0]

    def field(self, data, name):
        """A field of the struct that data holds."""
        at = self.word(name)
        return self.number(data[at:at + self.words[name][1]])

    def read_pointer(self, address):
        return self.number(read(address, self.pointer))

    def version(self):
        if "version" not in self.words:
            return "unknown"
        return read_text(self.words["version"][0], 32)

    def can_select(self):
        """False when built with HY_NO_ASM: no code there but a zero byte."""
        return read(self.word("resumed"), 1) != b"\0"

    def wait_name(self, wait):
        if wait >= self.word("waits.most"):
            return "wait %d" % wait
        text = self.read_pointer(self.word("waits") + wait * self.pointer)
        return read_text(text, 32)

    def runtimes(self):
        for i in range(self.word("runtimes.most")):
            at = self.read_pointer(self.word("runtimes") + i * self.pointer)
            if at != 0:
                runtime = Runtime(self, at)
                if runtime.in_use:
                    yield runtime


def libraries():
    """Every copy of the library with a runtime in it."""
    inferior = gdb.selected_inferior()
    if inferior.pid == 0 or not inferior.threads():
        raise gdb.GdbError("there is no process and no core file")
    found = {}
    text = gdb.execute("info files", to_string=True)
    pattern = r"(0x[0-9a-f]+) - (0x[0-9a-f]+) is hyperion_fibers(?: in (.*))?"
    for low, high, path in re.findall(pattern, text):
        # A remote target's are listed twice.
        found[low] = Library(int(low, 16), int(high, 16),
                             path or gdb.current_progspace().filename)
    if found:
        return list(found.values())
    loaded = [o.filename for o in gdb.objfiles()
              if o.filename and "libhyperion" in o.filename]
    if loaded:
        raise gdb.GdbError(
            "%s has no fibers, or is of another version than this "
            "hyperion-gdb.py" % loaded[0])
    raise gdb.GdbError(
        "no libhyperion here: the program has not started, does not use "
        "fibers, or its file is missing or has lost its section table")


# --- runtimes and fibers ------------------------------------------------------

class Runtime:
    def __init__(self, library, address):
        self.library = library
        self.address = address
        self.slot = self.get("runtime.slot")
        self.in_use = self.get("runtime.in_use")
        self.stale = self.get("runtime.stale")
        self.workers = self.get("runtime.worker_count")
        self.worker = self.get("runtime.worker")
        at = address + library.word("runtime.name")
        self.name = read_text(at, library.word("name.bytes"))
        self.unreadable = 0
        self.running = set()
        self.turns = {}
        for index in range(self.workers):
            self.look_at_worker(
                self.worker + index * library.word("worker.bytes"))

    def get(self, name):
        at, size = self.library.word(name), self.library.words[name][1]
        return self.library.number(read(self.address + at, size))

    def look_at_worker(self, worker):
        """Who runs, and where those go on that only yield: their slots say
        that they run, and where they were some time ago."""
        word, number = self.library.word, self.library.number
        pointer = self.library.pointer

        def get(name, size):
            return number(read(worker + word(name), size))
        self.running.add(get("worker.current", pointer))
        ring, mask = get("ready.ring", pointer), get("ready.mask", 4)
        head, tail = get("ready.head", 4), get("ready.tail", 4)
        size, fiber, sp = word("turn.bytes"), word("turn.fiber"), word("turn.sp")
        if ring == 0 or (tail - head) % (1 << 32) > mask + 1:
            return
        try:
            data = read(ring, (mask + 1) * size)
        except gdb.MemoryError:
            return
        for i in range((tail - head) % (1 << 32)):
            at = (head + i & mask) * size
            who = number(data[at + fiber:at + fiber + pointer])
            if not who & word("turn.in_slot"):
                self.turns[who] = number(data[at + sp:at + sp + pointer])

    def segments(self):
        """Address of the slots, index of the first, how many are in use."""
        used, first = self.get("runtime.used_visible"), 0
        count = 1 << self.library.word("table.first_log2")
        at = self.address + self.library.word("runtime.table")
        while first < used:
            base = self.library.read_pointer(at)
            yield base, first, min(used - first, count)
            first += count
            count = first  # each as large as all before it
            at += self.library.pointer

    def fibers(self):
        """Every live fiber, read in large pieces."""
        size = self.library.word("fiber.bytes")
        live = self.library.word("life.live")
        at, wide = self.library.words["fiber.life"]
        number = self.library.number
        self.unreadable = 0
        for base, first, count in self.segments():
            step = CHUNK_BYTES // size
            for i in range(0, count, step):
                some = min(step, count - i)
                try:
                    data = read(base + i * size, some * size)
                except gdb.MemoryError:
                    self.unreadable += some
                    continue
                for j in range(0, some * size, size):
                    if number(data[j + at:j + at + wide]) & live:
                        yield Fiber(self, base + i * size + j,
                                    data[j:j + size])

    def fiber(self, index):
        """The slot, or None."""
        size = self.library.word("fiber.bytes")
        for base, first, count in self.segments():
            if first <= index < first + count:
                at = base + (index - first) * size
                return Fiber(self, at, read(at, size))
        return None

    def title(self):
        text = "runtime %d" % self.slot
        if self.name:
            text += ' "%s"' % self.name
        if self.stale:
            text += " (of the process that forked this one)"
        return text


class Fiber:
    def __init__(self, runtime, address, data):
        self.runtime = runtime
        self.library = runtime.library
        self.address = address
        self.data = data

    def get(self, name):
        return self.library.field(self.data, "fiber." + name)

    def is_live(self):
        return bool(self.get("life") & self.library.word("life.live"))

    def id(self):
        word, life = self.library.word, self.get("life")
        index_bits, flags = word("id.index_bits"), word("life.flags_log2")
        shift = index_bits + word("id.runtime_bits")
        index = life >> flags & ((1 << index_bits) - 1)
        return (life >> shift << shift | self.runtime.slot << index_bits |
                index)

    def name(self):
        at = self.get("name")
        return read_text(at, self.library.word("name.bytes")) if at else ""

    def state(self):
        state = STATES.get(self.get("state"), "?")
        if state == "running" and self.address not in self.runtime.running:
            return "ready"
        return state

    def sp(self):
        return self.runtime.turns.get(self.address, self.get("sp"))

    def wait(self):
        if self.state() != "parked":
            return ""
        return self.library.wait_name(self.get("wait"))

    def cancelled(self):
        return bool(self.get("life") & self.library.word("life.cancelled"))

    def worker(self):
        at = self.get("worker")
        if at == 0:
            return None
        return (at - self.runtime.worker) // self.library.word("worker.bytes")

    def stack(self):
        """Its lowest and its upper end, or None when it has not started."""
        at = self.get("stack")
        if at == 0:
            return None
        try:
            low = self.library.read_pointer(at + self.library.word("stack.low"))
        except gdb.MemoryError:
            low = 0
        if low == 0:
            return MISSING
        top = low & ~0xffffffff | self.get("top")
        return low, top if top > low else top + (1 << 32)

    def stack_bytes(self):
        word, kind = self.library.word, self.get("class")
        if kind >= word("class.dense"):
            kind += word("class.dense_log2_min") - word("class.dense")
        else:
            kind %= word("class.unguarded")
            kind += word("class.log2_min")
        return 1 << kind

    def is_guarded(self):
        return self.get("class") < self.library.word("class.unguarded")

    def text(self):
        name = self.name()
        return "fiber %#x" % self.id() + (' "%s"' % name if name else "")


class Place:
    """Where a fiber is: on a thread, on its stack alone, or nowhere yet."""

    def __init__(self, fiber, threads):
        self.fiber = fiber
        self.thread = None
        self.sp = None
        self.stack = fiber.stack()
        if self.stack is None or self.stack == MISSING:
            return
        for thread, sp in threads:
            if self.holds(sp):
                self.thread, self.sp = thread, sp
                return
        if fiber.state() == "running":
            self.thread = self.interrupted(threads)
            if self.thread is not None:
                return
        if self.holds(fiber.sp()):
            self.sp = fiber.sp()

    def holds(self, sp):
        # A page below: the guard, which an overflow has hit.
        guard = 4096 if self.fiber.is_guarded() else 0
        return self.stack[0] - guard <= sp <= self.stack[1]

    def interrupted(self, threads):
        """The thread that handles a signal, on a stack of its own, above."""
        for thread, _ in threads:
            with Thread(thread):
                frame = gdb.newest_frame()
                while frame is not None and frame.level() < 64:
                    if self.holds(register(frame, 1)):
                        return thread
                    frame = frame.older()
        return None

    def used(self):
        if self.stack is None or self.sp is None:
            return None
        return self.stack[1] - self.sp


# --- threads ------------------------------------------------------------------

def register(frame, which):
    """0: program counter, 1: stack pointer, 2: thread pointer."""
    name = MACHINES.get(frame.architecture().name())
    if name is None:
        raise gdb.GdbError("fibers of %s cannot be shown"
                           % frame.architecture().name())
    value = frame.read_register(name[which])
    return int(value.cast(gdb.lookup_type("unsigned long")))


class Thread:
    """Selects a thread for a while."""

    def __init__(self, thread):
        self.thread = thread

    def __enter__(self):
        self.before = gdb.selected_thread()
        self.frame = None
        try:
            self.frame = gdb.selected_frame()
        except gdb.error:
            pass
        self.thread.switch()

    def __exit__(self, *_):
        if self.before is None or not self.before.is_valid():
            return
        self.before.switch()
        if self.frame is not None and self.frame.is_valid():
            self.frame.select()


def stopped_threads():
    """Each thread, and its stack pointer."""
    found = []
    for thread in gdb.selected_inferior().threads():
        if thread.is_stopped():
            with Thread(thread):
                found.append((thread, register(gdb.newest_frame(), 1)))
    return found


def thread_of(fiber):
    """The thread of the fiber's worker: the one whose errno that knows."""
    best, nearest = None, 1 << 20
    at = fiber.get("worker")
    if at == 0:
        return None
    at += fiber.library.word("worker.errno_at")
    at = fiber.library.read_pointer(at)
    for thread in gdb.selected_inferior().threads():
        if not thread.is_stopped():
            continue
        with Thread(thread):
            frame = gdb.newest_frame()
            try:
                side = MACHINES[frame.architecture().name()][4]
                distance = (at - register(frame, 2)) * side
            except (KeyError, ValueError, gdb.error):
                return None  # gdb does not know the register
            if 0 <= distance < nearest:
                best, nearest = thread, distance
    return best


# --- the selected fiber -------------------------------------------------------

class Selection:
    """A fiber shown above the frame in which a thread stopped."""

    current = None

    def __init__(self, fiber, sp):
        frame = gdb.newest_frame()
        self.id = fiber.id()
        self.library = fiber.library
        self.text = fiber.text()
        self.machine = MACHINES[frame.architecture().name()]
        self.resumed = fiber.library.word("resumed")
        self.sp = sp
        self.at = register(frame, 0), register(frame, 1)
        self.ptid = gdb.selected_thread().ptid

    def is_at(self, frame):
        """Is it the frame in which the thread stopped, or inlined there?"""
        pc, sp = self.machine[0], self.machine[1]
        return (int(frame.read_register(pc)) & (1 << 64) - 1 == self.at[0] and
                int(frame.read_register(sp)) & (1 << 64) - 1 == self.at[1])

    @staticmethod
    def set(selection):
        Selection.current = selection
        HideStop.shared.enabled = selection is not None
        gdb.invalidate_cached_frames()


class FrameId:
    def __init__(self, sp, pc):
        pointer = gdb.lookup_type("char").pointer()
        self.sp = gdb.Value(sp).cast(pointer)
        self.pc = gdb.Value(pc).cast(pointer)


class Unwinder(gdb.unwinder.Unwinder):
    """Says that whoever called the stopped frame is the selected fiber."""

    def __init__(self):
        super().__init__("hyperion fiber")

    def __call__(self, pending):
        selection = Selection.current
        if selection is None or not selection.is_at(pending):
            return None
        pc, sp, _, fp = selection.machine[:4]
        # Its own identity lies below the fiber's frames, or gdb would find that
        # the stack goes backwards.
        wanted = FrameId(selection.sp - 16, selection.at[0])
        info = pending.create_unwind_info(wanted)
        word = gdb.lookup_type("unsigned long")
        info.add_saved_register(pc, gdb.Value(selection.resumed).cast(word))
        info.add_saved_register(sp, gdb.Value(selection.sp).cast(word))
        # gdb asks for it where a frame above is of its own making; the fiber's
        # is on its stack.
        info.add_saved_register(fp, gdb.Value(0).cast(word))
        return info


class HideStop:
    """Leaves the frame in which the thread stopped out of backtraces."""

    def __init__(self):
        self.name = "hyperion fiber"
        self.priority = 100
        self.enabled = False

    def filter(self, frames):
        for frame in frames:
            selection = Selection.current
            if selection is None or not selection.is_at(frame.inferior_frame()):
                yield frame


HideStop.shared = HideStop()


def first_frame():
    """The selected fiber's innermost frame: hy_arch_hop."""
    frame = gdb.newest_frame()
    while frame is not None and Selection.current.is_at(frame):
        frame = frame.older()
    if frame is None:
        raise gdb.GdbError("gdb cannot unwind from the fiber")
    return frame


def is_ours(frame, ours):
    """Is it the library's, which is in the file ours (None: the program)?"""
    if (frame.name() or "").startswith(("hy_", "hyi_")):
        return True
    theirs = gdb.solib_name(frame.pc())
    if ours is not None or theirs is not None:
        return theirs == ours
    symtab = frame.find_sal().symtab
    return symtab is None or re.search(SOURCES, symtab.filename) is not None


def users_frame():
    """The frame that called the library; else the one that a name ends."""
    ours = gdb.solib_name(Selection.current.resumed)
    after_names = first = frame = first_frame()
    while frame is not None and is_ours(frame, ours):
        named = re.match("hy_(?!arch_)", frame.name() or "") is not None
        frame = frame.older()
        if named and frame is not None and after_names == first:
            after_names = frame
    return frame or after_names


def leave_selection(quietly=False):
    selection = Selection.current
    Selection.set(None)
    if selection is not None and not quietly:
        for thread in gdb.selected_inferior().threads():
            if thread.ptid == selection.ptid:
                thread.switch()
    gdb.newest_frame().select()


def enter(fiber, place):
    """Makes gdb look at a suspended fiber; place.sp is known."""
    if not fiber.library.can_select():
        raise gdb.GdbError(
            "%s was built with HY_NO_ASM, whose contexts are libc's: its "
            "fibers are listed, but have no backtrace" % fiber.library.path)
    thread = thread_of(fiber)
    Selection.set(None)
    if thread is not None:
        thread.switch()
    Selection.set(Selection(fiber, place.sp))


def forget_selection(event):
    """The process goes on; or it calls a function for gdb, and comes back."""
    if Selection.current is not None and not forget_selection.calling:
        Selection.current = None
        HideStop.shared.enabled = False


def note_call(event):
    forget_selection.calling = isinstance(event, gdb.InferiorCallPreEvent)


forget_selection.calling = False


# --- choosing fibers ----------------------------------------------------------

def find(text):
    """The fiber with this id or name, or that an expression gives."""
    number = None
    if re.fullmatch(r"0[xX][0-9a-fA-F]+|[0-9]+", text):
        number = int(text, 0)
    else:
        named = [f for l in libraries() for r in l.runtimes()
                 for f in r.fibers() if f.name() == text.strip('"')]
        if len(named) == 1:
            return named[0]
        if named:
            raise gdb.GdbError("%d fibers have that name: %s%s" % (
                len(named), ", ".join("%#x" % f.id() for f in named[:5]),
                ", ..." if len(named) > 5 else ""))
        try:
            value = gdb.parse_and_eval(text)
            if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
                value = value["id"]
            number = int(value)
        except gdb.error as error:
            raise gdb.GdbError("no fiber is called '%s'; and as an "
                               "expression: %s" % (text, error))
    for library in libraries():
        index_bits = library.word("id.index_bits")
        for runtime in library.runtimes():
            slots = (1 << library.word("id.runtime_bits")) - 1
            if number >> index_bits & slots != runtime.slot:
                continue
            fiber = runtime.fiber(number & (1 << index_bits) - 1)
            if fiber is not None and fiber.is_live() and fiber.id() == number:
                return fiber
    raise gdb.GdbError("no fiber %#x: it has ended, or never was" % number)


class Filters:
    """-state, -wait, -name, -worker, -runtime, -limit."""

    def __init__(self, words, limit):
        self.limit = limit
        self.wanted = {}
        words = list(words)
        while words:
            option = words.pop(0)
            if option.lstrip("-") not in ("state", "wait", "name", "worker",
                                          "runtime", "limit") or \
                    not option.startswith("-"):
                raise gdb.GdbError("unknown option '%s'" % option)
            if not words:
                raise gdb.GdbError("'%s' wants a value" % option)
            self.wanted[option[1:]] = words.pop(0)
        for option in ("worker", "runtime", "limit"):
            if option in self.wanted:
                try:
                    self.wanted[option] = int(self.wanted[option], 0)
                except ValueError:
                    raise gdb.GdbError("'-%s' wants a number" % option)
        self.limit = self.wanted.pop("limit", limit) or 1 << 62

    def takes_runtime(self, runtime):
        return self.wanted.get("runtime", runtime.slot) == runtime.slot

    def takes(self, fiber):
        wanted = self.wanted
        if "state" in wanted and fiber.state() != wanted["state"]:
            return False
        if "worker" in wanted and fiber.worker() != wanted["worker"]:
            return False
        if "wait" in wanted and not fnmatch.fnmatchcase(fiber.wait(),
                                                        wanted["wait"]):
            return False
        return "name" not in wanted or fnmatch.fnmatchcase(fiber.name(),
                                                           wanted["name"])


# --- commands -----------------------------------------------------------------

class Counts:
    """How many fibers are in which state, and what they wait for."""

    def __init__(self):
        self.states, self.waits = {}, {}

    def add(self, fiber):
        state = fiber.state()
        self.states[state] = self.states.get(state, 0) + 1
        if state == "parked":
            wait = fiber.get("wait")
            self.waits[wait] = self.waits.get(wait, 0) + 1

    def text(self, library):
        parts = []
        for state in [*STATES.values(), "?"]:
            if state not in self.states:
                continue
            part = "%d %s" % (self.states[state], state)
            if state == "parked":
                waits = sorted(self.waits.items(), key=lambda w: -w[1])
                part += " (%s)" % ", ".join(
                    "%s %d" % (library.wait_name(w), n) for w, n in waits)
            parts.append(part)
        return ", ".join(parts)


def row(fiber, threads):
    place = Place(fiber, threads)
    state, used = fiber.state(), place.used()
    if fiber.cancelled():
        state += "*"
    where = "-" if fiber.worker() is None else str(fiber.worker())
    if place.thread is not None:
        where += ", thread %d" % place.thread.num
    mark = Selection.current is not None and Selection.current.id == fiber.id()
    peak = max(fiber.get("peak"), used or 0) if place.stack else None
    print("%s %#-18x %-9s %-12s %8s %8s %8d  %-12s %s" % (
        "*" if mark else " ", fiber.id(), state, fiber.wait(),
        "-" if used is None else used, "-" if peak is None else peak,
        fiber.stack_bytes(), where, fiber.name()))


class Fibers(gdb.Command):
    """List the fibers of every runtime.
Usage: hyperion fibers [-state new|ready|running|parked] [-wait GLOB]
         [-name GLOB] [-worker N] [-runtime N] [-limit N]

Columns: the id (hy_fiber.id), the state (* behind it: cancelled), what a
parked fiber waits for, bytes of its stack in use now, at most at any of its
switches, and in all; its worker, and the thread that it runs on; its name.
50 fibers of a runtime are listed unless -limit says otherwise; 0: all."""

    def __init__(self):
        super().__init__("hyperion fibers", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        filters = Filters(gdb.string_to_argv(argument), LIST_MOST)
        threads = stopped_threads()
        for library in libraries():
            for runtime in library.runtimes():
                if filters.takes_runtime(runtime):
                    self.show(runtime, filters, threads)

    def show(self, runtime, filters, threads):
        counts, shown, live, taken = Counts(), [], 0, 0
        for fiber in runtime.fibers():
            live += 1
            if not filters.takes(fiber):
                continue
            taken += 1
            counts.add(fiber)
            if len(shown) < filters.limit:
                shown.append(fiber)
        print("%s: %d worker%s, %d live fiber%s" % (
            runtime.title(), runtime.workers,
            "" if runtime.workers == 1 else "s", live,
            "" if live == 1 else "s"))
        if taken != live:
            print("  %d of them as asked for" % taken)
        if taken:
            print("  " + counts.text(runtime.library))
        if shown:
            print("  %-18s %-9s %-12s %8s %8s %8s  %-12s %s" % (
                "id", "state", "waits for", "stack", "peak", "size",
                "worker", "name"))
        for fiber in shown:
            row(fiber, threads)
        if taken > len(shown):
            print("  and %d more (-limit 0 lists all)" % (taken - len(shown)))
        if runtime.unreadable:
            print("  the memory of up to %d more cannot be read"
                  % runtime.unreadable)


def explain_unstarted(fiber):
    print("%s has not started: it will call %s(%#x)" % (
        fiber.text(), symbol(fiber.get("entry")), fiber.get("arg")))


class SelectFiber(gdb.Command):
    """Select a fiber, so that bt, up, frame and info locals look into it.
Usage: hyperion fiber [ID | NAME | EXPRESSION | 0]

An expression may be a number or a hy_fiber. A fiber that runs is where its
thread is. One that does not is shown as the callers of the frame in which its
worker's thread has stopped; nothing of the process is changed. `hyperion fiber
0' goes back to its worker's thread, and so does letting the process run: go
back by yourself before next, step or finish. Without an argument: which is
selected."""

    def __init__(self):
        super().__init__("hyperion fiber", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        argument = argument.strip()
        if not argument:
            current = Selection.current
            print("no fiber is selected" if current is None else current.text)
            return
        if argument == "0":
            leave_selection()
            gdb.execute("frame")
            return
        fiber = find(argument)
        place = Place(fiber, stopped_threads())
        if place.thread is not None:
            leave_selection(True)
            place.thread.switch()
            print("%s runs on thread %d" % (fiber.text(), place.thread.num))
            gdb.execute("frame")
        elif place.sp is not None:
            enter(fiber, place)
            print("%s, %s" % (fiber.text(), " on ".join(
                filter(None, (fiber.state(), fiber.wait())))))
            users_frame().select()
            gdb.execute("frame")
        elif place.stack is None:
            explain_unstarted(fiber)
        else:
            explain_nothing(fiber, place)


def explain_nothing(fiber, place):
    """Why a fiber that has a stack is not on it."""
    if place.stack == MISSING:
        print("%s: its stack is not in the core file. (gdb's own gcore leaves "
              "it out where guard pages are MADV_GUARD_INSTALL; a core written "
              "by the kernel has it.)" % fiber.text())
    else:
        print("%s is about to start" % fiber.text())


def frames_of(fiber, place):
    """Its program counters, innermost first: what makes backtraces equal."""
    if place.stack is None:
        return ("new", fiber.get("entry"))
    if place.thread is not None or place.sp is None:
        return ("thread", fiber.id())
    enter(fiber, place)
    pcs, frame = [], first_frame()
    while frame is not None and len(pcs) < 128:
        pcs.append(frame.pc())
        frame = frame.older()
    return tuple(pcs)


def print_backtrace(fiber, place, options):
    if place.stack is None:
        explain_unstarted(fiber)
    elif place.thread is not None:
        Selection.set(None)
        with Thread(place.thread):
            gdb.execute("backtrace" + options)
    elif place.sp is None:
        explain_nothing(fiber, place)
    elif not fiber.library.can_select():
        print("no backtrace: the library was built with HY_NO_ASM")
    else:
        enter(fiber, place)
        gdb.execute("backtrace" + options)


class Backtrace(gdb.Command):
    """Print backtraces of fibers, and leave the selection as it is.
Usage: hyperion bt ID [BACKTRACE-OPTIONS]
       hyperion bt all [-state S] [-wait GLOB] [-name GLOB] [-worker N]
         [-runtime N] [-limit N]

With `all', fibers whose backtraces are equal are counted and shown once, the
most frequent first. It looks at 1000 fibers of a runtime unless -limit says
otherwise; 0: all."""

    def __init__(self):
        super().__init__("hyperion bt", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if not words:
            raise gdb.GdbError("which fiber? ID or all")
        libraries()
        before = Selection.current, gdb.selected_thread()
        level = gdb.selected_frame().level()
        try:
            if words[0] == "all":
                self.all(Filters(words[1:], BACKTRACES_MOST))
            else:
                fiber = find(words[0])
                print(fiber.text())
                print_backtrace(fiber, Place(fiber, stopped_threads()),
                                " " + " ".join(words[1:]))
        finally:
            Selection.set(None)
            before[1].switch()
            Selection.set(before[0])
            frame = gdb.newest_frame()
            while frame is not None and frame.level() < level:
                frame = frame.older()
            (frame or gdb.newest_frame()).select()

    def all(self, filters):
        threads = stopped_threads()
        for library in libraries():
            for runtime in library.runtimes():
                if filters.takes_runtime(runtime):
                    self.runtime(runtime, filters, threads)

    def runtime(self, runtime, filters, threads):
        groups, seen, left = {}, 0, 0
        for fiber in runtime.fibers():
            if not filters.takes(fiber):
                continue
            if seen == filters.limit:
                left += 1
                continue
            seen += 1
            place = Place(fiber, threads)
            key = (("ucontext", fiber.id()) if not runtime.library.can_select()
                   else frames_of(fiber, place))
            groups.setdefault(key, []).append((fiber, place))
        print("%s: %d fibers" % (runtime.title(), seen))
        for group in sorted(groups.values(), key=len, reverse=True):
            self.group(group)
        if left:
            print("\n%d more were not looked at (-limit 0 looks at all)" % left)

    def group(self, group):
        fiber, place = group[0]
        more = len(group) - 1
        print("\n%s%s, %s" % (
            fiber.text(), " and %d more" % more if more else "",
            " on ".join(filter(None, (fiber.state(), fiber.wait())))))
        print_backtrace(fiber, place, "")


class Prefix(gdb.Command):
    """Look at the fibers of libhyperion, in a process or a core file."""

    def __init__(self):
        super().__init__("hyperion", gdb.COMMAND_STACK, prefix=True)


Prefix()
Fibers()
SelectFiber()
Backtrace()
gdb.unwinder.register_unwinder(None, Unwinder(), replace=True)
gdb.frame_filters[HideStop.shared.name] = HideStop.shared
gdb.events.cont.connect(forget_selection)
gdb.events.inferior_call.connect(note_call)
