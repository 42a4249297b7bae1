# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces above others: the kernel attaches to an interface only while none directly above it has a program.

On a macvlan, a VXLAN and a bridge. tests/kernels has VLANs and bonds, which not each kernel knows.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import time
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils import boot
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.manifests import Manifest, packed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.files import sha256
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import MANIFESTS, MARKS, RUNNER, Place
from ansible_collections.ebpf.fleet.plugins.module_utils.state.private_files import remove_empty, write_private
from commands import bpftool, sh
from host import Host

Compiled = t.Callable[..., str]
Options = t.Dict[str, t.Any]
BOTH = ["mac0", "eth0"]  # in the wrong order


def add(host: Host, name: str, *words: str) -> None:
    sh("ip", "-n", host.name, "link", "add", "name", name, *words)
    sh("ip", "-n", host.name, "link", "set", "dev", name, "up")


@pytest.fixture(autouse=True)
def upper(host: Host) -> str:
    add(host, "mac0", "link", "eth0", "type", "macvlan", "mode", "bridge")
    return "mac0"


@pytest.fixture
def task(compiled: Compiled) -> Options:
    return {"object": compiled("counter", VERSION=1), "name": "counter"}


def marked(host: Host) -> bool:
    return os.path.exists(f"{MARKS}/{host.pins.replace('/', '%2F')}")


def running(host: Host, interface: str) -> t.Tuple[str, int]:
    """Mode and id of the program, which is the pinned one and in the pinned link."""
    found = host.xdp(interface) or {"mode": 0, "prog": {"id": 0}}
    return {0: "", 1: "native", 2: "generic"}[found["mode"]], found["prog"]["id"]


def pinned(host: Host, interface: str, name: str = "counter") -> bool:
    """Whether the pinned link holds the program that runs."""
    link = bpftool("link", "show", "pinned", host.pin(interface, "link", name))
    return bool(link["prog_id"] == running(host, interface)[1])


def as_predicted(host: Host, **options: t.Any) -> Options:
    """Run a task that does what check mode predicts, and that changes nothing the second time."""
    predicted = host.ok("xdp_program", check=True, **options)
    done = host.ok("xdp_program", **options)
    assert done["steps"] == predicted["steps"] and done["changed"]
    assert [each["interface"] for each in done["attachments"]] == options["interfaces"]
    assert not host.ok("xdp_program", **options)["changed"]
    assert not marked(host)
    return done


@contextlib.contextmanager
def foreign(host: Host, interface: str, path: str) -> t.Iterator[int]:
    """A program that this collection did not attach."""
    sh("ip", "-n", host.name, "link", "set", "dev", interface, "xdpgeneric", "obj", path, "sec", "xdp")
    yield running(host, interface)[1]


@pytest.mark.parametrize("interfaces", [BOTH, BOTH[::-1]])
def test_both_in_any_order(host: Host, task: Options, interfaces: t.List[str]) -> None:
    done = as_predicted(host, **task, interfaces=interfaces)
    assert [step for step in done["steps"] if "attach" in step] == [
        "eth0: attach by link, mode auto",
        "mac0: attach by link, mode auto",
    ]
    assert running(host, "eth0")[0] == "native" and running(host, "mac0")[0] == "generic"
    assert pinned(host, "eth0") and pinned(host, "mac0")


@pytest.mark.parametrize("interfaces", [["eth0"], BOTH])
def test_the_lower_one_later(host: Host, task: Options, compiled: Compiled, interfaces: t.List[str]) -> None:
    host.ok("xdp_program", **task, interfaces=["mac0"])
    before = running(host, "mac0")
    host.send("eth0", 10)
    done = as_predicted(host, **task, interfaces=interfaces)
    assert "on mac0" not in str(done.get("warnings"))  # that it is not exact there was said when it was deployed
    assert [step for step in done["steps"] if "attach" in step or "detach" in step] == [
        "mac0: detach counter for a moment, as the kernel attaches to eth0 only without it",
        "eth0: attach by link, mode auto",
        "mac0: attach counter again by link, mode generic",
    ]
    assert running(host, "mac0") == before and pinned(host, "mac0") and pinned(host, "eth0")
    host.send("eth0", 10)
    time.sleep(0.2)  # a macvlan gets broadcasts from a work queue
    assert (host.counts("eth0", "counter")[0], host.counts("mac0", "counter")[0]) == (10, 20)
    newer = {**task, "object": compiled("counter", VERSION=2)}
    upgraded = as_predicted(host, **newer, interfaces=["eth0"])
    assert not any(step.startswith("mac0") for step in upgraded["steps"])  # an upgrade updates the link


