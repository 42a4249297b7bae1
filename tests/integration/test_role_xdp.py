# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role xdp on a fleet of two hosts, and the plays of examples/ with packets."""

from __future__ import annotations

import json
import pathlib
import re
import socket
import sys
import typing as t

import pytest
from commands import bpftool, program_ids, programs_since
from fleet import Fleet, empty_headings, recap
from host import Host
from paths import ROOT

Compiled = t.Callable[..., str]
Programs = t.List[t.Dict[str, t.Any]]
EXAMPLES = ROOT / "examples"
BLOCKLIST: t.Dict[str, t.Any] = {
    "name": "blocklist",
    "source": str(EXAMPLES / "blocklist/blocklist.bpf.c"),
    "interfaces": ["eth0"],
}
PROTOCOLS: t.Dict[str, t.Any] = {
    "name": "protocols",
    "source": str(EXAMPLES / "protocols/protocols.bpf.c"),
    "interfaces": ["eth0.10"],
}
LIST = "{{ xdp_directory }}/block4.txt"
UNCHANGED = [("one", 0, 0), ("two", 0, 0)]
CHANGED = [("one", 1, 0), ("two", 1, 0)]


def play(fleet: Fleet, programs: t.Any, *more: t.Any, fails: bool = False, warns: str = "", **settings: t.Any) -> str:
    """Run a play with the role."""
    path = fleet.folder / "play.yml"
    variables = {"xdp_programs": programs, **settings}
    role = {"hosts": "fleet", "gather_facts": False, "roles": ["ebpf.fleet.xdp"], "vars": variables}
    path.write_text(json.dumps([role]))
    return fleet.run("ansible-playbook", path, *more, fails=fails, warns=warns)


def listed(fleet: Fleet, *addresses: str) -> t.Dict[str, t.Any]:
    """The blocklist with these addresses in a file on the controller."""
    (fleet.folder / "block4.txt").write_text("".join(f"{address}\n" for address in addresses))
    entries = [{"map": "block4", "src": LIST, "exclusive": True}, {"map": "allow4", "keys": ["192.0.2.0/24"]}]
    return {**BLOCKLIST, "files": [{"src": "block4.txt", "dest": LIST}], "map_entries": entries}


def addresses(host: Host, name: str = "block4") -> t.List[t.Any]:
    rows = bpftool("map", "dump", "pinned", host.pin("eth0", f"maps/{name}", "blocklist"))
    return sorted((row["formatted"]["key"]["length"], row["formatted"]["key"]["address"]) for row in rows)


def tag(host: Host, interface: str, name: str) -> str:
    return str(bpftool("prog", "show", "pinned", host.pin(interface, "program", name))["tag"])


def send4(host: Host, source: str, packets: int) -> None:
    """IPv4 packets from an address to eth0, which nobody answers."""
    header = bytes([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0]) + socket.inet_aton(source) + socket.inet_aton("10.0.0.1")
    frame = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + b"\x08\x00" + header + bytes(30)
    code = (
        "import socket, sys, time\n"
        "wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
        "wire.bind(('p-eth0', 0))\n"
        "for _packet in range(int(sys.argv[2])): wire.send(bytes.fromhex(sys.argv[1])); time.sleep(0.001)\n"
    )
    host.enter(sys.executable, "-c", code, frame.hex(), packets, netns=host.hub)


def packets(host: Host, name: str, pin: str, key: t.Any) -> int:
    """Of one key of a per-CPU map, over all CPUs."""
    rows = bpftool("map", "dump", "pinned", host.pin("eth0", f"maps/{pin}", name))
    (found,) = [row["formatted"] for row in rows if row["formatted"]["key"] == key]
    return sum(cpu["value"]["packets"] for cpu in found["values"])


