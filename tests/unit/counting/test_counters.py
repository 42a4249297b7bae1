# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters from a map, and rates from two readings."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import struct
import time
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.counting import counters
from ansible_collections.ebpf.fleet.plugins.module_utils.counting.counters import Count, Reading
from ansible_collections.ebpf.fleet.plugins.module_utils.counting.rates import per_second
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.observe import Seen
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import MapInfo
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import BpfError, Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

PLACE = Place("/sys/fs/bpf/ebpf_fleet", "packet_count", "eth0")
SHAPE = MapShape("percpu_array", 4, 16, 1, 0)


def test_a_reading_adds_its_cpus_up() -> None:
    reading = Reading(1.0, (Count(0, 3, 192), Count(5, 4, 6000)))
    assert (reading.packets, reading.bytes) == (7, 6192)
    nothing = Reading(1.0, ())
    assert (nothing.packets, nothing.bytes) == (0, 0)


def test_rates() -> None:
    before = Reading(100.0, (Count(0, 10, 640),))
    after = Reading(102.0, (Count(0, 15, 960), Count(1, 2, 3000)))
    assert per_second(before, after) == {"packets_per_second": 3.5, "bytes_per_second": 1660.0}
    assert per_second(before, before._replace(at=101.0)) == {"packets_per_second": 0.0, "bytes_per_second": 0.0}
    third = per_second(Reading(0.0, ()), Reading(3.0, (Count(0, 1, 64),)))
    assert third == {"packets_per_second": 0.333, "bytes_per_second": 21.333}


def test_a_counter_that_was_reset_counts_from_zero() -> None:
    before = Reading(100.0, (Count(0, 1000, 64000),))
    after = Reading(102.0, (Count(0, 8, 512),))
    assert per_second(before, after) == {"packets_per_second": 4.0, "bytes_per_second": 256.0}


class FakeLib:
    """A map with these values, one for each CPU; or an error when its pin is opened."""

    def __init__(self, *values: t.Tuple[int, int], error: int = 0) -> None:
        self.values = values
        self.error = error

    def get(self, path: str) -> t.ContextManager[int]:
        assert path == PLACE.map("counters")
        if self.error:
            raise BpfError(self.error, "bpf_obj_get")
        return contextlib.nullcontext(3)

    def declare(self, _functions: t.Any) -> t.Any:
        return self

    def libbpf_num_possible_cpus(self) -> int:
        return len(self.values)

    def bpf_map_lookup_elem(self, fd: int, key: ctypes.Array[ctypes.c_char], value: ctypes.Array[ctypes.c_char]) -> int:
        assert (fd, key.raw, len(value)) == (3, b"\0\0\0\0", 16 * len(self.values))
        value.raw = b"".join(struct.pack("=QQ", *each) for each in self.values)
        return 0


def read(lib: FakeLib, maps: t.Mapping[str, MapShape]) -> t.Optional[Reading]:
    infos = {pin: MapInfo(1, pin, shape) for pin, shape in maps.items()}
    seen = Seen(PLACE, 2, 1500, None, None, None, {}, infos, (), None, ())
    return counters.read(t.cast(Libbpf, lib), seen)


def test_read_names_the_cpus_that_have_counted() -> None:
    started = time.monotonic()
    reading = read(FakeLib((0, 0), (3, 192), (0, 0), (2**63, 2**64 - 1)), {"counters": SHAPE})
    assert reading and reading.cpus == (Count(1, 3, 192), Count(3, 2**63, 2**64 - 1))
    assert started <= reading.at <= time.monotonic()


@pytest.mark.parametrize(
    "maps",
    [
        {},
        {"counter": SHAPE},
        {"counters": SHAPE._replace(type="array")},
        {"counters": SHAPE._replace(value_size=8)},
    ],
)
def test_a_program_without_such_counters(maps: t.Dict[str, MapShape]) -> None:
    assert read(FakeLib((3, 192)), maps) is None


def test_a_map_that_disappears_and_one_that_cannot_be_read() -> None:
    assert read(FakeLib((3, 192), error=errno.ENOENT), {"counters": SHAPE}) is None
    with pytest.raises(BpfError, match="Operation not permitted"):
        read(FakeLib((3, 192), error=errno.EPERM), {"counters": SHAPE})
