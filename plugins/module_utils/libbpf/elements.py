# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many elements of a map with few calls, as bytes. bpf.h, and kernel/bpf/syscall.c of the kernel.

A batch is not atomic: the kernel stops at the first element that it refuses, and says how many were done. Where it has
no batches for a type of map (before 5.13 for LPM tries and per-CPU arrays), elements are done one by one.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import struct
import typing as t

from . import maps
from .kinds import MapShape
from .library import INT, POINTER, U32, BpfError, Functions, Libbpf

PER_CPU = ("percpu_hash", "percpu_array", "lru_percpu_hash")
NOT_SUPPORTED = 524  # ENOTSUPP, which is the kernel's own and has no name outside
BATCH = 4096  # elements of a call: as fast as one call for all, and the kernel's loop takes 2 ms, not 290 for a million
_BYTES = 1 << 25  # of a call: a value may have megabytes, on each of hundreds of CPUs
_LARGEST_BATCH = 1 << 20  # a bucket of a hash can't have more elements than that
_TRIES = 100  # of elements for which the kernel had no memory at that moment

_FUNCTIONS: Functions = {
    "bpf_map_lookup_batch": (INT, (INT, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER), True),
    "bpf_map_update_batch": (INT, (INT, POINTER, POINTER, POINTER, POINTER), True),
    "bpf_map_delete_batch": (INT, (INT, POINTER, POINTER, POINTER), True),
    "bpf_map_delete_elem": (INT, (INT, POINTER), True),
}

Pairs = t.List[t.Tuple[bytes, bytes]]


class _Options(ctypes.Structure):
    _fields_ = [("sz", ctypes.c_size_t), ("elem_flags", ctypes.c_uint64), ("flags", ctypes.c_uint64)]


def sizes_of_values(lib: Libbpf, shape: MapShape) -> t.Tuple[int, int]:
    """How many values a key has, one for each possible CPU, and the bytes of all of them together."""
    cpus = maps.possible_cpus(lib) if shape.type in PER_CPU else 1
    return cpus, value_of_one_cpu(shape) * cpus


def value_of_one_cpu(shape: MapShape) -> int:
    """Bytes; those of per-CPU maps are rounded up to 8."""
    return -(-shape.value_size // 8) * 8 if shape.type in PER_CPU else shape.value_size


class Elements:
    """The elements of an open map. The value of a per-CPU map is that of all possible CPUs, one after the other.

    `value_size` is in bytes, of what is read and written as one value. `cpus`: the number of values in it.
    """

    def __init__(self, lib: Libbpf, fd: int, shape: MapShape) -> None:
        self._lib = lib
        self._c = lib.declare(_FUNCTIONS)
        self._fd = fd
        self._shape = shape
        self._no_batches: t.Set[str] = set()
        self.cpus, self.value_size = sizes_of_values(lib, shape)
        self._batch = max(1, min(BATCH, shape.max_entries, _BYTES // (shape.key_size + self.value_size)))

    def lookup(self, keys: t.Iterable[bytes]) -> t.Dict[bytes, bytes]:
        """Those of these keys that are there, with their values."""
        found = {}
        for key in keys:
            try:
                found[key] = maps.lookup(self._lib, self._fd, key, self.value_size)
            except BpfError as error:
                if error.errno != errno.ENOENT:
                    raise
        return found

    def read(self) -> t.Iterator[Pairs]:
        """All elements, in portions. One that is added or removed meanwhile may be missing or come twice."""
        size = self._batch
        where = ctypes.create_string_buffer(max(self._shape.key_size, 4))
        following: t.Any = None
        while True:
            try:
                portion, more = self._read_batch(following, where, size)
            except BpfError as error:
                if error.errno == NOT_SUPPORTED and following is None:
                    yield from self._read_one_by_one()
                    return
                if error.errno != errno.ENOSPC or size >= _LARGEST_BATCH:  # ENOSPC: a bucket has more than `size`
                    raise
                size *= 2
                continue
            if portion:
                yield portion
            if not more:
                return
            following = ctypes.create_string_buffer(where.raw, len(where))

    def _read_batch(self, following: t.Any, where: t.Any, size: int) -> t.Tuple[Pairs, bool]:
        keys = ctypes.create_string_buffer(size * self._shape.key_size)
        values = ctypes.create_string_buffer(size * self.value_size)
        count, more = U32(size), True
        try:
            self._c.bpf_map_lookup_batch(self._fd, following, where, keys, values, ctypes.byref(count), _options())
        except BpfError as error:
            if error.errno != errno.ENOENT:  # this was the last one
                raise
            more = False
        columns = ((keys, self._shape.key_size), (values, self.value_size))
        return list(zip(*(_cut(packed, size, count.value) for packed, size in columns))), more

    def _read_one_by_one(self) -> t.Iterator[Pairs]:
        # If the key is deleted meanwhile, the kernel starts again: without a limit that might never end.
        keys = itertools.islice(maps.keys(self._lib, self._fd, self._shape.key_size), 2 * self._shape.max_entries)
        while True:
            some = list(itertools.islice(keys, self._batch))
            if not some:
                return
            yield list(self.lookup(some).items())

    def update(self, pairs: t.Iterable[t.Tuple[bytes, bytes]]) -> None:
        """Add these, or give them these values. Raises BpfError; then `done` of them, the first ones, were written."""
        written = tries = 0
        left: t.List[t.Tuple[bytes, bytes]] = []
        others = iter(pairs)
        while True:
            left += itertools.islice(others, self._batch - len(left))
            if not left:
                return
            done, error = self._do("update", left)
            written, left = written + done, left[done:]
            # Elements that are allocated one at a time come from a reserve, which the kernel fills again meanwhile.
            if error and (error.errno != errno.ENOMEM or tries >= _TRIES):
                error.done = written
                raise error
            tries += bool(error)

    def delete(self, keys: t.Sequence[bytes]) -> None:
        """Those that are not there (any more) are passed over. Raises BpfError as update() does."""
        at = 0
        while at < len(keys):
            done, error = self._do("delete", [(key,) for key in keys[at : at + self._batch]])
            at += done
            if error and error.errno != errno.ENOENT:
                error.done = at
                raise error
            at += bool(error)

    def _do(self, what: str, rows: t.Sequence[t.Tuple[bytes, ...]]) -> t.Tuple[int, t.Optional[BpfError]]:
        """How many rows were done, and why no more. `what`: update, with keys and values, or delete, with keys."""
        if what not in self._no_batches:
            count = U32(len(rows))
            columns = [b"".join(column) for column in zip(*rows)]
            try:
                function = getattr(self._c, f"bpf_map_{what}_batch")
                function(self._fd, *map(_buffer, columns), ctypes.byref(count), _options())
                return len(rows), None
            except BpfError as error:
                if error.errno != NOT_SUPPORTED:
                    # Older kernels leave the count as it was where they refuse all of it.
                    return count.value if count.value < len(rows) else 0, error
            self._no_batches.add(what)
        for done, row in enumerate(rows):
            try:
                if what == "update":
                    maps.update(self._lib, self._fd, *row)
                else:
                    self._c.bpf_map_delete_elem(self._fd, _buffer(*row))
            except BpfError as error:
                return done, error
        return len(rows), None


def _buffer(data: bytes) -> t.Any:
    return (ctypes.c_char * len(data)).from_buffer_copy(data)


def _options() -> t.Any:
    return ctypes.byref(_Options(ctypes.sizeof(_Options)))


def _cut(packed: t.Any, size: int, count: int) -> t.Sequence[bytes]:
    return struct.unpack_from(f"{size}s" * count, packed)
