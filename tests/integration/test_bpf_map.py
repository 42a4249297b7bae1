# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_map and bpf_map_info: entries of maps, which bpftool then sees in the kernel."""

from __future__ import annotations

import os
import pathlib
import time
import typing as t

import pytest
from commands import bpftool, sh
from host import Host

Compiled = t.Callable[..., str]
Task = t.Dict[str, t.Any]
BLOCK4 = {"name": "blocklist", "map": "block4"}
KEYS = ["192.0.2.0/24", "198.51.100.7"]


@pytest.fixture
def blocklist(host: Host, compiled: Compiled) -> Host:
    host.ok("xdp_program", object=compiled("blocklist"), interfaces=["eth0", "eth0.10"])
    return host


def foretold(host: Host, **task: t.Any) -> Task:
    """Run a task. Check mode must predict its result, and a second run must have nothing to do."""
    predicted = host.ok("bpf_map", check=True, **task)
    done = host.ok("bpf_map", **task)
    assert predicted == done
    again = host.ok("bpf_map", **task)
    assert (again["changed"], again["steps"], again["diff"]) == (False, [], {"before": {}, "after": {}})
    return done


def addresses(host: Host, interface: str = "eth0") -> t.List[t.Any]:
    """Length and address of each prefix, from bpftool."""
    rows = bpftool("map", "dump", "pinned", host.pin(interface, "maps/block4", "blocklist"))
    return sorted((row["formatted"]["key"]["length"], row["formatted"]["key"]["address"]) for row in rows)


def test_on_all_interfaces_or_on_one(blocklist: Host) -> None:
    done = foretold(blocklist, **BLOCK4, keys=KEYS, value=1)
    assert (done["added"], done["entries"], done["max_entries"]) == (4, 4, 400000)
    assert [each["interface"] for each in done["maps"]] == ["eth0", "eth0.10"]
    for interface in ("eth0", "eth0.10"):
        assert addresses(blocklist, interface) == [(24, [192, 0, 2, 0]), (32, [198, 51, 100, 7])]
    done = foretold(blocklist, **BLOCK4, interfaces=["eth0"], keys=["192.0.2.99/24"], exclusive=True, value=1)
    assert done["diff"] == {"before": {"block4 on eth0": {"198.51.100.7/32": 1}}, "after": {"block4 on eth0": {}}}
    assert addresses(blocklist) == [(24, [192, 0, 2, 0])] and len(addresses(blocklist, "eth0.10")) == 2
    foretold(blocklist, **BLOCK4, keys=KEYS, state="absent")
    assert addresses(blocklist) == addresses(blocklist, "eth0.10") == []


def test_a_prefix_that_somebody_wrote_with_its_host_bits_is_the_same(blocklist: Host) -> None:
    pin = blocklist.pin("eth0", "maps/block4", "blocklist")
    sh("bpftool", "map", "update", "pinned", pin, "key", 24, 0, 0, 0, 192, 0, 2, 77, "value", 1)
    done = blocklist.ok("bpf_map", **BLOCK4, interfaces=["eth0"], keys=["192.0.2.0/24"], value=1, exclusive=True)
    assert not done["changed"] and done["entries"] == 1


def test_many_from_a_file(host: Host, compiled: Compiled, tmp_path: pathlib.Path) -> None:
    """A hundred thousand prefixes; of a list in which one in a hundred has changed, only these are written."""
    host.ok("xdp_program", object=compiled("blocklist"), interfaces=["eth0"], map_sizes={"block4": 101_000})
    listed = tmp_path / "list"
    listed.write_text("".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(100_000)))
    task = {**BLOCK4, "interfaces": ["eth0"], "src": str(listed), "exclusive": True}
    assert foretold(host, **task)["added"] == 100_000
    lines = listed.read_text().splitlines()
    listed.write_text("\n".join([*lines[:-1000], *(f"11.0.{n >> 8}.{n & 255}" for n in range(1000))]))
    done = foretold(host, **task)
    assert (done["added"], done["updated"], done["removed"], done["entries"]) == (1000, 0, 1000, 100_000)
    assert len(addresses(host)) == 100_000
    assert "and 1900 more changes" in str(done["diff"])
    listed.chmod(0o666)
    assert "to fill a map from" in host.refused("bpf_map", **task)


def test_too_many_are_refused_before_anything_is_written(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("blocklist"), interfaces=["eth0"], map_sizes={"block4": 3})
    host.ok("bpf_map", **BLOCK4, keys=["10.0.0.1", "10.0.0.2"])
    new = ["10.0.0.3", "10.0.0.4"]
    said = host.refused("bpf_map", **BLOCK4, keys=new)
    assert "block4 on eth0 has room for 3 entries; it has 2, and 2 are to be added" in said and "map_sizes" in said
    said = host.refused("bpf_map", **BLOCK4, keys=new, exclusive=True)
    assert "before 2 are removed. Use replace: at_once" in said
    assert len(addresses(host)) == 2
    host.ok("bpf_map", **BLOCK4, keys=new, exclusive=True, replace="at_once")
    assert [address[3] for _length, address in addresses(host)] == [3, 4]


