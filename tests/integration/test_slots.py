# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps in the slots of a map of maps, which bpftool then sees in the kernel."""

from __future__ import annotations

import json
import time
import typing as t

import pytest
from commands import bpftool, sh
from host import Host

Compiled = t.Callable[..., str]
Task = t.Dict[str, t.Any]
LIST: Task = {"name": "slots", "map": "lists", "slot": 0}
ZONE: Task = {"name": "slots", "map": "zones", "slot": {"vlan": 7, "number": 1}}
KEYS = ["192.0.2.0/24", "198.51.100.7"]


@pytest.fixture
def slots(host: Host, compiled: Compiled) -> Host:
    host.ok("xdp_program", object=compiled("slots"), interfaces=["eth0"])
    return host


def foretold(host: Host, **task: t.Any) -> Task:
    """Run a task. Check mode must predict its result, and a second run must have nothing to do."""
    predicted = host.ok("bpf_map", check=True, **task)
    done = host.ok("bpf_map", **task)
    assert predicted == done
    assert not host.ok("bpf_map", **task)["changed"]
    return done


def ids(host: Host, name: str) -> t.Dict[str, int]:
    """The maps in the slots, from bpftool."""
    rows = json.loads(sh("bpftool", "--json", "map", "dump", "pinned", host.pin("eth0", f"maps/{name}", "slots")))
    filled = {"".join(byte[2:] for byte in row["key"]): row["value"] for row in rows if "error" not in row["value"]}
    return {key: sum(int(byte, 16) << 8 * at for at, byte in enumerate(value)) for key, value in filled.items()}


def prefixes(host: Host) -> t.List[t.Any]:
    rows = bpftool("map", "dump", "id", ids(host, "lists")["00000000"])
    return sorted((row["formatted"]["key"]["length"], row["formatted"]["key"]["address"]) for row in rows)


def test_in_place_and_at_once(slots: Host) -> None:
    before, program = ids(slots, "lists"), slots.xdp("eth0")
    done = foretold(slots, **LIST, keys=KEYS, value=1)
    assert done["steps"] == ["add 2 of the entries of slot 0 of lists on eth0"]
    assert ids(slots, "lists") == before and done["maps"][0]["id"] == before["00000000"]
    done = foretold(slots, **LIST, keys=["10.0.0.0/8"], value=1, replace="at_once")
    assert done["steps"] == ["add 1 of the entries of slot 0 of lists on eth0, in a new map"]
    assert prefixes(slots) == [(8, [10, 0, 0, 0]), (24, [192, 0, 2, 0]), (32, [198, 51, 100, 7])]
    assert ids(slots, "lists") != before
    done = foretold(slots, **LIST, keys=KEYS, exclusive=True, value=1, replace="at_once")
    assert done["diff"]["before"] == {"slot 0 of lists on eth0": {"10.0.0.0/8": 1}}
    assert prefixes(slots) == [(24, [192, 0, 2, 0]), (32, [198, 51, 100, 7])]
    assert slots.xdp("eth0") == program  # the same program looks into it
    (new,) = (bpftool("map", "show", "id", number) for number in ids(slots, "lists").values())
    (old,) = (bpftool("map", "show", "pinned", slots.pin("eth0", "maps/first", "slots")),)
    assert {**new, "id": 0, "bytes_memlock": 0, "pinned": 0} == {**old, "id": 0, "bytes_memlock": 0, "pinned": 0}


@pytest.mark.parametrize("how", ["at_once", "in_place"])
def test_an_empty_slot_gets_a_map(slots: Host, how: str) -> None:
    entries = [{"key": 5, "value": 6}]
    foretold(slots, **ZONE, entries=entries, replace=how)
    (number,) = ids(slots, "zones").values()
    assert bpftool("map", "dump", "id", number)[0]["formatted"] == {"key": 5, "value": 6}
    assert list(ids(slots, "zones")) == ["00070100"]  # in network order, as its type says
    (found,) = slots.ok("bpf_map_info", **ZONE)["maps"]
    assert (found["type"], found["id"], found["entries"]) == ("hash", number, entries)


def of_list(host: Host) -> t.List[t.Any]:
    """The prefixes in slot 1, which the source leaves empty, from bpftool."""
    rows = bpftool("map", "dump", "id", ids(host, "lists")["01000000"])
    return sorted((row["formatted"]["key"]["length"], row["formatted"]["key"]["address"]) for row in rows)


