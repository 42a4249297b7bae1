# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade keeps, of maps of each type and of variables in each section. bpftool is the judge."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from commands import bpftool, sh
from host import Host
from map_types import NAMED, NEWER, SECTIONS, UNNAMED, filled, refused, updates

Compiled = t.Callable[..., str]


def pin(host: Host, name: str) -> str:
    return host.pin("eth0", f"maps/{name.replace('.', '%2E')}")


def ids(host: Host) -> t.Dict[str, int]:
    folder = pathlib.Path(host.pin("eth0", "maps"))
    found = {each.name.replace("%2E", "."): each for each in folder.iterdir()}
    return {name: bpftool("map", "show", "pinned", path)["id"] for name, path in found.items()}


def fill(host: Host) -> None:
    for name, words in updates(host.index("eth0"), host.pin("eth0", "program")):
        host.enter("bpftool", "map", "update", "pinned", pin(host, name), *words)


def contents(host: Host) -> t.Dict[str, str]:
    return {name: sh("bpftool", "map", show, "pinned", pin(host, name)) for name, show in filled()}


def variables(host: Host) -> t.Dict[str, int]:
    found: t.Dict[str, int] = {}
    for name in SECTIONS:
        (section,) = json.loads(sh("bpftool", "--json", "map", "dump", "pinned", pin(host, name)))[0]["formatted"][
            "value"
        ].values()
        for each in section:
            found.update(each)
    return found


def warnings(done: t.Dict[str, t.Any]) -> t.List[str]:
    """The sentences, whichever way ansible-core wraps them."""
    found = done.get("warnings", [])
    return [each if isinstance(each, str) else each["event"]["msg"] for each in found]


@pytest.fixture
def first(host: Host, compiled: Compiled) -> t.Dict[str, t.Any]:
    """Options of a task that has run once, with all its maps filled, and three packets counted."""
    options = {"object": compiled("maps", VERSION=1, NEWER=2), "interfaces": ["eth0"]}
    host.ok("xdp_program", program="packet_count", **options)
    fill(host)
    host.send("eth0", 3)
    return options


def upgraded(host: Host, path: str, **options: t.Any) -> t.Dict[str, t.Any]:
    """Upgrade; check mode must predict the same, and say the same; afterwards there is nothing to do."""
    task = {"program": "packet_count", "interfaces": ["eth0"], "object": path, **options}
    before = host.state(), ids(host)
    predicted = host.ok("xdp_program", check=True, **task)
    assert (host.state(), ids(host)) == before
    done = host.ok("xdp_program", **task)
    for each in ("steps", "diff", "warnings"):
        assert done.get(each) == predicted.get(each)
    assert not host.ok("xdp_program", **task)["changed"]
    return done


def test_each_type_of_map_is_kept(host: Host, first: t.Dict[str, t.Any], compiled: Compiled) -> None:
    """Also those that the kernel makes different from what the object asks for: devmap, lists by CPU, perf events."""
    before, filled, values = ids(host), contents(host), variables(host)
    assert values == {"in_data": 8, "limit": 10, "in_bss": 30, "since": 1, "in_named": 8}
    done = upgraded(host, compiled("maps", VERSION=2, NEWER=2))
    after = ids(host)
    assert {name for name in before if after[name] != before[name]} == {"calls"}
    assert contents(host) == filled
    assert warnings(done) == [
        "calls_from_outside on eth0 still calls the programs in its slot 1: they are not the new object's"
    ]
    shapes = {name: bpftool("map", "show", "pinned", pin(host, name)) for name in after}
    for name, words in done["diff"]["after"]["eth0"]["maps"].items():
        assert f"{shapes[name]['max_entries']} entries" in words
        assert (f"flags 0x{shapes[name]['flags']:x}" in words) == bool(shapes[name]["flags"])
    host.send("eth0", 2)
    assert variables(host) == {**values, "in_data": 10, "in_bss": 50, "since": 2, "in_named": 10}


def test_maps_of_a_different_size_are_refused_together(
    host: Host, first: t.Dict[str, t.Any], compiled: Compiled
) -> None:
    """None of them holds only what passes; those that do are in the next test."""
    task = {"program": "packet_count", "interfaces": ["eth0"], "object": compiled("maps", VERSION=2, MORE=1, NEWER=2)}
    messages = {host.refused("xdp_program", check=check, **task) for check in (True, False)}
    (message,) = messages
    assert refused(message) == {*NAMED, *UNNAMED, *NEWER[2], *SECTIONS} - {"calls"}
    assert "nothing was changed" in message and "maps: reset" in message
    assert "hash, key 4 B, value 16 B, 8 entries; the new object needs hash, key 4 B, value 16 B, 16 entries" in message
    assert "more_data is new" in message


