"""Writes attention dumps (dumps/FORMAT.md) with numpy and zstandard.

    from attnscope import writer
    with writer.Writer("run.attn", header) as w:
        w.floats(writer.SUMS, sums, layer=0, heads=8, rows=1, keys=100)
        w.finish(prompt)

The module recorder records PyTorch models with it.
"""
import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import zstandard

HEADER, WEIGHTS, QUERIES, LSE, KEYS, VALUES, SUMS, WINDOW, PROMPT, INDEX, END = 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13
SINKS, SINK_SUMS = 14, 15
PREFILL, DECODE = 0, 1
MOST_BYTES = 1 << 28  # of a block; the format allows 2^30

POLYNOMIAL = 0x82F63B78  # of CRC-32C, bits reversed


def _byte_table():
    t = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        t = np.where(t & 1, (t >> 1) ^ np.uint32(POLYNOMIAL), t >> 1)
    return t


BYTES = _byte_table()
BYTE_LIST = BYTES.tolist()


class _Zeros:
    """What a number of zero bytes turns a checksum into. This is linear in the bits of
    the checksum, so the halves of a checksum are looked up on their own."""

    def __init__(self, length):
        bits = 1 << np.arange(32, dtype=np.uint32)  # what becomes of each bit
        power = BYTES[bits & 255] ^ (bits >> 8)
        image = bits
        while length:
            if length & 1:
                image = _apply(power, image)
            power = _apply(power, power)
            length >>= 1
        self.low = _combinations(image[:16])
        self.high = _combinations(image[16:])

    def __call__(self, crc):
        return self.low[crc & 0xFFFF] ^ self.high[crc >> 16]


def _apply(image, crc):
    """The linear map with the given images of the 32 bits, on an array of checksums."""
    bits = (crc[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.bitwise_xor.reduce(np.where(bits, image, 0).astype(np.uint32), axis=1)


def _combinations(image):
    """The images of all numbers of 16 bits."""
    table = np.zeros(1, np.uint32)
    for v in image:
        table = np.concatenate([table, table ^ v])
    return table


LANES = 8192, 64  # words that are added to the checksum at the same time
ZEROS = {n: _Zeros(4 * n) for n in (1 << np.arange(14)).tolist()}


def crc32c(data):
    """Returns the CRC-32C of bytes. Word i of the data belongs to lane i mod n. The
    checksums of all lanes grow together and are joined at the end."""
    crc = 0xFFFFFFFF
    for lanes in LANES:
        rows = len(data) // (4 * lanes)
        if rows:
            words = np.frombuffer(data, "<u4", rows * lanes).reshape(rows, lanes)
            crc = _join(_grow(words, crc))
            data = memoryview(data)[4 * rows * lanes :]
    for b in bytes(data):
        crc = BYTE_LIST[(crc ^ b) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _grow(words, crc):
    """The checksum of each column of words [rows, lanes], where crc is that of the data
    before them."""
    lane = words[0].astype(np.uint32)
    lane[0] ^= crc
    step = ZEROS[len(lane)]
    for row in words[1:]:
        lane = step(lane) ^ row
    return lane


def _join(lane):
    while len(lane) > 1:
        half = len(lane) // 2
        lane = ZEROS[half](lane[:half]) ^ lane[half:]
    return int(ZEROS[1](lane)[0])


class Writer:
    """Writes one dump, as a context manager. If the block of the with statement fails,
    PATH.partial keeps the prompts that were finished; if there are none, no file is
    left.

    path    the dump; an existing one is an error unless force is set
    header  the header record; it may be set later, before the first prompt
    """

    def __init__(self, path, header=None, force=False):
        for old in (path, path + ".partial"):
            if os.path.exists(old) and not force:
                raise FileExistsError(f"{old} exists: force=True replaces it")
        self.path = path
        self.header = header
        self.file = open(path + ".partial", "wb")
        self.at = 0       # bytes written
        self.index = []   # (offset of the payload, record head) of every record
        self.blocks = 0   # of the current prompt
        self.prompts = 0  # complete ones
        self.start = None  # (bytes, records) before the current prompt; None: none has begun
        self.pool = ThreadPoolExecutor()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        partial = self.path + ".partial"
        try:
            self.discard()
            if kind is None and self.prompts:
                self._write_index()
        finally:
            self.pool.shutdown()
            self.file.close()
            if not self.prompts:
                os.remove(partial)
        if kind is not None:
            return
        if not self.prompts:
            raise ValueError(f"{self.path}: no prompt was recorded, so no dump was written")
        os.replace(partial, self.path)

    def _write_index(self):
        entries = b"".join(struct.pack("<Q", at) + head for at, head in self.index)
        where = self.at
        self._records([dict(kind=INDEX, raw=struct.pack("<Q", len(self.index)) + entries)])
        self._records([dict(kind=END, raw=None, row0=where & 0xFFFFFFFF, rows=where >> 32)])

    def discard(self):
        """Takes back the blocks of a prompt that was not finished."""
        if self.start is None:
            return
        self.at, records = self.start
        del self.index[records:]
        self.file.seek(self.at)
        self.file.truncate()
        self.start = None

    def _begin(self):
        """Writes the header before the first record, and begins a prompt."""
        if not self.index:
            self._records([dict(kind=HEADER, raw=json.dumps(self.header).encode())])
        if self.start is None:
            self.start = self.at, len(self.index)
            self.blocks = 0

    def finish(self, prompt):
        """Completes a prompt; prompt is its end record without the number of blocks."""
        self._begin()
        end = dict(prompt, blocks=self.blocks)
        self._records([dict(kind=PROMPT, raw=json.dumps(end).encode())])
        self.prompts += 1
        self.start = None

    def floats(self, kind, x, **where):
        """Writes an array block of float32; where are fields of its record head."""
        self.blocks_of([dict(where, kind=kind, x=x)])

    def blocks_of(self, blocks):
        """Writes array blocks, which are compressed at the same time. Each has kind, x
        and the fields of its record head."""
        self._begin()
        self._records(blocks)
        self.blocks += len(blocks)

    def _records(self, records):
        for head, stored in self.pool.map(lambda r: self._encode(**r), records):
            self.file.write(head)
            self.file.write(stored)
            if head[12] not in (INDEX, END):
                self.index.append((self.at + len(head), head))
            self.at += len(head) + len(stored)

    def _encode(self, kind, raw=None, x=None, phase=PREFILL, layer=0, head0=0, heads=0, row0=0, rows=0, key0=0, keys=0):
        """Returns a record head and its payload. An array x is stored in byte planes."""
        encoding = 0
        if x is not None:
            if x.size != heads * rows * keys:
                raise ValueError(f"{x.size} values in a block of {heads} heads, {rows} rows and {keys} keys")
            encoding = 1
            raw = np.ascontiguousarray(x, "<f4").reshape(-1, 1).view(np.uint8).T.tobytes()
        stored = b"" if raw is None else zstandard.ZstdCompressor(level=1).compress(raw)
        head = struct.pack(
            "<4sBBBB8IQQI", b"ATN1", kind, encoding, phase, 0, self.prompts, layer, head0, heads,
            row0, rows, key0, keys, len(raw or b""), len(stored), crc32c(stored))
        return struct.pack("<II", 0x184D2A5A, 64) + head + struct.pack("<I", crc32c(head)), stored