def test_slots_are_filled_before_the_program_runs(host: Host, compiled: Compiled) -> None:
    """By xdp_program; what is in them then is replaced without it."""
    addresses: Task = {"map": "lists", "slot": 1, "keys": KEYS, "value": 1, "exclusive": True}
    zone: Task = {"map": "zones", "slot": ZONE["slot"], "entries": [{"key": 5, "value": 6}]}
    task: Task = {"object": compiled("slots"), "interfaces": ["eth0"]}

    def steps(**changes: t.Any) -> t.List[str]:
        predicted = host.ok("xdp_program", check=True, **{**task, **changes})
        done = host.ok("xdp_program", **{**task, **changes})
        assert (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
        assert not host.ok("xdp_program", **{**task, **changes})["changed"]
        return [step.partition(": ")[2] for step in done["steps"]]

    text = 'slot {"vlan": 7, "number": 1} of zones'
    assert steps(map_entries=[addresses, zone]) == [
        "load slots",
        "add 2 of the entries of slot 1 of lists",
        f"add 1 of the entries of {text}",
        "attach by link, mode auto",
        "write the record",
    ]
    before, program = ids(host, "lists"), host.xdp("eth0")
    assert of_list(host) == [(24, [192, 0, 2, 0]), (32, [198, 51, 100, 7])]
    assert bpftool("map", "dump", "id", ids(host, "zones")["00070100"])[0]["formatted"] == {"key": 5, "value": 6}
    addresses["keys"] = KEYS[:1]
    assert steps(map_entries=[addresses, zone]) == ["remove 1 of the entries of slot 1 of lists"]
    assert ids(host, "lists") == before and of_list(host) == [(24, [192, 0, 2, 0])]
    addresses.update(keys=KEYS[1:], replace="at_once")
    steps(map_entries=[addresses, zone])
    assert ids(host, "lists") != before and of_list(host) == [(32, [198, 51, 100, 7])]
    assert host.xdp("eth0") == program
    before = ids(host, "lists")
    done = steps(object=compiled("slots", VERSION=2), name="slots", map_entries=[{**addresses, "keys": KEYS}])
    assert "add 1 of the entries of slot 1 of lists, in a new map" in done and "swap the program in the link" in done
    assert ids(host, "lists")["00000000"] == before["00000000"] and ids(host, "zones")
    assert of_list(host) == [(24, [192, 0, 2, 0]), (32, [198, 51, 100, 7])]
    steps(object=compiled("slots", VERSION=2), name="slots", map_entries=[{**addresses, "keys": []}])
    assert of_list(host) == [] and host.xdp("eth0")


def test_a_failed_deployment_leaves_the_slots_as_they_were(slots: Host, compiled: Compiled) -> None:
    slots.ok("bpf_map", **{**LIST, "slot": 1}, keys=KEYS[:1], value=1)
    before = ids(slots, "lists"), ids(slots, "zones"), of_list(slots)
    new: Task = {"map": "lists", "slot": 1, "keys": KEYS, "value": 1, "replace": "at_once"}
    zone: Task = {"map": "zones", "slot": ZONE["slot"], "entries": [{"key": 5, "value": 6}]}
    task: Task = {"object": compiled("slots", VERSION=2), "interfaces": ["eth0"], "name": "slots"}
    done = slots.ok("xdp_program", **task, map_entries=[new, zone], rollback_after=2)
    assert done["provisional"] and ids(slots, "lists") != before[0] and ids(slots, "zones")
    deadline = time.monotonic() + 20
    while ids(slots, "zones") and time.monotonic() < deadline:
        time.sleep(0.2)
    slots.ok("bpf_map", **LIST, keys=KEYS, value=1)  # which waits for it
    assert (ids(slots, "lists"), ids(slots, "zones"), of_list(slots)) == before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"slot": 0}, "the source itself puts a map into slot 0 of lists: declare the entries under the name of that"),
        ({"slot": 2}, "there is no slot 2: lists has 0 to 1"),
        ({"slot": None}, "lists is a map of maps: name one of its slots, with slot"),
        ({"map": "first"}, "first is a map of type lpm_trie, which has no slots: leave out slot"),
    ],
)
def test_what_cannot_be_in_map_entries_is_refused(host: Host, compiled: Compiled, wrong: Task, words: str) -> None:
    item = {"map": "lists", "slot": 1, "keys": KEYS, **wrong}
    item = {name: value for name, value in item.items() if value is not None}
    assert words in host.refused("xdp_program", object=compiled("slots"), interfaces=["eth0"], map_entries=[item])
    twice = [{"map": "lists", "slot": slot, "keys": KEYS} for slot in (1, "1")]
    said = host.refused("xdp_program", object=compiled("slots"), interfaces=["eth0"], map_entries=twice)
    assert "map_entries has slot 1 of lists twice" in said and not host.xdp("eth0")