def test_a_different_mode_below_a_program_of_another_task(host: Host, task: Options, compiled: Compiled) -> None:
    host.ok("xdp_program", **task, interfaces=["eth0"])
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["mac0"])
    before = running(host, "mac0")
    done = as_predicted(host, **task, interfaces=["eth0"], mode="generic")
    assert done["steps"][:3] == [
        "mac0: detach packet_count for a moment, as the kernel attaches to eth0 only without it",
        "eth0: detach",
        "eth0: attach by link, mode generic",
    ]
    assert done["diff"]["after"]["mac0"]["steps"][1] == "attach packet_count again by link, mode generic"
    assert running(host, "eth0")[0] == "generic" and running(host, "mac0") == before
    assert pinned(host, "mac0", "packet_count") and pinned(host, "eth0")


def test_a_different_mode_and_version_of_both(host: Host, task: Options, compiled: Compiled) -> None:
    host.ok("xdp_program", **task, interfaces=BOTH)
    host.send("eth0", 10)
    newer = {**task, "object": compiled("counter", VERSION=2)}
    as_predicted(host, **newer, interfaces=BOTH, mode="generic")
    assert [running(host, name)[0] for name in BOTH] == ["generic", "generic"]
    assert all(pinned(host, name) for name in BOTH) and host.counts("eth0", "counter")[0] == 10


def test_three_storeys(host: Host, task: Options) -> None:
    """mac0 is attached again, so what is above it is in the way too."""
    add(host, "vx0", "type", "vxlan", "id", "5", "dev", "mac0", "dstport", "4789")
    host.ok("xdp_program", **task, interfaces=["vx0", "mac0"])
    before = [running(host, name) for name in ("vx0", "mac0")]
    done = as_predicted(host, **task, interfaces=["eth0"])
    assert [step.split(",")[0] for step in done["steps"] if "counter " in step and "load" not in step] == [
        "vx0: detach counter for a moment",
        "mac0: detach counter for a moment",
        "mac0: attach counter again by link",
        "vx0: attach counter again by link",
    ]
    assert [running(host, name) for name in ("vx0", "mac0")] == before
    host.ok("xdp_program", name="counter", state="absent")
    as_predicted(host, **task, interfaces=["vx0", "eth0", "mac0"])


def test_several_ports_of_a_bridge(host: Host, task: Options) -> None:
    """What is above several interfaces of a task is detached once."""
    add(host, "br0", "type", "bridge")
    host.plug("eth1")
    for port in ("eth1", "eth0.10"):
        sh("ip", "-n", host.name, "link", "set", "dev", port, "master", "br0")
    host.ok("xdp_program", **task, interfaces=["br0"])
    done = as_predicted(host, **task, interfaces=["eth1", "eth0.10"])
    assert [step for step in done["steps"] if step.startswith("br0")] == [
        "br0: detach counter for a moment, as the kernel attaches to eth0.10 and eth1 only without it",
        "br0: attach counter again by link, mode generic",
    ]
    assert pinned(host, "br0")


def test_a_veth_is_not_above_its_peer(host: Host, task: Options) -> None:
    """Both ends are in one namespace, and each is the other's IFLA_LINK."""
    add(host, "end0", "type", "veth", "peer", "name", "end1")
    host.ok("xdp_program", **task, interfaces=["end0"])
    assert not any("for a moment" in step for step in as_predicted(host, **task, interfaces=["end1"])["steps"])