@pytest.mark.parametrize("build", ["target", "controller", "prebuilt"])
def test_two_programs_on_a_host(fleet: Fleet, compiled: Compiled, build: str) -> None:
    programs: Programs = [BLOCKLIST, PROTOCOLS]
    if build == "prebuilt":
        programs = [{**each, "object": compiled(each["name"])} for each in programs]
        programs = [{key: value for key, value in each.items() if key != "source"} for each in programs]
    how: t.Dict[str, t.Any] = {} if build == "prebuilt" else {"xdp_build": build}
    before, ids = [host.state() for host in fleet.hosts], program_ids()
    predicted = play(fleet, programs, "--check", **how)
    assert ([host.state() for host in fleet.hosts], programs_since(ids)) == (before, [])
    done = play(fleet, programs, **how)
    assert recap(predicted) == recap(done) == [("one", 2, 0), ("two", 2, 0)]
    assert empty_headings(done) == []
    for host in fleet.hosts:
        assert host.xdp("eth0") and host.xdp("eth0.10")
        assert tag(host, "eth0", "blocklist") != tag(host, "eth0.10", "protocols")
    unchanged = play(fleet, programs, **how)
    assert recap(unchanged) == UNCHANGED
    assert unchanged.count("\nTASK [") == 4


def test_both_programs_are_removed(fleet: Fleet) -> None:
    before = [host.state() for host in fleet.hosts]
    play(fleet, [BLOCKLIST, PROTOCOLS])
    gone: Programs = [{"name": name, "state": "absent"} for name in ("blocklist", "protocols")]
    assert recap(play(fleet, gone, "--check")) == recap(play(fleet, gone)) == [("one", 4, 0), ("two", 4, 0)]
    assert recap(play(fleet, gone)) == UNCHANGED
    assert [host.state() for host in fleet.hosts] == before
    assert not (fleet.folder / "one").exists()


def test_a_list_in_a_file(fleet: Fleet) -> None:
    first = listed(fleet, "198.51.100.0/24", "203.0.113.7")
    predicted = play(fleet, [first], "--check")
    done = play(fleet, [first])
    assert recap(predicted) == recap(done) == [("one", 2, 0), ("two", 2, 0)]
    one = fleet.hosts[0]
    assert addresses(one) == [(24, [198, 51, 100, 0]), (32, [203, 0, 113, 7])]
    assert addresses(one, "allow4") == [(24, [192, 0, 2, 0])]
    assert recap(play(fleet, [first])) == UNCHANGED
    link = one.xdp("eth0")
    second = listed(fleet, "198.51.100.0/24", "203.0.113.8")
    predicted, changed = play(fleet, [second], "--check"), play(fleet, [second], "-v")
    assert recap(predicted) == recap(changed) == [("one", 2, 0), ("two", 2, 0)]
    assert "add 1" in changed and "remove 1" in changed
    assert addresses(one) == [(24, [198, 51, 100, 0]), (32, [203, 0, 113, 8])] and one.xdp("eth0") == link
    play(fleet, [{**first, "state": "absent"}])
    assert not (fleet.folder / "one").exists()


def test_what_is_refused_is_refused_before_anything_is_changed(fleet: Fleet) -> None:
    before = [host.state() for host in fleet.hosts]
    for wrong, words in (
        ({"variables": {"enforced": True}}, "enforced"),
        ({"map_entries": [{"map": "block9", "keys": []}]}, "has no map 'block9'"),
        ({"sauce": "x"}, "sauce"),
        ({"interfaces": ["nope0"]}, "there is no interface nope0"),
    ):
        assert words in play(fleet, [{**BLOCKLIST, **wrong}], fails=True)
    assert "two programs of the same name" in play(fleet, [BLOCKLIST, BLOCKLIST], fails=True)
    text = play(fleet, [{"name": "blocklist", "interfaces": ["eth0"]}], fails=True)
    assert "blocklist is prebuilt: set object" in text
    text = play(fleet, [{"name": "blocklist", "source": BLOCKLIST["source"]}], fails=True)
    assert "This host has no default route; say which interfaces blocklist is to run on with interfaces" in text
    assert [host.state() for host in fleet.hosts] == before


