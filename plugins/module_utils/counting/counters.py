# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads counters from pinned maps: a per-CPU array `counters` of {u64 packets, u64 bytes}, as in packet_count."""

from __future__ import annotations

import errno
import struct
import time
import typing as t

from ..deploy.observe import Seen
from ..libbpf import maps
from ..libbpf.library import BpfError, Libbpf

PIN = "counters"

# The options that the counter modules share: where the counter is.
OPTIONS = {
    "name": {"type": "str", "default": "packet_count"},
    "interfaces": {"type": "list", "elements": "str"},
    "pin_root": {"type": "path", "default": "/sys/fs/bpf/ebpf_fleet"},
    "allow_unsafe_paths": {"type": "bool", "default": False},
}
_VALUE = struct.Struct("=QQ")


class Count(t.NamedTuple):
    cpu: int
    packets: int
    bytes: int


class Reading(t.NamedTuple):
    """The counts of the CPUs that counted packets. `at` is in seconds of the monotonic clock."""

    at: float
    cpus: t.Tuple[Count, ...]

    @property
    def packets(self) -> int:
        return sum(cpu.packets for cpu in self.cpus)

    @property
    def bytes(self) -> int:
        return sum(cpu.bytes for cpu in self.cpus)


def read(lib: Libbpf, seen: Seen) -> t.Optional[Reading]:
    """None if the program has no such counters (any more). Raises BpfError if they cannot be read."""
    info = seen.maps.get(PIN)
    if not info or info.shape.type != "percpu_array" or info.shape.value_size != _VALUE.size:
        return None
    try:
        with lib.get(seen.place.map(PIN)) as fd:
            values = maps.lookup(lib, fd, b"\0" * 4, _VALUE.size * maps.possible_cpus(lib))
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    every = (Count(cpu, *value) for cpu, value in enumerate(_VALUE.iter_unpack(values)))
    return Reading(time.monotonic(), tuple(count for count in every if count.packets))