def test_a_foreign_program_above_is_named(host: Host, task: Options, compiled: Compiled) -> None:
    host.ok("xdp_program", **task, interfaces=["eth0"])
    with foreign(host, "mac0", compiled("packet_count")) as number:
        for options in ({"interfaces": ["eth0"], "mode": "generic"}, {"interfaces": ["eth0.10", "eth0"]}):
            changes = {"mode": "generic", "on_conflict": "replace", **options}
            for check in (True, False):
                words = host.refused("xdp_program", check=check, **task, **changes)
                assert "cannot attach counter to eth0: mac0, which is above it, runs XDP program" in words, words
                assert f"XDP program {number} 'packet_count'" in words
                assert "`ip link set dev mac0 xdpgeneric off`" in words
        done = host.module("xdp_program", **task, **changes, on_error="continue")
        assert "1 of 2 interfaces failed" in done["msg"] and running(host, "eth0.10")[0] == "generic"
        assert running(host, "eth0")[0] == "native" and pinned(host, "eth0")
        # Replaced where the task is about it, in the order that the kernel allows.
        as_predicted(host, **task, interfaces=BOTH, mode="generic", on_conflict="replace")
        assert all(pinned(host, name) for name in BOTH)


@pytest.mark.parametrize("name", ["counter", "packet_count"])
def test_our_program_above_is_ours_after_a_renaming(host: Host, task: Options, compiled: Compiled, name: str) -> None:
    """What is pinned for mac0 cannot be attached again as mac1's, and is not called foreign."""
    host.ok("xdp_program", object=compiled("packet_count"), name=name, interfaces=["mac0"])
    sh("ip", "-n", host.name, "link", "set", "dev", "mac0", "down")
    sh("ip", "-n", host.name, "link", "set", "dev", "mac0", "name", "mac1")
    words = host.refused("xdp_program", **task, interfaces=["eth0"])
    assert f"mac1, which is above it, runs XDP program {running(host, 'mac1')[1]} 'packet_count'" in words, words
    assert f"which this collection pinned as {name} for mac0 (was the interface renamed?)" in words
    assert f"name: {name}, state: absent and interfaces: [mac0]" in words and "bpftool" not in words
    host.ok("xdp_program", name=name, state="absent", interfaces=["mac0"])
    host.ok("xdp_program", **task, interfaces=["eth0"])


def test_an_interface_above_in_another_namespace(host: Host, task: Options, compiled: Compiled) -> None:
    """It cannot be seen from here, so the kernel is asked."""
    host.ok("xdp_program", **task, interfaces=["eth0"])
    sh("ip", "-n", host.name, "link", "set", "dev", "mac0", "netns", host.hub)
    sh("ip", "-n", host.hub, "link", "set", "dev", "mac0", "xdpgeneric", "obj", compiled("packet_count"), "sec", "xdp")
    before = running(host, "eth0")
    words = host.refused("xdp_program", **task, interfaces=["eth0"], mode="generic")
    assert "an interface above it, in another network namespace, has a program" in words, words
    assert running(host, "eth0") == before and pinned(host, "eth0")
    host.ok("xdp_program", name="counter", state="absent")
    words = host.refused("xdp_program", **task, interfaces=["eth0"])
    assert "detach the program of the interface above eth0 first" in words


def test_a_failure_afterwards_undoes_it(host: Host, task: Options, compiled: Compiled) -> None:
    host.plug("jumbo0", mtu=9000)
    host.ok("xdp_program", **task, interfaces=["mac0"])
    before = running(host, "mac0")
    host.refused("xdp_program", **task, interfaces=["eth0", "jumbo0"], mode="native")
    assert running(host, "mac0") == before and pinned(host, "mac0") and not host.xdp("eth0")
    host.ok("xdp_program", **task, interfaces=["eth0"], mode="generic")
    lower = running(host, "eth0")
    host.refused("xdp_program", **task, interfaces=["eth0", "jumbo0"], mode="native")
    assert (running(host, "eth0"), running(host, "mac0")) == (lower, before)
    assert all(pinned(host, name) for name in BOTH) and not marked(host)
    done = host.module("xdp_program", **task, interfaces=["eth0", "jumbo0"], mode="native", on_error="continue")
    assert "1 of 2 interfaces failed" in done["msg"] and running(host, "eth0")[0] == "native"
    assert running(host, "mac0") == before and pinned(host, "mac0")