def test_a_slot_is_emptied_at_once(slots: Host) -> None:
    slots.ok("bpf_map", **LIST, keys=KEYS, value=1)
    done = foretold(slots, **LIST, keys=[], exclusive=True, replace="at_once")
    assert done["steps"] == ["remove 2 of the entries of slot 0 of lists on eth0, in a new map"]
    assert prefixes(slots) == []


def test_an_upgrade_keeps_what_is_in_the_slots(slots: Host, compiled: Compiled) -> None:
    slots.ok("bpf_map", **LIST, keys=KEYS, value=1, replace="at_once")
    slots.ok("bpf_map", **ZONE, entries=[{"key": 5, "value": 6}])
    before = ids(slots, "lists"), ids(slots, "zones")
    done = slots.ok("xdp_program", object=compiled("slots", VERSION=2), interfaces=["eth0"], name="slots")
    assert "eth0: swap the program in the link" in done["steps"]
    assert (ids(slots, "lists"), ids(slots, "zones")) == before


def test_what_is_not_confirmed_is_taken_back(slots: Host) -> None:
    slots.ok("bpf_map", **LIST, keys=KEYS, value=1)
    before = ids(slots, "lists"), ids(slots, "zones")
    done = slots.ok("bpf_map", **LIST, keys=["0.0.0.0/0"], exclusive=True, replace="at_once", rollback_after=2)
    assert done["provisional"] and prefixes(slots) == [(0, [0, 0, 0, 0])]
    deadline = time.monotonic() + 20
    while ids(slots, "lists") != before[0] and time.monotonic() < deadline:
        time.sleep(0.2)
    held = slots.ok("bpf_map", **ZONE, entries=[{"key": 5, "value": 6}], rollback_after=2)
    assert held["provisional"] and ids(slots, "zones")
    slots.ok("bpf_map", **LIST, keys=KEYS, value=1)  # which waits for it
    assert (ids(slots, "lists"), ids(slots, "zones")) == before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"slot": None}, "lists on eth0 is a map of maps: name one of its slots, with slot"),
        ({"slot": 2}, "there is no slot 2: lists on eth0 has 0 to 1"),
        ({"slot": "first"}, "there is no slot first: lists on eth0 has 0 to 1"),
        ({"map": "first"}, "first on eth0 is a map of type lpm_trie, which has no slots"),
        ({"map": "zones"}, "slot: 0 is not a mapping with members of struct zone: vlan, number"),
        ({"map": "zones", "slot": {"vlan": 7}}, "slot: {'vlan': 7} lacks number"),
        ({"persist": "true"}, "slots is not restored on eth0 after a reboot, so its entries cannot be either"),
        ({"map": "first", "slot": None, "replace": "at_once"}, "first lies in a slot of lists"),
    ],
)
def test_what_cannot_be_is_refused(slots: Host, wrong: Task, words: str) -> None:
    options = {name: value for name, value in {**LIST, "keys": KEYS, **wrong}.items() if value is not None}
    assert words in slots.refused("bpf_map", **options)
    assert prefixes(slots) == []


def test_a_map_that_has_lost_its_slot_is_not_filled(slots: Host, compiled: Compiled) -> None:
    """Its pin is still there, but no program looks into it."""
    first: Task = {"map": "first", "keys": KEYS}
    slots.ok("bpf_map", name="slots", **first)
    assert len(prefixes(slots)) == 2
    slots.ok("bpf_map", **LIST, keys=["10.0.0.0/8"], exclusive=True, replace="at_once")
    words = "first on eth0 is in no slot of lists any more"
    more: Task = {"map": "first", "keys": ["172.16.0.0/12"]}
    assert words in slots.refused("bpf_map", name="slots", **more)
    assert words in slots.refused("xdp_program", object=compiled("slots"), interfaces=["eth0"], map_entries=[more])
    assert prefixes(slots) == [(8, [10, 0, 0, 0])]