def test_structs_and_sections_of_a_different_order_are_refused(
    host: Host, first: t.Dict[str, t.Any], compiled: Compiled
) -> None:
    before, filled = ids(host), contents(host)
    task = {"program": "packet_count", "interfaces": ["eth0"], "object": compiled("maps", VERSION=2, MOVED=1, NEWER=2)}
    messages = {host.refused("xdp_program", check=check, **task) for check in (True, False)}
    (message,) = messages
    assert refused(message) == {*NAMED, ".bss", ".data"}
    assert "the map hash has changed its layout (the value: second was at byte 8 and is at byte 0" in message
    assert "limit was at byte 8 and is at byte 0" in message
    assert (ids(host), contents(host)) == (before, filled)
    host.ok("xdp_program", maps="reset", **task)
    assert not set(ids(host).values()) & set(before.values())


def test_ring_and_perf_buffers_are_made_new_in_the_size_that_was_asked_for(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("rings"), interfaces=["eth0"])
    before = ids(host)
    done = upgraded(host, compiled("rings", MORE=1))
    after = ids(host)
    assert {name for name in before if before[name] == after[name]} == {"counters"}
    sizes = {name: bpftool("map", "show", "pinned", pin(host, name))["max_entries"] for name in after}
    assert sizes == {"counters": 1, "events": 1 << 20, "samples": 128}
    assert "1048576 entries" in done["diff"]["after"]["eth0"]["maps"]["events"]
    assert ["what reads from it must open it again" in each for each in warnings(done)] == [True, True]


def test_swapped_variables_cut_nobody_off(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("order", LIMIT=1000), interfaces=["eth0"])
    host.send("eth0", 5)
    message = host.refused("xdp_program", object=compiled("order", LIMIT=1000, SWAPPED=1), interfaces=["eth0"])
    assert "layout (limit was at byte 8 and is at byte 0, hits was at byte 0 and is at byte 8)" in message
    assert "detach it first (state: detached)" in message


def test_detached_variables_are_carried_over_by_name(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("maps", VERSION=1, VARIABLES=1), interfaces=["eth0"])
    host.send("eth0", 3)
    before, values = ids(host), variables(host)
    moved = {"object": compiled("maps", VERSION=2, VARIABLES=1, MOVED=1, MORE=1), "interfaces": ["eth0"]}
    assert refused(host.refused("xdp_program", **moved)) == {*SECTIONS}
    host.ok("xdp_program", state="detached", name="packet_count")
    done = upgraded(host, str(moved["object"]))
    assert "carrying over the variables in .bss, .data, .data.named" in done["steps"][0]
    assert variables(host) == {**values, "more_data": 1, "more_bss": 0, "more_named": 1}
    assert {name for name, number in ids(host).items() if before[name] == number} == {"counters"}
    host.send("eth0", 2)
    assert variables(host)["in_data"] == values["in_data"] + 2


def test_a_first_value_that_nobody_changed_is_taken(host: Host, compiled: Compiled) -> None:
    """And the counters in the same section go on."""
    host.ok("xdp_program", object=compiled("maps", VERSION=1, VARIABLES=1), interfaces=["eth0"])
    host.send("eth0", 3)
    before = ids(host)
    done = upgraded(host, compiled("maps", VERSION=1, VARIABLES=1, LIMIT=20))
    assert done["steps"][:3] == [
        "eth0: load packet_count, keeping the maps .bss, .data, .data.named, counters",
        "eth0: set limit to 20 in .data, the object's new first value",
        "eth0: swap the program in the link",
    ]
    assert "warnings" not in done
    assert ids(host) == before
    assert variables(host) == {"in_data": 8, "limit": 20, "in_bss": 30, "since": 1, "in_named": 8}
    host.send("eth0", 1)
    assert variables(host)["in_bss"] == 50
    assert host.counts() == (4, 3 * 10 + 20)  # .rodata is new with each load


def test_a_value_that_somebody_changed_stays_and_is_said(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("maps", VERSION=1, VARIABLES=1), interfaces=["eth0"])
    words = ["key", *"0 0 0 0".split(), "value", *"5 0 0 0 0 0 0 0 7 0 0 0".split()]
    sh("bpftool", "map", "update", "pinned", pin(host, ".data"), *words)
    done = upgraded(host, compiled("maps", VERSION=1, VARIABLES=1, LIMIT=20))
    assert warnings(done) == [
        "limit in .data on eth0 stays 7, the object says 20; maps: reset in the task that upgrades takes the object's"
    ]
    assert variables(host)["limit"] == 7
    done = upgraded(host, compiled("maps", VERSION=2, VARIABLES=1, LIMIT=20))
    assert "warnings" not in done  # the source has not changed since