def test_those_that_depend_on_each_other_fail_together(host: Host, task: Options) -> None:
    """eth0 cannot be attached natively; then mac0 is as it was, and what is independent of them is done."""
    sh("ip", "-n", host.hub, "link", "set", "dev", "p-eth0", "mtu", "9000")
    sh("ip", "-n", host.name, "link", "set", "dev", "eth0", "mtu", "9000")
    host.ok("xdp_program", **task, interfaces=["mac0"])
    before = running(host, "mac0")
    options = {**task, "interfaces": ["eth0.10", "eth0", "mac0"], "mode": "native", "on_error": "continue"}
    done = host.module("xdp_program", **options)
    errors = {each["interface"]: each.get("error", "") for each in done["attachments"]}
    assert not errors["eth0.10"] and running(host, "eth0.10")[0] == "native"
    assert errors["eth0"] and errors["mac0"] == "mac0 was left as it was, because eth0 failed", errors
    assert running(host, "mac0") == before and pinned(host, "mac0")


def test_only_what_was_requested_fails(host: Host, task: Options, compiled: Compiled) -> None:
    """What is above is left as it was, and is not the task's: it is not in the result."""
    sh("ip", "-n", host.hub, "link", "set", "dev", "p-eth0", "mtu", "9000")
    sh("ip", "-n", host.name, "link", "set", "dev", "eth0", "mtu", "9000")
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["mac0"])
    before = running(host, "mac0")
    options = {**task, "mode": "native", "on_error": "continue"}
    done = host.module("xdp_program", **options, interfaces=["eth0.10", "eth0"])
    assert done["msg"].startswith("1 of 2 interfaces failed: cannot attach"), done["msg"]
    assert [each["interface"] for each in done["attachments"]] == ["eth0.10", "eth0"]
    assert [each["state"] for each in done["attachments"]] == ["attached", "absent"]
    assert running(host, "mac0") == before and pinned(host, "mac0", "packet_count") and not marked(host)


def test_why_something_above_failed_is_told(host: Host, task: Options, compiled: Compiled) -> None:
    """mac0 cannot be detached, as its mark cannot be written."""
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["mac0"])
    marks = os.path.dirname(Place(host.pins, "packet_count", "mac0").record.replace("/run/ebpf_fleet", MARKS))
    write_private(marks, b"this should be a folder")
    try:
        done = host.module("xdp_program", **task, interfaces=["eth0"], on_error="continue")
    finally:
        os.unlink(marks)
        remove_empty(os.path.dirname(marks), MARKS)
    assert done["msg"].startswith("1 of 1 interfaces failed: eth0 was left as it was, because mac0 failed: cannot")
    assert "for packet_count on mac0: " in done["msg"], done["msg"]
    assert pinned(host, "mac0", "packet_count") and not host.xdp("eth0")


# Provisional


def holders(host: Host) -> t.List[int]:
    return [int(number) for number in sh("ip", "netns", "pids", host.name).split()]


def wait_for_holders(host: Host) -> None:
    deadline = time.monotonic() + 20
    while holders(host):
        assert time.monotonic() < deadline, "a holder is still running"
        time.sleep(0.05)


@pytest.mark.parametrize("start", ["nothing", "native"])
@pytest.mark.parametrize("end", ["confirmed", "rolled back", "killed"])
def test_provisional(host: Host, task: Options, start: str, end: str) -> None:
    """The upper program is not new: it stays, however the change of the lower one ends."""
    if start == "native":
        host.ok("xdp_program", **task, interfaces=["eth0"])
    host.ok("xdp_program", **task, interfaces=["mac0"], mode="generic")
    lower, upper = running(host, "eth0"), running(host, "mac0")
    done = host.ok("xdp_program", **task, interfaces=["eth0"], mode="generic", rollback_after=30)
    assert running(host, "mac0") == upper and pinned(host, "mac0") and running(host, "eth0")[0] == "generic"
    (holder,) = holders(host)
    if end == "confirmed":
        host.ok("xdp_confirm", token=done["provisional"]["token"])
        lower = running(host, "eth0")
        assert pinned(host, "eth0")
    else:
        os.kill(holder, signal.SIGTERM if end == "rolled back" else signal.SIGKILL)
    wait_for_holders(host)
    assert running(host, "mac0") == upper and pinned(host, "mac0") and not marked(host)
    if end == "killed":  # as without anything above: the kernel detaches it, and the next run attaches it
        assert not host.xdp("eth0")
        host.ok("xdp_program", **task, interfaces=["eth0"], mode="generic")
        assert pinned(host, "eth0") and pinned(host, "mac0")
    else:
        assert running(host, "eth0") == lower and (not lower[0] or pinned(host, "eth0"))


