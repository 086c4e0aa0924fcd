"""Executes PTX, as clang writes it for kernels.cu and Triton for cards of Ampere, with numpy: all threads of some
blocks at once, so that an instruction costs much the same for one as for a thousand.

Strict where cards are forgiving or silent: an address outside of the launch's
memory, a misaligned one, a warp's instruction that not all its lanes reach, a
barrier that some threads of a block miss, shared memory that two threads touch
without a barrier between, and any instruction it does not know are errors.
Asynchronous copies happen when they are waited for. The results of
approximate instructions are moved by as much as a card's may be off.

    module = Module(open("kernels.ptx").read())
    module.launch("add_scaled", (4, 1, 1), 256, 0, [x, y, bits(0.5), n], memory)
"""

import re

import numpy as np

LANES = 32
THREADS = 4096  # executed together; more blocks run after one another


class Fault(Exception):
    """What a kernel must not do."""


class Memory:
    """Buffers at addresses of the launch, in one array with gaps between them."""

    def __init__(self, buffers):
        gap, at, self.map = 4096, 4096, []
        for base in sorted(buffers):
            self.map.append((base, len(buffers[base]), at))
            at += (len(buffers[base]) + 255) // 256 * 256 + gap
        self.bytes = np.zeros(at, np.uint8)
        self.valid = np.zeros(at, bool)
        for base, size, to in self.map:
            self.bytes[to : to + size] = buffers[base]
            self.valid[to : to + size] = True

    def translate(self, pointer):
        """The address in the array of one of the launch."""
        for base, size, to in self.map:
            if base <= pointer <= base + size:
                return pointer - base + to
        return pointer

    def buffer(self, base):
        for b, size, to in self.map:
            if b == base:
                return self.bytes[to : to + size]


