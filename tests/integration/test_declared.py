# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_program with variables, sizes and entries of maps, which bpftool then sees in the kernel."""

from __future__ import annotations

import hashlib
import pathlib
import sys
import typing as t

import pytest
from commands import bpftool
from host import Host

Compiled = t.Callable[..., str]
Task = t.Dict[str, t.Any]
BLOCKED = {"map": "block4", "keys": ["192.0.2.0/24", "198.51.100.7"], "value": 1}


@pytest.fixture
def task(compiled: Compiled) -> Task:
    return {"object": compiled("blocklist"), "interfaces": ["eth0"]}


def foretold(host: Host, task: Task) -> t.List[str]:
    """Run a task; returns its steps. Check mode must predict them, and a second run must have nothing to do."""
    predicted = host.ok("xdp_program", check=True, **task)
    done = host.ok("xdp_program", **task)
    assert (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
    again = host.ok("xdp_program", **task)
    assert not again["changed"], again["steps"]
    return [step.partition(": ")[2] for step in done["steps"]]


def dump(host: Host, name: str) -> t.List[t.Any]:
    """Keys and values of a map, from bpftool."""
    rows = bpftool("map", "dump", "pinned", host.pin("eth0", f"maps/{name}", "blocklist"))
    return sorted((row["formatted"]["key"]["address"], row["formatted"]["value"]) for row in rows)


def constant(host: Host) -> t.Any:
    """The value of `enforce` in the running program, from bpftool."""
    program = bpftool("prog", "show", "pinned", host.pin("eth0", "program", "blocklist"))
    for number in program["map_ids"]:
        if bpftool("map", "show", "id", number)["name"].endswith(".rodata"):
            (row,) = bpftool("map", "dump", "id", number)
            return next(each["enforce"] for each in row["formatted"]["value"][".rodata"] if "enforce" in each)
    return None


def test_a_constant_is_another_program_with_the_same_maps(host: Host, task: Task) -> None:
    assert foretold(host, task)[0] == "load blocklist"
    assert constant(host) in (1, True)
    host.send("eth0", 10)
    steps = foretold(host, {**task, "variables": {"enforce": False}})
    assert steps == [
        "load blocklist with enforce=false, keeping the maps allow4, allow6, block4, block6, verdicts",
        "swap the program in the link",
        "write the record",
    ]
    assert constant(host) in (0, False)
    (found,) = host.ok("bpf_map_info", name="blocklist", map="verdicts")["maps"]
    assert found["entries"][4]["value"]["packets"] == 10  # kept
    assert foretold(host, task)[0].startswith("load blocklist, keeping")  # no longer declared: the object's own
    assert constant(host) in (1, True)


def test_what_the_host_says_is_no_variable(host: Host, compiled: Compiled) -> None:
    """.kconfig has the kernel's version: with it, the digest would tell hosts with the same program apart."""
    digests = set()
    for limit in (0, 1, 0):
        task = {"object": compiled("core", KCONFIG=1), "interfaces": ["eth0"], "variables": {"limit": limit}}
        (found,) = host.ok("xdp_program", **task)["attachments"]
        digests.add((limit, found["variables_digest"]))
    assert digests == {(limit, hashlib.sha256(limit.to_bytes(4, sys.byteorder)).hexdigest()[:16]) for limit in (0, 1)}


def test_a_map_is_filled_before_its_program_runs(host: Host, task: Task) -> None:
    steps = foretold(host, {**task, "map_entries": [BLOCKED]})
    assert steps == [
        "load blocklist",
        "add 2 of the entries of block4",
        "attach by link, mode auto",
        "write the record",
    ]
    assert dump(host, "block4") == [([192, 0, 2, 0], 1), ([198, 51, 100, 7], 1)]


def test_entries_are_replaced_at_once(host: Host, task: Task) -> None:
    host.ok("xdp_program", **task, map_entries=[BLOCKED, {"map": "allow4", "keys": ["10.0.0.0/8"]}])
    new = {**BLOCKED, "keys": ["192.0.2.0/24", "203.0.113.0/24"], "exclusive": True, "replace": "at_once"}
    assert foretold(host, {**task, "map_entries": [new]}) == [
        "load blocklist, keeping the maps allow4, allow6, block6, verdicts",
        "add 1, remove 1 of the entries of block4, in a new map",
        "swap the program in the link",
        "write the record",
    ]
    assert dump(host, "block4") == [([192, 0, 2, 0], 1), ([203, 0, 113, 0], 1)]
    assert dump(host, "allow4") == [([10, 0, 0, 0], 0)]


def test_a_map_gets_room_and_keeps_its_entries(host: Host, task: Task) -> None:
    host.ok("xdp_program", **task, map_entries=[BLOCKED])
    steps = foretold(host, {**task, "map_sizes": {"block4": 300000}})
    assert "copy the 2 entries of block4 into the new map" in steps
    assert bpftool("map", "show", "pinned", host.pin("eth0", "maps/block4", "blocklist"))["max_entries"] == 300000
    assert len(dump(host, "block4")) == 2
    said = host.refused("xdp_program", **task, map_sizes={"block4": 1})
    assert "has 2 entries, and is to have room for 1: nothing was changed" in said
    assert len(dump(host, "block4")) == 2


def test_a_variable_is_written_in_place(host: Host, compiled: Compiled) -> None:
    task = {"object": compiled("order", LIMIT=1000), "interfaces": ["eth0"]}
    first = host.ok("xdp_program", **task)["attachments"][0]
    assert foretold(host, {**task, "variables": {"limit": 77}}) == ["set limit to 77 in .data"]
    (section,) = host.ok("bpf_map_info", name="packet_count", map=".data")["maps"]
    assert section["entries"][0]["value"]["limit"] == 77
    assert host.ok("xdp_program", **task)["attachments"][0]["program_id"] == first["program_id"]
    (section,) = host.ok("bpf_map_info", name="packet_count", map=".data")["maps"]
    assert section["entries"][0]["value"]["limit"] == 77  # no longer declared, and left as it is


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"variables": {"nosuch": 1}}, "has no variable 'nosuch'; it has enforce"),
        ({"variables": {"enforce": "perhaps"}}, "enforce: 'perhaps' is neither true nor false"),
        ({"map_sizes": {"nosuch": 1}}, "has no map 'nosuch'; it has allow4, allow6, block4, block6, verdicts"),
        ({"map_sizes": {"block4": 0}}, "give a number from 1 to 4294967295"),
        ({"map_entries": [{"map": "nosuch", "keys": []}]}, "has no map 'nosuch'"),
        (
            {"map_entries": [{**BLOCKED, "keys": ["192.0.2.0/33"]}]},
            "item 1 of keys: key: '192.0.2.0/33' is not a prefix",
        ),
        ({"map_entries": [{**BLOCKED, "value": 256}]}, "256 is not in 0..255"),
        ({"map_entries": [BLOCKED, BLOCKED]}, "has the map block4 twice"),
        ({"map_entries": [{"map": "verdicts", "keys": [5]}]}, "there is no element 5: the array has 0 to 4"),
        ({"map_entries": [BLOCKED], "map_sizes": {"block4": 1}}, "block4 has room for 1 entries"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_changed(host: Host, task: Task, wrong: Task, words: str) -> None:
    before = host.state()
    assert words in host.refused("xdp_program", **task, **wrong)
    assert host.state() == before


def test_a_list_in_a_file(host: Host, task: Task, tmp_path: pathlib.Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("# blocked\n\n192.0.2.0/24  # a network\n198.51.100.7\n")
    entries = [{"map": "block4", "src": str(listed), "value": 1, "exclusive": True}]
    foretold(host, {**task, "map_entries": entries})
    assert len(dump(host, "block4")) == 2
    listed.write_text("192.0.2.0/24\nnonsense\n")
    said = host.refused("xdp_program", **task, map_entries=entries)
    assert f"line 2 of {listed}: key: 'nonsense' is not a prefix" in said
    assert len(dump(host, "block4")) == 2
