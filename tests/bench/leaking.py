# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that get past a list of 100,000 addresses, which all have theirs, while bpf_map replaces it."""

from __future__ import annotations

import os
import pathlib
import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from host import Host
from leaks import Replace, by_bpf_map, leaks, wipe_then_add
from packets import COMMAND, compiled
from report import Row
from wire import Wire

ENTRIES = 100_000


class Way(t.NamedTuple):
    """How a list in a map of that example or test is replaced."""

    label: str
    object: str
    replace: t.Callable[..., Replace]
    options: t.Mapping[str, t.Any]


BLOCK4 = {"name": "bench", "map": "block4"}
WAYS = (
    Way("at_once, by a link swap", "blocklist", by_bpf_map, {**BLOCK4, "replace": "at_once"}),
    Way(
        "at_once, by a slot swap",
        "slots",
        by_bpf_map,
        {"name": "bench", "map": "lists", "slot": 0, "replace": "at_once"},
    ),
    Way("in_place, new ones first", "blocklist", by_bpf_map, BLOCK4),
    Way("the naive way: wipe, then add", "blocklist", wipe_then_add, BLOCK4),
)


def leaking(_lib: Libbpf, folder: pathlib.Path, packets: int) -> t.List[Row]:
    rows = []
    for way in WAYS:
        host = Host(f"ebpf-bench-{os.getpid()}")
        try:
            rows.append(_leaking(host, folder, way, packets))
        finally:
            host.close()
    return rows


def _leaking(host: Host, folder: pathlib.Path, way: Way, packets: int) -> Row:
    path = folder / f"{way.object}.o"
    path.write_bytes(compiled(folder, way.object))
    host.ok("xdp_program", object=str(path), name="bench", interfaces=["eth0"], allow_unsafe_paths=True)
    wire = Wire(host, folder, compiled(folder, "inject"))
    found = leaks(host, wire, folder, way.replace(host, **way.options), packets, ENTRIES)
    section = f"packets that get past a list of {ENTRIES:,} while it is replaced"
    name = f"{way.label}, {found.replaced} times, of {found.sent.delivered:,}"
    row = Row(section, name, float(found.through), "packets", COMMAND, exact=True)
    if way.replace is wipe_then_add:
        return row._replace(goal="more than 0: this can be measured", met=found.through > 0)
    return row._replace(goal="0", met=found.through == 0 and found.replaced > 0)