class Space:
    """Typed access with checks; an address is an index into an array of bytes."""

    def __init__(self, name, data, valid):
        self.name, self.data, self.valid = name, data, valid
        self.views = {}

    def index(self, address, size, whole):
        """Elements of size bytes; whole is the size of the vector they stand in."""
        if address.size and (address.min() < 0 or int(address.max()) + whole > len(self.data)):
            raise Fault(f"{self.name} address {int(address.min())} to {int(address.max())} of {len(self.data)}")
        if (address % whole).any():
            raise Fault(f"a misaligned {self.name} address")
        if self.valid is not None and not (self.valid[address].all() and self.valid[address + whole - 1].all()):
            raise Fault(f"a {self.name} address outside of all buffers")
        return address // size

    def view(self, dtype):
        if dtype not in self.views:
            self.views[dtype] = self.data[: len(self.data) // dtype.itemsize * dtype.itemsize].view(dtype)
        return self.views[dtype]


CLASSES = {"p": np.bool_, "rs": np.uint16, "r": np.uint32, "rd": np.uint64, "f": np.float32, "fd": np.float64}
UNSIGNED = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SIGNED = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
FLOATS = {16: np.float16, 32: np.float32, 64: np.float64}


def dtype(name):
    """The numpy type of a PTX type as .s32 or .b64."""
    if name == "pred":
        return np.dtype(np.bool_)
    table = {"f": FLOATS, "s": SIGNED}.get(name[0], UNSIGNED)
    return np.dtype(table[int(name[1:])])


def noisy(x, step):
    """x times 1 ± step, by a rule of its bits: what an approximation may be off."""
    u = x.view(np.uint32)
    return x * np.where(u & 1, np.float32(1 + step), np.float32(1 - step))


def shared_variables(text):
    """(alignment, name, bytes) of each."""
    found = re.findall(r"(?m)^\s*\.shared \.align (\d+) \.[a-z](\d+) (\w+)(?:\[(\d+)\])?;", text)
    return [(int(align), name, int(count or 1) * int(width) // 8) for align, width, name, count in found]


class Kernel:
    def __init__(self, name, params, body, module):
        self.name, self.module = name, module
        self.params = re.findall(r"\.param \.(\w+)", params)
        self.text, self.labels = [], {}
        shared = shared_variables(body)
        for line in body.split("\n"):
            line = line.strip().rstrip(";")
            if not line or line[0] in ".{}":
                continue
            if line.endswith(":"):
                self.labels[line[:-1]] = len(self.text)
            else:
                self.text.append(line)
        self.counts = {c: int(n) for c, n in re.findall(r"\.reg \.\w+\s+%(\w+)<(\d+)>;", body)}
        self.leaders = set(self.labels.values())
        used = [v for v in module.shared if v[1] in body]
        self.shared, at = {}, 0
        for align, var, size in used + shared:
            at = (at + align - 1) // align * align
            self.shared[var] = at
            at += size
        self.static = at
        self.code = [None] * len(self.text)


class Module:
    def __init__(self, ptx):
        head = ptx[: ptx.index(".visible .entry")]
        outside = re.sub(r"(?ms)^\{.*?^\}", "", ptx)
        self.shared = shared_variables(outside)
        self.dynamic = re.findall(r"\.extern \.shared \.align \d+ \.b8 (\w+)\[\];", head)
        self.kernels = {}
        for m in re.finditer(r"(?ms)^\.visible \.entry (\w+)\(\n(.*?)^\)\n(.*?)^\{\n(.*?)^\}", ptx):
            self.kernels[m[1]] = (m[2], m[4])
        self.count = 0  # instructions executed, each for many threads

    def kernel(self, name):
        if isinstance(self.kernels[name], tuple):
            self.kernels[name] = Kernel(name, *self.kernels[name], self)
        return self.kernels[name]

    def launch(self, name, grid, threads, dynamic, params, memory):
        k = self.kernel(name)
        if len(params) != len(k.params):
            raise Fault(f"{name} takes {len(k.params)} parameters, not {len(params)}")
        blocks = grid[0] * grid[1] * grid[2]
        step = max(1, THREADS // threads)
        for first in range(0, blocks, step):
            Run(k, grid, threads, dynamic, params, memory, range(first, min(blocks, first + step))).run()


class Races:
    """Who touched shared memory since the last barrier of the block, by units of two
    bytes. A copy under way counts as a write at any time until it is waited for."""

    UNDER_WAY, ATOMIC, SEVERAL = 1 << 30, -3, -2

    def __init__(self, size, blocks):
        self.writer, self.written, self.reader, self.read_at = (np.full(size // 2, -1, np.int32) for _ in range(4))
        self.epoch = np.zeros(blocks, np.int32)

    def units(self, address, size):
        return address[:, None] // 2 + np.arange(size // 2)

    def read(self, u, thread, block):
        t, e = thread[:, None].astype(np.int32), self.epoch[block][:, None]
        at = self.written[u]
        if (((at >= e) & (self.writer[u] != t)) | (at == self.UNDER_WAY)).any():
            raise Fault("a read of shared memory that another thread writes, with no barrier between")
        several = (self.read_at[u] == e) & (self.reader[u] != t)
        self.reader[u] = np.where(several, self.SEVERAL, t)
        self.reader[u[self.reader[u] != t]] = self.SEVERAL  # also several at once
        self.read_at[u] = e

    def write(self, u, thread, block, atomic=False, under_way=False):
        t, e = thread[:, None].astype(np.int32), self.epoch[block][:, None]
        who = np.full_like(t, self.ATOMIC) if atomic else t
        if ((self.written[u] >= e) & (self.writer[u] != who)).any() or ((self.read_at[u] == e) & (self.reader[u] != t)).any():
            raise Fault("a write to shared memory that another thread uses, with no barrier between")
        self.writer[u] = who
        if (self.writer[u] != who).any():
            raise Fault("two threads write to one place of shared memory")
        self.written[u] = self.UNDER_WAY if under_way else e

    def arrived(self, u, block):
        self.written[u] = self.epoch[block][:, None]


class Run:
    """Some blocks of a launch."""

    def __init__(self, kernel, grid, threads, dynamic, params, memory, blocks):
        self.k, self.params, self.threads = kernel, params, threads
        self.n = n = threads * len(blocks)
        self.symbols = dict(kernel.shared)
        at = (kernel.static + 15) // 16 * 16
        for var in kernel.module.dynamic:
            self.symbols[var] = at
        self.block_bytes = size = (at + dynamic + 15) // 16 * 16
        self.limit = at + dynamic
        self.registers = {c: np.zeros((kernel.counts.get(c, 1), n), t) for c, t in CLASSES.items()}
        thread, block = np.arange(n), np.repeat(np.array(blocks, np.int64), threads)
        self.block = thread // threads
        self.special = {
            "%tid.x": thread % threads, "%ntid.x": threads, "%ctaid.x": block % grid[0], "%ctaid.y": block // grid[0] % grid[1],
            "%ctaid.z": block // (grid[0] * grid[1]), "%nctaid.x": grid[0], "%nctaid.y": grid[1], "%nctaid.z": grid[2],
        }
        self.special = {s: np.broadcast_to(np.asarray(v, np.uint32), n) for s, v in self.special.items()}
        self.all = np.arange(n)
        self.spaces = {
            "global": Space("global", memory.bytes, memory.valid),
            "shared": Space("shared", np.full(max(16, size * len(blocks)), 255, np.uint8), None),
        }
        self.races = Races(max(16, size * len(blocks)), len(blocks))
        self.alive = np.ones(n, bool)
        self.copies, self.commits = [], np.zeros(n, np.int64)

    # Threads at one place run together. Those at the lowest place go first, so that
    # threads that left each other meet again.
    def run(self):
        k, groups, at_barrier, waiting = self.k, {0: self.all}, {}, {}
        while True:
            if not groups:
                if waiting:
                    pc = min(waiting)
                    raise Fault(f"{k.name}: not all lanes of a warp reach: {k.text[pc]}")
                if not self.release(at_barrier, groups):
                    return
            pc = min(groups)
            idx = groups.pop(pc)
            while True:
                text = k.text[pc]
                if k.code[pc] is None:
                    k.code[pc] = compile_instruction(k, text)
                op = k.code[pc]
                k.module.count += 1
                kind = op[0]
                if kind == "plain":
                    try:
                        op[1](self, idx)
                    except Fault as e:
                        raise Fault(f"{k.name}: {text}: {e}") from None
                    pc += 1
                elif kind == "branch":
                    taken = self.taken(op, idx)
                    join(groups, op[3], idx[taken])
                    join(groups, pc + 1, idx[~taken])
                    break
                elif kind == "ret":
                    self.alive[idx] = False
                    break
                elif kind == "barrier":
                    join(at_barrier, pc, idx)
                    break
                else:  # a warp's instruction: whole warps go on, others wait for their lanes
                    idx = np.union1d(idx, waiting.pop(pc)) if pc in waiting else idx
                    warp, count = np.unique(idx // LANES, return_counts=True)
                    whole = np.isin(idx // LANES, warp[count == LANES])
                    if not whole.all():
                        waiting[pc] = idx[~whole]
                        idx = idx[whole]
                        if not len(idx):
                            break
                    op[1](self, idx)
                    pc += 1
                if pc in k.leaders:
                    join(groups, pc, idx)
                    break

    def taken(self, op, idx):
        if op[1] is None:
            return np.ones(len(idx), bool)
        return self.registers["p"][op[1]][idx] != op[2]

    def release(self, at_barrier, groups):
        """Lets the blocks go on whose threads have all come to one barrier."""
        moved = False
        for pc, idx in list(at_barrier.items()):
            block, count = np.unique(self.block[idx], return_counts=True)
            live = np.bincount(self.block[self.alive], minlength=self.block[-1] + 1)[block]
            go = np.isin(self.block[idx], block[count == live])
            if go.any():
                moved = True
                self.races.epoch[block[count == live]] += 1
                join(groups, pc + 1, idx[go])
                at_barrier[pc] = idx[~go]
            if not len(at_barrier[pc]):
                del at_barrier[pc]
        if at_barrier and not moved:
            raise Fault(f"{self.k.name}: some threads of a block miss a barrier")
        return moved

    def get(self, operand, idx, t):
        """An operand as type t, for some threads."""
        if isinstance(operand, tuple):
            array = self.registers[operand[0]][operand[1]]
            array = array if len(idx) == self.n else array[idx]
            return array if array.dtype == t else array.view(t) if array.itemsize == t.itemsize else array.astype(UNSIGNED[8 * t.itemsize]).view(t)
        if isinstance(operand, str):
            if operand in self.special:
                return self.special[operand][idx].astype(t)
            return np.full(len(idx), self.symbols[operand], t)
        if operand.dtype.kind == "f":
            return operand.astype(t) if t.kind == "f" else operand.view(t)
        return operand.astype(np.uint64).astype(t)

    def set(self, register, idx, value):
        array = self.registers[register[0]][register[1]]
        value = np.asarray(value)
        if value.dtype != array.dtype:
            value = value.view(array.dtype) if value.itemsize == array.itemsize and value.dtype.kind != "b" else value.astype(array.dtype)
        if len(idx) == self.n:
            array[:] = value
        else:
            array[idx] = value

    def physical(self, space, address, idx, size):
        """Where an address stands in the arrays of all blocks."""
        if space == "shared":
            if len(address) and int(address.max()) + size > self.limit:
                raise Fault(f"shared address {int(address.max())} of {self.limit} bytes")
            return address + self.block[idx] * self.block_bytes
        return address

    def wait(self, idx, pending):
        done = np.zeros(self.n, bool)
        done[idx] = True
        shared, glob = self.spaces["shared"], self.spaces["global"]
        left = []
        for to, frm, size, who, group in self.copies:
            now = done[who] & (group < self.commits[who] - pending)
            for t, f, s in zip(to[now], frm[now], size[now]):
                shared.data[t : t + s] = glob.data[f : f + s]
                shared.data[t + s : t + 16] = 0
            self.races.arrived(self.races.units(to[now], 16), self.block[who[now]])
            if not now.all():
                left.append((to[~now], frm[~now], size[~now], who[~now], group[~now]))
        self.copies = left


def join(groups, pc, idx):
    if len(idx):
        groups[pc] = np.union1d(groups[pc], idx) if pc in groups else idx


def operand(text):
    """A register, a number, or the name of a special register or variable."""
    m = re.fullmatch(r"%(rs|rd|fd|r|f|p)(\d+)", text)
    if m:
        return m[1], int(m[2])
    if re.fullmatch(r"0x[0-9A-Fa-f]+U?", text):
        return np.array(int(text.rstrip("U"), 16), np.int64)
    if re.fullmatch(r"-?\d+", text):
        return np.array(int(text), np.int64 if int(text) < 1 << 63 else np.uint64)
    if text.startswith("0f"):
        return np.array([int(text[2:], 16)], np.uint32).view(np.float32)[0:1]
    if text.startswith("0d"):
        return np.array([int(text[2:], 16)], np.uint64).view(np.float64)[0:1]
    return text


def address_of(text):
    m = re.fullmatch(r"\[([^+\]]+)(?:\+(-?\d+))?\]", text.replace(" ", ""))
    return operand(m[1]), int(m[2] or 0)


def compile_instruction(k, text):
    """(kind, ...) with kind one of plain, warp, branch, barrier, ret."""
    if text == "ret":
        return ("ret",)
    predicate = None
    if text[0] == "@":
        p, text = text.split(None, 1)
        predicate = (int(p.lstrip("@!%p")), p[1] == "!")
    name, _, rest = re.sub(r"\s+", " ", text).partition(" ")
    op = name.split(".")
    if op[0] == "bra":
        return ("branch",) + (predicate or (None, False)) + (k.labels[rest.strip()],)
    if op[0] == "bar" and not predicate:
        return ("barrier",)
    args = [a.strip() for a in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,{}\[\]]+", rest) if a.strip()]
    if op[0] in ("shfl", "mma", "ldmatrix") and not predicate:
        return ("warp", WARP[op[0]](op, args))
    run = make(k, name, op, args)
    return ("plain", predicated(run, *predicate) if predicate else run)


def predicated(run, register, negated):
    """An instruction that only those threads execute whose predicate is set, or not set if it is negated."""

    def some(r, idx):
        idx = idx[r.registers["p"][register][idx] != negated]
        if len(idx):
            run(r, idx)

    return some


def registers_of(text):
    return [operand(x.strip()) for x in text.strip("{}").split(",")]


def shuffle(op, args):
    dst, src, by, mode = operand(args[0]), operand(args[1]), operand(args[2]), op[2]
    assert args[4] == "-1", "a shuffle of some lanes only"

    def run(r, idx):
        v, lane = r.get(src, idx, np.dtype(np.uint32)), idx % LANES
        o = r.get(by, idx, np.dtype(np.int32)).astype(np.int64)
        o = np.broadcast_to(o, len(idx))
        to = {"bfly": lane ^ o, "up": lane - o, "idx": o & 31}[mode]
        to = np.where(to < 0, lane, to)
        r.set(dst, idx, v[np.arange(len(idx)) // LANES * LANES + to])

    return run


def matrices(op, args):
    dst, (base, offset) = registers_of(args[0]), address_of(args[1])
    transposed = "trans" in op

    def run(r, idx):
        a = r.get(base, idx, np.dtype(np.uint32)).astype(np.int64) + offset
        a = r.physical("shared", a, idx, 16)
        rows = r.spaces["shared"].index(a, 2, 16).reshape(-1, 4, 8)
        r.races.read(r.races.units(a, 16), idx, r.block[idx])
        m = r.spaces["shared"].view(np.dtype(np.uint16))[rows[..., None] + np.arange(8)]  # [warp, matrix, row, column]
        if transposed:
            m = m.swapaxes(2, 3)
        pairs = np.ascontiguousarray(m).view(np.uint32).reshape(-1, 4, 32)  # lane l: row l/4, pair l%4
        for i in range(4):
            r.set(dst[i], idx, pairs[:, i].reshape(-1))

    return run


LANE = np.arange(LANES)
G, T = LANE // 4, LANE % 4


def product(op, args):
    """mma.m16n8k16: the fragments' layout is that of the PTX ISA."""
    d, a, b, c = (registers_of(x) for x in args)
    half = "bf16" not in op

    def wide(x):  # words of two numbers to float32 [..., 2]
        h = x[..., None] >> np.array([0, 16], np.uint32) & np.uint32(0xFFFF)
        return h.astype(np.uint16).view(np.float16).astype(np.float32) if half else (h << np.uint32(16)).view(np.float32)

    def run(r, idx):
        n = len(idx) // LANES
        u32, f32 = np.dtype(np.uint32), np.dtype(np.float32)
        left, right = np.zeros((n, 16, 16), np.float32), np.zeros((n, 8, 16), np.float32)
        for i in range(4):
            w = wide(r.get(a[i], idx, u32).reshape(n, LANES))
            for x in range(2):
                left[:, G + 8 * (i & 1), 2 * T + 8 * (i >> 1) + x] = w[..., x]
        for i in range(2):
            w = wide(r.get(b[i], idx, u32).reshape(n, LANES))
            for x in range(2):
                right[:, G, 2 * T + 8 * i + x] = w[..., x]
        out = left @ right.swapaxes(1, 2)
        for i in range(4):
            v = out[:, G + 8 * (i >> 1), 2 * T + (i & 1)].reshape(-1)
            r.set(d[i], idx, r.get(c[i], idx, f32) + v)

    return run


WARP = {"shfl": shuffle, "ldmatrix": matrices, "mma": product}


def load(k, op, args):
    space, t = op[1], dtype(op[-1])
    dst = registers_of(args[0])
    if space == "param":
        at = int(re.search(r"_param_(\d+)\]", args[1])[1])

        def run(r, idx):
            v = np.array([r.params[at]], np.uint64).astype(UNSIGNED[8 * t.itemsize]).view(t)
            r.set(dst[0], idx, np.broadcast_to(v, len(idx)))

        return run
    base, offset = address_of(args[1])

    def run(r, idx):
        a = r.get(base, idx, np.dtype(np.int64)) + offset
        whole = t.itemsize * len(dst)
        a = r.physical(space, a, idx, whole)
        i = r.spaces[space].index(a, t.itemsize, whole)
        if space == "shared":
            r.races.read(r.races.units(a, whole), idx, r.block[idx])
        for n, d in enumerate(dst):
            v = r.spaces[space].view(t)[i + n]
            if v.dtype.kind == "i":  # sign-extended to the register
                v = v.astype(SIGNED[8 * CLASSES[d[0]]().itemsize])
            r.set(d, idx, v)

    return run


def store(op, args):
    space, t = op[1], dtype(op[-1])
    (base, offset), src = address_of(args[0]), registers_of(args[1])

    def run(r, idx):
        a = r.get(base, idx, np.dtype(np.int64)) + offset
        whole = t.itemsize * len(src)
        a = r.physical(space, a, idx, whole)
        i = r.spaces[space].index(a, t.itemsize, whole)
        view, values = r.spaces[space].view(t), [np.broadcast_to(r.get(s, idx, t), len(idx)) for s in src]
        for n, v in enumerate(values):
            view[i + n] = v
        if space == "shared":
            if all((view[i + n].view(np.uint8) == v.copy().view(np.uint8)).all() for n, v in enumerate(values)):
                a, one = np.unique(a, return_index=True)  # threads may write the same value to one place
                idx = idx[one]
            r.races.write(r.races.units(a, whole), idx, r.block[idx])

    return run


def reduce(op, args):
    op = [word for word in op if word not in ("gpu", "relaxed")]
    space, how, t = op[1], {"add": np.add, "max": np.maximum}[op[2]], dtype(op[3])
    (base, offset), src = address_of(args[0]), operand(args[1])

    def run(r, idx):
        a = r.get(base, idx, np.dtype(np.uint32 if space == "shared" else np.int64)).astype(np.int64) + offset
        a = r.physical(space, a, idx, t.itemsize)
        i = r.spaces[space].index(a, t.itemsize, t.itemsize)
        if space == "shared":
            r.races.write(r.races.units(a, t.itemsize), idx, r.block[idx], atomic=True)
        how.at(r.spaces[space].view(t), i, r.get(src, idx, t))

    return run


def copy(name, args):
    if "commit_group" in name:
        def run(r, idx):
            r.commits[idx] += 1
        return run
    if "wait_group" in name:
        pending = int(args[0])
        return lambda r, idx: r.wait(idx, pending)
    to, frm, size = address_of(args[0])[0], address_of(args[1])[0], operand(args[3])

    def run(r, idx):
        t = r.get(to, idx, np.dtype(np.uint32)).astype(np.int64)
        t = r.physical("shared", t, idx, 16)
        f, s = r.get(frm, idx, np.dtype(np.int64)), np.broadcast_to(r.get(size, idx, np.dtype(np.int32)), len(idx))
        r.spaces["shared"].index(t, 1, 16)
        r.spaces["global"].index(f[s > 0], 1, 16)
        if (f % 16).any():
            raise Fault("a misaligned address")
        r.races.write(r.races.units(t, 16), idx, r.block[idx], under_way=True)
        r.copies.append((t, f.copy(), s.copy(), idx, r.commits[idx]))

    return run


def convert(op, args):
    dst, src = operand(args[0]), operand(args[1])
    to, frm = op[-2], op[-1]
    if to in ("f16x2", "bf16x2"):
        low = operand(args[2])

        def half(x):
            if to == "f16x2":
                return x.astype(np.float16).view(np.uint16).astype(np.uint32)
            u = x.view(np.uint32)
            return np.where(np.isnan(x), np.uint32(0x7FFF), u + np.uint32(0x7FFF) + (u >> np.uint32(16) & np.uint32(1)) >> np.uint32(16))

        def run(r, idx):
            f32 = np.dtype(np.float32)
            hi, lo = (half(np.broadcast_to(r.get(x, idx, f32), len(idx)).copy()) for x in (src, low))
            r.set(dst, idx, hi << np.uint32(16) | lo)

        return run
    a, b = dtype(to), dtype(frm)

    def run(r, idx):
        v = r.get(src, idx, b)
        if b.kind == "f" and a.kind != "f":
            v = np.rint(v) if "rni" in op else np.trunc(v)
            v = np.clip(v.astype(np.float64), np.iinfo(a).min, float(np.iinfo(a).max) * (1 - 2**-52))
        v = v.astype(a)
        if a.kind == "f" and a.itemsize == 2:
            v = v.view(np.uint16)
        elif a.kind in "iu" and CLASSES[dst[0]]().itemsize > a.itemsize:
            v = v.astype((SIGNED if a.kind == "i" else UNSIGNED)[8 * CLASSES[dst[0]]().itemsize])
        r.set(dst, idx, v)

    return run


COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "neu": np.not_equal, "ltu": lambda x, y: ~(x >= y), "leu": lambda x, y: ~(x > y), "gtu": lambda x, y: ~(x <= y), "geu": lambda x, y: ~(x < y),
}


def divide(x, y):
    if x.dtype.kind == "f":
        return x / y
    q = np.abs(x.astype(np.int64)) // np.abs(y.astype(np.int64))  # towards zero
    return np.where((x < 0) != (y < 0), -q, q).astype(x.dtype)


def remainder(x, y):
    return x - divide(x, y) * y


def fused(x, y, z):
    if x.dtype == np.float32:  # a product of two float32 is exact in float64
        return (x.astype(np.float64) * y + z).astype(np.float32)
    return x * y + z


def extract(x, pos, size):
    """The bits [pos, pos+size); those of signed numbers are sign-extended."""
    t = x.dtype.type
    if x.dtype.kind == "i":
        width = t(8 * x.itemsize)
        return x << (width - pos.astype(t) - size.astype(t)) >> (width - size.astype(t))
    return x >> pos.astype(t) & ((t(1) << size.astype(t)) - t(1))


def permute(x, y, choice):
    """Four bytes, chosen by four digits of choice from those of x and y."""
    both = x.astype(np.uint64) | y.astype(np.uint64) << np.uint64(32)
    out = np.zeros(np.broadcast(x, y, choice).shape, np.uint64)
    for i in range(4):
        which = choice.astype(np.uint64) >> np.uint64(4 * i) & np.uint64(15)
        byte = both >> (which & np.uint64(7)) * np.uint64(8) & np.uint64(255)
        byte = np.where(which & np.uint64(8), (byte >> np.uint64(7)) * np.uint64(255), byte)
        out |= byte << np.uint64(8 * i)
    return out.astype(np.uint32)


ARITHMETIC = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": divide, "max": np.fmax, "min": np.fmin,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "neg": np.negative, "abs": np.abs, "rem": remainder,
    "not": np.invert, "fma": fused, "mad": fused, "mov": lambda x: x, "cvta": lambda x: x,
    "prmt": permute, "div.full": lambda x, y: noisy(x / y, 2**-23), "rcp.rn": lambda x: np.float32(1) / x, "sqrt.rn": np.sqrt,
    "rcp.approx": lambda x: noisy(np.float32(1) / x, 2**-24), "ex2.approx": lambda x: noisy(np.exp2(x), 2**-22),
    "lg2.approx": lambda x: np.log2(x) + np.float32(2**-22),
}


def make(k, name, op, args):
    """A function of (run, threads) that executes one instruction."""
    if op[0] == "ld":
        return load(k, op, args)
    if op[0] == "st":
        return store(op, args)
    if op[0] == "red":
        return reduce(op, args)
    if op[0] == "cp":
        return copy(name, args)
    if op[0] == "cvt":
        return convert(op, args)
    dst, src = operand(args[0]), [operand(a) for a in args[1:]]
    t = dtype(op[-1])
    if op[0] == "setp":
        f = COMPARE[op[1]]
        return lambda r, idx: r.set(dst, idx, f(r.get(src[0], idx, t), r.get(src[1], idx, t)))
    if op[0] == "selp":
        u = np.dtype(UNSIGNED[8 * t.itemsize]) if t.kind != "f" else t
        return lambda r, idx: r.set(dst, idx, np.where(r.get(src[2], idx, np.dtype(np.bool_)), r.get(src[0], idx, u), r.get(src[1], idx, u)))
    if op[0] in ("shl", "shr"):
        t = np.dtype((SIGNED if t.kind == "i" else UNSIGNED)[8 * t.itemsize])
        bits = 8 * t.itemsize

        def shift(r, idx):
            by = np.broadcast_to(r.get(src[1], idx, np.dtype(np.uint32)), len(idx))
            x, over = np.broadcast_to(r.get(src[0], idx, t), len(idx)), by >= bits
            by = np.where(over, bits - 1, by).astype(t)
            v = np.left_shift(x, by) if op[0] == "shl" else np.right_shift(x, by)
            if over.any():
                v = np.where(over, v if t.kind == "i" and op[0] == "shr" else 0, v).astype(t)
            r.set(dst, idx, v)

        return shift
    if op[0] == "bfe":
        return lambda r, idx: r.set(dst, idx, extract(r.get(src[0], idx, t), *(r.get(s, idx, np.dtype(np.uint32)) for s in src[1:])))
    if len(op) > 2 and op[1] == "wide":
        w = np.dtype((SIGNED if t.kind == "i" else UNSIGNED)[16 * t.itemsize])
        if op[0] == "mad":
            return lambda r, idx: r.set(dst, idx, r.get(src[0], idx, t).astype(w) * r.get(src[1], idx, t).astype(w) + r.get(src[2], idx, w))
        return lambda r, idx: r.set(dst, idx, r.get(src[0], idx, t).astype(w) * r.get(src[1], idx, t).astype(w))
    f = ARITHMETIC.get(".".join(op[:2])) or ARITHMETIC[op[0]]
    return lambda r, idx: r.set(dst, idx, f(*(r.get(s, idx, t) for s in src)))