@pytest.mark.parametrize("upper_name", ["counter", "packet_count"])
def test_a_confirmed_change_tells_only_what_was_requested(
    host: Host, task: Options, compiled: Compiled, upper_name: str
) -> None:
    """As the same task does without rollback_after: the caller checks the packets of what it gets."""
    host.ok("xdp_program", object=compiled("counter", VERSION=1), name=upper_name, interfaces=["mac0"])
    done = host.ok("xdp_program", **task, interfaces=["eth0"], rollback_after=30)
    assert any(step.startswith("mac0: detach") for step in done["steps"])
    assert [list(done["provisional"][when]) for when in ("before", "after")] == [["eth0"], ["eth0"]]
    confirmed = host.ok("xdp_confirm", token=done["provisional"]["token"])
    assert [each["interface"] for each in confirmed["attachments"]] == ["eth0"]
    wait_for_holders(host)
    assert pinned(host, "eth0") and pinned(host, "mac0", upper_name)


@pytest.mark.parametrize("state", ["detached", "absent"])
def test_a_removal_is_rolled_back_below_a_program(host: Host, task: Options, state: str) -> None:
    host.ok("xdp_program", **task, interfaces=BOTH)
    before = [running(host, name) for name in BOTH]
    host.ok("xdp_program", name="counter", state=state, interfaces=["eth0"], rollback_after=30)
    assert not host.xdp("eth0")
    os.kill(holders(host)[0], signal.SIGTERM)
    wait_for_holders(host)
    assert [running(host, name) for name in BOTH] == before and all(pinned(host, name) for name in BOTH)
    assert not marked(host)


def test_what_a_failed_rollback_left_detached_is_attached_again(host: Host, task: Options, compiled: Compiled) -> None:
    """It fails, as mac0 itself has got something above it meanwhile."""
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["mac0"])
    before = running(host, "mac0")
    host.ok("xdp_program", **task, interfaces=["eth0"], rollback_after=30)
    add(host, "vx0", "type", "vxlan", "id", "5", "dev", "mac0", "dstport", "4789")
    with foreign(host, "vx0", compiled("packet_count")):
        os.kill(holders(host)[0], signal.SIGTERM)
        wait_for_holders(host)
        assert not host.xdp("mac0") and not host.xdp("eth0") and marked(host)
    sh("ip", "-n", host.name, "link", "del", "vx0")
    host.ok("xdp_program", **task, interfaces=["eth0.10"])
    assert running(host, "mac0") == before and pinned(host, "mac0", "packet_count") and not marked(host)


# Killed and rebooted hosts


@pytest.mark.parametrize("interfaces", [["eth0"], ["eth0.10"], ["mac0"]])
def test_what_a_killed_run_left_detached_is_attached_again(host: Host, task: Options, interfaces: t.List[str]) -> None:
    host.ok("xdp_program", **task, interfaces=["mac0", "eth0", "eth0.10"])
    before = running(host, "mac0")
    write_private(Place(host.pins, "counter", "mac0").record.replace("/run/ebpf_fleet", MARKS), b"generic")
    os.unlink(host.pin("mac0", "link", "counter"))
    while host.xdp("mac0"):
        time.sleep(0.02)
    done = as_predicted(host, **task, interfaces=interfaces)
    assert any(step.startswith("mac0: attach") for step in done["steps"])
    assert running(host, "mac0") == before and pinned(host, "mac0")


def left_detached(host: Host, interface: str, name: str = "counter") -> None:
    """As a run leaves it that is killed between Lift and PutBack."""
    write_private(Place(host.pins, name, interface).record.replace("/run/ebpf_fleet", MARKS), b"generic")
    os.unlink(host.pin(interface, "link", name))
    while host.xdp(interface):
        time.sleep(0.02)