def test_at_once_is_another_program_in_the_same_link(host: Host, compiled: Compiled) -> None:
    path = compiled("blocklist")
    task = {"object": path, "interfaces": ["eth0"], "variables": {"enforce": False}}
    before = host.ok("xdp_program", **task)["attachments"][0]
    done = foretold_at_once(host, keys=KEYS, value=1)
    assert done["steps"][1] == "eth0: add 2 of the entries of block4, in a new map"
    after = host.ok("xdp_program", **task)
    assert not after["changed"]
    assert after["attachments"][0]["link_id"] == before["link_id"]
    assert after["attachments"][0]["variables_digest"] == before["variables_digest"]
    host.ok("xdp_program", name="blocklist", state="detached")
    foretold_at_once(host, keys=KEYS[:1], value=1, exclusive=True)
    assert host.xdp("eth0") is None  # it stays detached
    os.rename(path, f"{path}.gone")
    try:
        said = host.refused("bpf_map", **BLOCK4, keys=KEYS, replace="at_once")
    finally:
        os.rename(f"{path}.gone", path)
    assert "is no longer the object that runs" in said and "in_place" in said


def foretold_at_once(host: Host, **task: t.Any) -> Task:
    task = {**BLOCK4, **task, "replace": "at_once"}
    predicted, done = host.ok("bpf_map", check=True, **task), host.ok("bpf_map", **task)
    assert [predicted[name] for name in ("steps", "diff", "maps")] == [done[name] for name in ("steps", "diff", "maps")]
    assert not host.ok("bpf_map", **task)["changed"]
    return done


def test_what_is_not_confirmed_is_taken_back(blocklist: Host) -> None:
    blocklist.ok("bpf_map", **BLOCK4, keys=KEYS, value=1)
    before = addresses(blocklist)
    done = blocklist.ok("bpf_map", **BLOCK4, keys=["0.0.0.0/0"], value=1, exclusive=True, rollback_after=2)
    assert done["provisional"]["token"] and addresses(blocklist) == [(0, [0, 0, 0, 0])]
    deadline = time.monotonic() + 20
    while addresses(blocklist) != before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert addresses(blocklist) == before
    done = blocklist.ok("bpf_map", **BLOCK4, keys=["10.0.0.0/8"], value=1, rollback_after=30)
    assert blocklist.ok("xdp_confirm", token=done["provisional"]["token"])["kept"]
    assert len(addresses(blocklist)) == 3


def test_of_a_struct_only_what_is_named_is_compared_and_written(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("ratelimit"), interfaces=["eth0"])
    sources = {"name": "ratelimit", "map": "sources"}
    foretold(host, **sources, entries=[{"key": "192.0.2.1", "value": {"over": 5}}])
    pin = host.pin("eth0", "maps/sources", "ratelimit")
    sh("bpftool", "map", "update", "pinned", pin, *"key 192 0 2 1 value 7 0 0 0 0 0 0 0 5 0 0 0 0 0 0 0".split())
    assert not host.ok("bpf_map", **sources, entries=[{"key": "192.0.2.1", "value": {"over": 5}}])["changed"]
    foretold(host, **sources, entries=[{"key": "192.0.2.1", "value": {"over": 0}}])
    (found,) = host.ok("bpf_map_info", **sources, formats={"key": "ipv4"})["maps"]
    assert found["entries"] == [{"key": "192.0.2.1", "value": {"due": 7, "over": 0}}]


def test_what_is_read(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("protocols"), interfaces=["eth0"])
    host.send("eth0", 30, 100)
    kinds = {"name": "protocols", "map": "kinds"}
    (found,) = host.ok("bpf_map_info", **kinds)["maps"]
    assert (found["type"], found["key_type"], found["value_type"]) == ("percpu_hash", "struct kind", "struct count")
    (entry,) = found["entries"]
    assert entry["key"]["ethertype"] == 0x88B5 and entry["value"] == {"packets": 30, "bytes": 3000}
    (each,) = host.ok("bpf_map_info", **kinds, cpus="each")["maps"]
    values = each["entries"][0]["value"]
    assert sum(value["packets"] for value in values) == 30 and len(values) == len(bpf_cpus(host, "kinds"))
    (none,) = host.ok("bpf_map_info", **kinds, limit=0)["maps"]
    assert (none["entries"], none["entries_total"], none["truncated"]) == ([], 1, True)
    (by_id,) = host.ok("bpf_map_info", id=found["id"])["maps"]
    (by_pin,) = host.ok("bpf_map_info", pinned=found["pin_path"])["maps"]
    assert by_id["entries"] == by_pin["entries"] == found["entries"]


def bpf_cpus(host: Host, name: str) -> t.List[t.Any]:
    (row,) = bpftool("map", "dump", "pinned", host.pin("eth0", f"maps/{name}", "protocols"))
    return t.cast("list[t.Any]", row["formatted"]["values"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"map": "nosuch"}, "blocklist has no map nosuch on eth0; it has allow4, allow6, block4, block6, verdicts"),
        ({"name": "nosuch"}, "nosuch is on no interface of this host"),
        ({"interfaces": ["lo"]}, "blocklist is not deployed on lo"),
        ({"map": "verdicts", "keys": [5]}, "there is no element 5: the array has 0 to 4"),
        ({"keys": ["2001:db8::1"]}, "item 1 of keys: key: '2001:db8::1' is not a prefix"),
        ({"formats": {"key.nosuch": "ipv4"}}, "'nosuch' is not a member"),
        ({"name": None, "map": None, "pinned": "/sys/fs/bpf/nosuch"}, "there is no map pinned at /sys/fs/bpf/nosuch"),
    ],
)
def test_what_cannot_be_is_refused(blocklist: Host, wrong: Task, words: str) -> None:
    options = {name: value for name, value in {**BLOCK4, "keys": KEYS, **wrong}.items() if value is not None}
    assert words in blocklist.refused("bpf_map", **options)
    assert addresses(blocklist) == []