def test_without_a_record_a_different_value_stays_and_is_said(host: Host, compiled: Compiled) -> None:
    """As on a host of the release before, whose records do not say what a section began with."""
    host.ok("xdp_program", object=compiled("maps", VERSION=1, VARIABLES=1), interfaces=["eth0"])
    record = next(pathlib.Path("/run/ebpf_fleet").rglob(f"*{host.name}/packet_count/eth0.json"))
    fields = json.loads(record.read_text())
    del fields["first"]
    record.write_text(json.dumps(fields))
    done = upgraded(host, compiled("maps", VERSION=1, VARIABLES=1, LIMIT=20))
    (warning,) = warnings(done)
    assert "limit in .data on eth0 stays 10, the object says 20" in warning


def test_a_change_that_is_not_confirmed_takes_a_first_value_back(host: Host, compiled: Compiled) -> None:
    both = ["eth0", "eth0.10"]
    host.ok("xdp_program", object=compiled("maps", VERSION=1, VARIABLES=1), interfaces=both)
    changed = compiled("maps", VERSION=1, VARIABLES=1, LIMIT=20)
    held = host.ok("xdp_program", object=changed, interfaces=["eth0"], rollback_after=2)
    assert variables(host)["limit"] == 20 and held["provisional"]
    # It ends by itself, as nobody confirms; the next run waits for that.
    host.ok("xdp_program", object=compiled("maps", VERSION=1, VARIABLES=1), interfaces=both)
    assert variables(host)["limit"] == 10


RULE = {"map": "rules", "entries": [{"key": 1, "value": {"burst": 5, "limit": 9, "action": "ACTION_DROP"}}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"MOVED": 1}, "rules has changed its layout (the value: limit was at byte 4 and is at byte 0"),
        ({"RENUMBERED": 1}, "rules has changed its layout (the value: action: ACTION_PASS was 1 and is 3"),
        ({"TYPE": 9}, "rules has changed its shape (it is hash, key 4 B"),  # lru_hash, with the same sizes
        ({"GLOBAL": 2}, "the map .data has changed its shape (it is array, key 4 B, value 16 B"),
        ({"GLOBAL": 3}, "data has changed its layout (threshold was int of 8 B and is float of 8 B)"),
    ],
)
def test_what_means_something_else_at_the_same_place_is_refused(
    host: Host, compiled: Compiled, change: t.Dict[str, int], says: str
) -> None:
    """While it runs, and something was written since; nothing is changed."""
    task = {"object": compiled("kin"), "name": "kin", "interfaces": ["eth0"], "variables": {"threshold": 7}}
    host.ok("xdp_program", **task, map_entries=[RULE])
    (before,) = host.ok("bpf_map_info", name="kin", map="rules")["maps"]
    changed = {"object": compiled("kin", **change), "name": "kin", "interfaces": ["eth0"]}
    said = {host.refused("xdp_program", check=check, **changed) for check in (True, False)}
    (message,) = said
    assert says in message and "nothing was changed" in message
    assert host.ok("bpf_map_info", name="kin", map="rules")["maps"] == [before]
    host.ok("xdp_program", **changed, maps="reset", map_entries=[RULE])  # the way on: values by name
    (after,) = host.ok("bpf_map_info", name="kin", map="rules")["maps"]
    assert after["entries"] == before["entries"]


@pytest.mark.parametrize(
    ("change", "threshold", "words"),
    [
        ({"RENUMBERED": 1}, 7, "policy in .data on eth0 is carried over by name"),
        ({"GLOBAL": 2}, 7, "threshold in .data on eth0 is carried over by name"),
        ({"GLOBAL": 3}, 1000.0, "threshold in .data on eth0 starts again: its type differs"),
    ],
)
def test_a_detached_variable_of_another_type_is_carried_over_or_starts_again(
    host: Host, compiled: Compiled, change: t.Dict[str, int], threshold: float, words: str
) -> None:
    task = {"object": compiled("kin", VARIABLES=1), "name": "kin", "interfaces": ["eth0"]}
    host.ok("xdp_program", **task, variables={"threshold": 7, "policy": "ACTION_PASS"})
    host.ok("xdp_program", name="kin", state="detached")
    changed = compiled("kin", VARIABLES=1, **change)
    done = host.ok("xdp_program", object=changed, name="kin", interfaces=["eth0"])
    assert any(each.startswith(words) for each in warnings(done)), done
    (found,) = host.ok("bpf_map_info", name="kin", map=".data")["maps"]
    values = found["entries"][0]["value"]
    assert (values["policy"], values["threshold"]) == ("ACTION_PASS", threshold)