@pytest.mark.parametrize("where", ["here", "in another namespace"])
def test_what_cannot_be_attached_again_does_not_block_other_tasks(
    host: Host, task: Options, compiled: Compiled, where: str
) -> None:
    host.ok("xdp_program", **task, interfaces=["eth0"], mode="generic")
    before = running(host, "eth0")
    left_detached(host, "eth0")
    other = host.hub if where == "in another namespace" else host.name
    if other == host.hub:
        sh("ip", "-n", host.name, "link", "set", "dev", "mac0", "netns", other)
    sh("ip", "-n", other, "link", "set", "dev", "mac0", "xdpgeneric", "obj", compiled("packet_count"), "sec", "xdp")
    packets = {"object": compiled("packet_count"), "name": "packet_count"}
    for options in ({**packets, "interfaces": ["eth0.10"]}, {"name": "packet_count", "state": "absent"}):
        done = host.ok("xdp_program", **options)
        assert not any(step.startswith("eth0:") for step in done["steps"]) and marked(host)
        words = str(done["warnings"])
        assert "a killed run left a program detached" in words, words
        assert ("mac0, which is above" in words) == (other == host.name)
    assert not host.xdp("eth0") and not host.xdp("eth0.10")
    sh("ip", "-n", other, "link", "del", "mac0")
    host.ok("xdp_program", **packets, interfaces=["eth0.10"])
    assert running(host, "eth0") == before and pinned(host, "eth0") and not marked(host)


@pytest.mark.parametrize("state", ["absent", "attached"])
def test_a_task_of_another_name_on_an_interface_that_was_left_detached(
    host: Host, task: Options, compiled: Compiled, state: str
) -> None:
    host.ok("xdp_program", **task, interfaces=["mac0"])
    before = running(host, "mac0")
    left_detached(host, "mac0")
    packets = {"name": "packet_count", "interfaces": ["mac0"], "state": state}
    if state == "absent":
        done = host.ok("xdp_program", **packets)
        assert running(host, "mac0") == before and pinned(host, "mac0")
        assert [each["state"] for each in done["attachments"]] == ["absent"]
    else:
        done = host.ok("xdp_program", **packets, object=compiled("packet_count"))
        words = "counter, which a killed run left detached from mac0, is replaced by packet_count"
        assert words in str(done["warnings"]) and pinned(host, "mac0", "packet_count")
    assert not marked(host)


def test_a_link_that_a_killed_run_has_not_named_yet(host: Host, task: Options) -> None:
    host.ok("xdp_program", **task, interfaces=BOTH)
    before = running(host, "mac0")
    write_private(Place(host.pins, "counter", "mac0").record.replace("/run/ebpf_fleet", MARKS), b"generic")
    link = host.pin("mac0", "link", "counter")
    os.rename(link, link + "%new")
    done = as_predicted(host, **task, interfaces=["eth0"], mode="generic")
    assert "mac0: pin the link again" in done["steps"]
    assert running(host, "mac0") == before and pinned(host, "mac0") and not os.path.exists(link + "%new")


def test_what_is_to_be_detached_is_not_attached_again(host: Host, task: Options) -> None:
    host.ok("xdp_program", **task, interfaces=BOTH)
    write_private(Place(host.pins, "counter", "mac0").record.replace("/run/ebpf_fleet", MARKS), b"generic")
    host.ok("xdp_program", name="counter", state="detached")
    assert not marked(host)
    host.ok("xdp_program", **task, interfaces=["eth0"])
    assert not host.xdp("mac0")


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]])
def test_restored_in_whatever_order_they_appear(host: Host, task: Options, order: t.List[str]) -> None:
    content = pathlib.Path(task["object"]).read_bytes()
    write_private(RUNNER, boot.runner())
    deployed = Deployed(object=task["object"], checksum=sha256(content), program="packet_count")
    for name in BOTH:
        write_private(Place(host.pins, "counter", name).manifest, packed(Manifest(deployed), content))
    try:
        for name in order:
            words = ("nsenter", f"--net=/run/netns/{host.name}", "python3", "-I", "-S", "-B", RUNNER, name)
            sh(*words)
        assert all(pinned(host, name) for name in BOTH)
        assert running(host, "eth0")[0] == "native" and running(host, "mac0")[0] == "generic"
    finally:
        shutil.rmtree(os.path.dirname(os.path.dirname(Place(host.pins, "counter", "eth0").manifest)))
        pathlib.Path(RUNNER).unlink(missing_ok=True)
        remove_empty(MANIFESTS)