def test_only_what_is_in_the_list(fleet: Fleet, compiled: Compiled) -> None:
    """The other program has the interface of the one in the list. A foreign one stays."""
    one, two = fleet.hosts
    one.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"], name="old")
    foreign = f"{one.pins}-foreign"
    one.enter("bpftool", "prog", "load", compiled("counter"), foreign)
    pathlib.Path(f"{fleet.folder}/one").mkdir()
    left = [fleet.folder / "one/old.bpf.o", fleet.folder / "one/mine.txt"]
    for path in left:
        path.write_text("")
    try:
        one.enter("bpftool", "net", "attach", "xdp", "pinned", foreign, "dev", "eth0.10")
        there = one.xdp("eth0.10")
        assert "already runs XDP program" in play(fleet, [BLOCKLIST], fails=True)
        text = play(fleet, [BLOCKLIST], xdp_exclusive=True)
        assert "Remove the program" in text and recap(text) == [("one", 3, 0), ("two", 0, 0)]
        assert tag(one, "eth0", "blocklist") == tag(two, "eth0", "blocklist")
        assert one.xdp("eth0.10") == there and not left[0].exists() and left[1].exists()
        assert recap(play(fleet, [BLOCKLIST], xdp_exclusive="yes")) == UNCHANGED
        play(fleet, [], xdp_exclusive=True)
        assert one.xdp("eth0") is None and two.xdp("eth0") is None and one.xdp("eth0.10") == there
    finally:
        pathlib.Path(foreign).unlink(missing_ok=True)


def test_hosts_with_different_programs(fleet: Fleet) -> None:
    """Each does its own in the order of its list: what is removed first frees the interface."""
    play(fleet, [{**PROTOCOLS, "interfaces": ["eth0"]}], "--limit", "two")
    inventory = json.loads(fleet.inventory.read_text())
    wanted = {"one": [BLOCKLIST], "two": [{"name": "protocols", "state": "absent"}, BLOCKLIST]}
    for name, programs in wanted.items():
        inventory["fleet"]["hosts"][name]["mine"] = programs
    fleet.inventory.write_text(json.dumps(inventory))
    play(fleet, "{{ mine }}")
    assert tag(fleet.hosts[0], "eth0", "blocklist") == tag(fleet.hosts[1], "eth0", "blocklist")
    assert recap(play(fleet, "{{ mine }}")) == UNCHANGED


def test_beside_the_counter(fleet: Fleet) -> None:
    """Its variables are its own, and so are its files."""
    inventory = json.loads(fleet.inventory.read_text())
    inventory["fleet"]["vars"].update(xdp_counter_interfaces=["eth0.10"], xdp_build="controller")
    fleet.inventory.write_text(json.dumps(inventory))
    assert recap(play(fleet, [BLOCKLIST])) == CHANGED
    assert recap(fleet.play("deploy")) == CHANGED
    for host in fleet.hosts:
        assert host.xdp("eth0") and host.xdp("eth0.10")
    names = {path.name for path in (fleet.folder / "one").iterdir()}
    assert {"blocklist.bpf.o", "packet_count.bpf.o", "packet_count.bpf.c"} <= names
    assert "blocklist.bpf.c" not in names, "compiled on the controller"
    fleet.play("remove")
    assert {path.name for path in (fleet.folder / "one").iterdir()} == {"blocklist.bpf.o"}
    assert fleet.hosts[0].xdp("eth0") and not fleet.hosts[0].xdp("eth0.10")


# The plays of examples/


def example(fleet: Fleet, name: str, *more: t.Any, warns: str = "") -> str:
    """As its page says, with a copy of its folder."""
    play, variables = fleet.folder / name / "deploy.yml", {f"{name}_interfaces": ["eth0"]}
    return fleet.run("ansible-playbook", play, "-e", json.dumps(variables), *more, warns=warns)


