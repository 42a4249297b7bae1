# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade does with maps of each type on this kernel; a part of checks.py, which hands itself down."""

from __future__ import annotations

import json
import typing as t

from map_types import NAMED, NEWER, PASSING, SECTIONS, UNNAMED, filled, refused, updates

NOTHING = "—"
WRONG = "?"


def rows(checks: t.Any, wire: t.Any) -> t.Dict[str, t.List[str]]:
    """By type or section: upgraded to a program of the same maps, of other sizes, and of other layouts.

    A cell says kept (the same map, with what was in it), refused, new or carried; a question mark is an error.
    """
    newer, found = _same_maps(checks, wire)
    rodata = found.pop(".rodata") * 3
    for object_name in (f"maps-more-{newer}", f"maps-moved-{newer}"):
        message = checks.refused("xdp_program", **_task(checks, wire, object_name))
        there = refused(message)
        for name, cells in found.items():
            moved_nothing = "moved" in object_name and name not in (*NAMED, *SECTIONS)
            cells.append("refused" if name in there else NOTHING if moved_nothing else WRONG)
    checks.ok("xdp_program", name="packet_count", state="absent")
    _passing(wire, found)
    found["calls"][1] = found["calls"][0]  # its sizes are not compared, as it is always new
    _carried(checks, wire, found)
    return {**found, ".rodata": rodata}


def _task(checks: t.Any, wire: t.Any, object_name: str) -> t.Dict[str, t.Any]:
    path = str(checks.OBJECTS / f"{object_name}.bpf.o")
    return {"object": path, "program": "packet_count", "interfaces": [wire.interface]}


def _same_maps(checks: t.Any, wire: t.Any) -> t.Tuple[int, t.Dict[str, t.List[str]]]:
    """Also how many of the newer types there are."""
    for newer in (2, 1, 0):
        result = checks.finish(checks.start("xdp_program", **_task(checks, wire, f"maps-1-{newer}")))
        if not result.get("failed"):
            break
    else:
        raise checks.Wrong(f"xdp_program failed: {result['msg']}")
    index = json.loads(checks.sh("ip", "-json", "link", "show", "dev", wire.interface))[0]["ifindex"]
    for name, words in updates(index, str(wire.pin("program"))):
        checks.sh("bpftool", "map", "update", "pinned", _pin(wire, name), *words)
    wire.send(3)
    ids, before, rodata = wire.maps(), _shown(checks, wire), _rodata(checks, wire)
    wire.attach(f"maps-2-{newer}", program="packet_count")
    after, now = wire.maps(), _shown(checks, wire)
    names = [*NAMED, *UNNAMED, *PASSING, *NEWER.get(newer, ()), *SECTIONS]
    found = {name: ["new" if ids[name] != after[name] else "kept"] for name in names}
    for name in before:
        if before[name] != now[name]:
            found[name] = [f"{WRONG} different contents"]
    found[".rodata"] = ["new" if rodata != _rodata(checks, wire) else WRONG]
    return newer, found


def _pin(wire: t.Any, name: str) -> t.Any:
    return wire.pin(f"maps/{name.replace('.', '%2E')}")


def _shown(checks: t.Any, wire: t.Any) -> t.Dict[str, str]:
    shown = [*filled(), *((name, "dump") for name in SECTIONS)]
    return {name: checks.sh("bpftool", "map", show, "pinned", _pin(wire, name)) for name, show in shown}


def _rodata(checks: t.Any, wire: t.Any) -> t.List[int]:
    maps = checks.bpftool("prog", "show", "pinned", wire.pin("program"))["map_ids"]
    return [number for number in maps if checks.bpftool("map", "show", "id", number).get("frozen")]


def _passing(wire: t.Any, found: t.Dict[str, t.List[str]]) -> None:
    """Maps that hold nothing between two packets are new in another size."""
    wire.attach("rings-1")
    before = wire.maps()
    wire.attach("rings-2")
    after = wire.maps()
    for name, pin in zip(PASSING, ("events", "samples")):
        found[name][1] = "new" if before[pin] != after[pin] and before["counters"] == after["counters"] else WRONG


def _carried(checks: t.Any, wire: t.Any, found: t.Dict[str, t.List[str]]) -> None:
    checks.ok("xdp_program", name="packet_count", state="absent")
    wire.attach("variables-1")
    wire.send(3)
    before = _variables(checks, wire)
    checks.ok("xdp_program", name="packet_count", state="detached")
    wire.attach("variables-2")
    now = _variables(checks, wire)
    for name in SECTIONS:
        same = before[name].items() <= now[name].items()
        for column in (1, 2):
            if found[name][column] == "refused":
                found[name][column] += "; detached: carried over by name" if same else WRONG
    found[".data.named"][2] = NOTHING  # it has one variable only


def _variables(checks: t.Any, wire: t.Any) -> t.Dict[str, t.Dict[str, int]]:
    found: t.Dict[str, t.Dict[str, int]] = {}
    for name in SECTIONS:
        (section,) = checks.bpftool("map", "dump", "pinned", _pin(wire, name))[0]["formatted"]["value"].values()
        found[name] = {variable: value for each in section for variable, value in each.items()}
    return found
