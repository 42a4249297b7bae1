# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that get past a list while it is replaced, again and again. The kernel's own IP statistics count them."""

from __future__ import annotations

import itertools
import pathlib
import typing as t

from host import Host
from wire import Sent, Wire

# From 203.0.113.77, which is in each of the lists. The kernel counts what gets through, and drops it: a wrong checksum.
PACKET = (
    bytes([255] * 6 + [2, 0, 0, 0, 0, 1, 8, 0]) + bytes([0x45, *bytes(11), 203, 0, 113, 77, 192, 0, 2, 1]) + bytes(26)
)

Replace = t.Callable[[pathlib.Path], None]


class Leaks(t.NamedTuple):
    """`replaced`: how often the list was replaced while packets came; `through`: those that it did not stop."""

    sent: Sent
    replaced: int
    through: int


def by_bpf_map(host: Host, **options: t.Any) -> Replace:
    """By bpf_map. Each time something is replaced, or it raises AssertionError."""

    def replace(listed: pathlib.Path) -> None:
        done = host.ok("bpf_map", src=str(listed), value=1, exclusive=True, allow_unsafe_paths=True, **options)
        assert done["added"], done

    return replace


def wipe_then_add(host: Host, **options: t.Any) -> Replace:
    """The naive way, as a script does it: so the same measure is seen to find packets that get through."""

    def replace(listed: pathlib.Path) -> None:
        host.ok("bpf_map", keys=[], exclusive=True, **options)
        host.ok("bpf_map", src=str(listed), value=1, allow_unsafe_paths=True, **options)

    return replace


def leaks(host: Host, wire: Wire, folder: pathlib.Path, replace: Replace, packets: int, entries: int) -> Leaks:
    """Send so many packets, and meanwhile replace the list, of so many entries, again and again."""
    lists = []
    for number in (10, 11):
        lists.append(folder / f"list-{number}")
        others = (f"{number}.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(entries - 1))
        lists[-1].write_text("\n".join(["203.0.113.77", *others]))
    replace(lists[1])
    before, replaced = received(host), 0
    injecting = wire.start(PACKET, packets)
    for listed in itertools.cycle(lists):
        replace(listed)
        if injecting.poll() is not None:
            break
        replaced += 1  # from begin to end while packets came
    return Leaks(wire.end(injecting), replaced, received(host) - before)


def received(host: Host) -> int:
    """Packets that have come to the host's IP stack."""
    names, values = (line.split() for line in host.enter("grep", "^Ip:", "/proc/net/snmp").splitlines())
    return int(values[names.index("InReceives")])
