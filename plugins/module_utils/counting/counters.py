# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads counters from pinned maps: a per-CPU array `counters` of {u64 packets, u64 bytes}, as in packet_count."""

from __future__ import annotations

import errno
import os
import struct
import time
import typing as t

from ..attach.interfaces import resolve
from ..deploy.observe import Seen
from ..libbpf import maps
from ..libbpf.library import BpfError, Libbpf
from ..state.identity import former_roots, root_of_namespace
from ..state.places import Place, check_name, places_of
from ..state.trusted import check_pins

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


def places_asked(lib: Libbpf, options: t.Mapping[str, t.Any]) -> t.List[Place]:
    """The places on the interfaces that the user named, deployed or not, else on all with this counter.

    Raises FleetError if an option cannot be used, or if other users could have pinned something else there.
    """
    name = check_name(options["name"])
    root = root_of_namespace(options["pin_root"])
    if not os.path.isdir(root):
        from ..state.bpffs import check_root, reach  # here: a target compiles what it imports

        check_root(root)  # raises if nothing can be pinned there
        reach(root, lasting=False, make=False)
    places = places_of(root, name)
    former = former_roots(options["pin_root"])
    moved: t.Dict[Place, Place] = {}
    if former:
        from ..attach.owners import former_places  # here: few hosts need this

        moved = former_places(lib, root, former, name)
        places += [place for place in moved if place not in places]
    if options["interfaces"] is not None:
        places = [Place(root, name, each) for each in resolve(options["interfaces"])]
    found = [moved.get(place, place) for place in places]
    if not options["allow_unsafe_paths"]:
        check_pins(found, "to read")
    return found