@pytest.fixture
def copied(fleet: Fleet) -> None:
    for folder in EXAMPLES.iterdir():
        (fleet.folder / folder.name).mkdir()
        for path in folder.iterdir():
            (fleet.folder / folder.name / path.name).write_bytes(path.read_bytes())


@pytest.mark.usefixtures("copied")
def test_the_blocklist_example(fleet: Fleet) -> None:
    one = fleet.hosts[0]
    before = one.state()
    example(fleet, "blocklist", "--check", "--diff")
    assert one.state() == before
    example(fleet, "blocklist", "-e", "blocklist_enforce=false")
    send4(one, "198.51.100.9", 11)
    assert packets(one, "blocklist", "verdicts", 3) == 11
    text = example(fleet, "blocklist")
    assert recap(text) == CHANGED and recap(example(fleet, "blocklist")) == UNCHANGED
    for source, number in (("198.51.100.9", 20), ("203.0.113.7", 3), ("203.0.113.8", 4), ("192.0.2.1", 5)):
        send4(one, source, number)
    assert [packets(one, "blocklist", "verdicts", key) for key in (0, 1, 2)] == [4, 5, 23]
    with (fleet.folder / "blocklist/block4.txt").open("a") as file:
        file.write("192.0.2.0/24 # of the allow list\n203.0.113.8\n")
    example(fleet, "blocklist")
    send4(one, "203.0.113.8", 7)
    send4(one, "192.0.2.1", 5)
    assert [packets(one, "blocklist", "verdicts", key) for key in (0, 1, 2)] == [4, 10, 30]
    text = fleet.run("ansible", "one", "-m", "ebpf.fleet.bpf_map_info", "-a", "name=blocklist map=verdicts")
    assert re.search(r'"packets": 30\b', text)
    example(fleet, "blocklist", "-e", "blocklist_state=absent")
    assert one.state() == before and not (fleet.folder / "one").exists()


@pytest.mark.usefixtures("copied")
def test_the_ratelimit_example(fleet: Fleet) -> None:
    one = fleet.hosts[0]
    how = ("-e", "ratelimit_rate=1", "-e", "ratelimit_burst=5")
    assert recap(example(fleet, "ratelimit", *how)) == CHANGED
    assert recap(example(fleet, "ratelimit", *how)) == UNCHANGED
    send4(one, "192.0.2.1", 50)
    sources = {"name": "ratelimit", "map": "sources", "formats": {"key": "ipv4"}}
    (found,) = one.ok("bpf_map_info", **sources)["maps"]
    (entry,) = found["entries"]
    assert entry["key"] == "192.0.2.1" and 40 <= entry["value"]["over"] <= 45
    example(fleet, "ratelimit", "-e", "ratelimit_rate=2", "-e", "ratelimit_over=ACTION_PASS")
    (after,) = one.ok("bpf_map_info", **sources)["maps"]
    assert after["entries"] == found["entries"], "the addresses and their counts stay"
    example(fleet, "ratelimit", "-e", "ratelimit_state=absent")
    assert one.xdp("eth0") is None


@pytest.mark.usefixtures("copied")
def test_the_protocols_example(fleet: Fleet) -> None:
    one = fleet.hosts[0]
    assert recap(example(fleet, "protocols")) == CHANGED
    one.send("eth0", 30, 100)
    send4(one, "192.0.2.1", 20)
    for size, warns in ((4096, "kinds on eth0 is a new map, with room for 8192 entries"), (8192, "")):
        (found,) = one.ok("bpf_map_info", name="protocols", map="kinds")["maps"]
        counted = {(each["key"]["ethertype"], each["key"]["protocol"]): each["value"] for each in found["entries"]}
        assert counted[0x88B5, 0] == {"packets": 30, "bytes": 3000} and counted[0x0800, 17]["packets"] == 20
        assert found["max_entries"] == size
        example(fleet, "protocols", "-e", "protocols_kinds=8192", warns=warns)
    example(fleet, "protocols", "-e", "protocols_state=absent")
    assert one.xdp("eth0") is None
