# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where pins and mounts live, and whose they are: mount namespaces, containers, namespaces without a name.

The kernel's namespaces are real. In a pid namespace of its own, pid 1 is a process of the test, as in a container.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import typing as t

import pytest
from commands import bpftool, sh
from host import Host
from paths import COLLECTIONS

Compiled = t.Callable[..., str]
ESCAPED = ["eth0", "eth0%2E10"]
OWN_INIT = ("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c")  # and a script, whose shell is pid 1


@pytest.fixture
def container(host: Host) -> Host:
    host.contain()
    return host


@pytest.fixture
def task(compiled: Compiled) -> t.Dict[str, t.Any]:
    return {"object": compiled("packet_count"), "interfaces": ["eth0"]}


def wait_for(what: t.Callable[[], t.Any]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Mounts


def mounted_apart(script: str) -> t.List[str]:
    """Run a module in a mount namespace that is not that of pid 1, after `script` there."""
    return [*OWN_INIT, f'unshare --mount sh -c \'{script}; "$@"\' x "$@"; exit $?', "x"]


@pytest.mark.parametrize(
    "script",
    [
        "umount /sys/fs/bpf",  # as in a systemd service with PrivateTmp that started before bpffs was mounted
        "umount -l /sys; mount -t sysfs sysfs /sys",  # as `ip netns exec` does
        "mount -t sysfs sysfs /sys",
    ],
)
def test_pins_outlive_the_mount_namespace_of_the_task(container: Host, task: t.Dict[str, t.Any], script: str) -> None:
    wrap = mounted_apart(script)
    before = container.state()
    predicted = container.ok("xdp_program", check=True, wrap=wrap, **task)
    assert container.state() == before
    done = container.ok("xdp_program", wrap=wrap, **task)
    assert done["steps"] == predicted["steps"] and not any("mount" in each for each in done["steps"])
    link = bpftool("link", "show", "pinned", container.pin("eth0", "link"))
    assert (container.xdp("eth0") or {})["prog"]["id"] == link["prog_id"]
    container.send("eth0", 7)
    assert container.counts() == (7, 448)
    for run in ({}, {"check": True}):
        assert not container.ok("xdp_program", wrap=wrap, **run, **task)["changed"]
    facts = container.ok("xdp_counter_facts", wrap=wrap)["ansible_facts"]["xdp_counter"]["interfaces"]["eth0"]
    assert (facts["packets"], facts["attached"]) == (7, True)
    found = container.ok("bpf_facts", wrap=wrap)["ansible_facts"]["bpf"]
    assert found["interfaces"]["eth0"]["xdp"][0]["owner"] == "ebpf.fleet"
    assert found["problems"] == []
    (program,) = container.ok("bpf_program_info", wrap=wrap, id=[link["prog_id"]])["programs"]
    assert program["pins"] == [container.pin("eth0", "program")]
    assert container.ok("xdp_program", wrap=wrap, state="absent", name="packet_count")["changed"]
    assert container.state() == before


def test_a_missing_bpffs_is_mounted_where_it_lasts(
    container: Host, task: t.Dict[str, t.Any], tmp_path: pathlib.Path
) -> None:
    """Nowhere is a bpffs; the task runs in a mount namespace of its own."""
    script = f"""
        umount /sys/fs/bpf
        unshare --mount "$@"
        code=$?
        bpftool --json link show pinned {container.pin("eth0", "link")} >{tmp_path}/link
        mountpoint -q /sys/fs/bpf && touch {tmp_path}/mounted
        exit $code
    """
    wrap = [*OWN_INIT, script, "x"]
    mount = "mount bpffs on /sys/fs/bpf"
    predicted = container.ok("xdp_program", check=True, wrap=wrap, **task)
    assert not (tmp_path / "mounted").exists()
    assert not container.ok("xdp_program", wrap=wrap, state="absent", name="packet_count")["changed"]
    assert not (tmp_path / "mounted").exists()
    done = container.ok("xdp_program", wrap=wrap, **task)
    assert done["steps"] == predicted["steps"] and mount in done["steps"]
    assert (tmp_path / "mounted").exists()
    assert json.loads((tmp_path / "link").read_text())["id"] == done["attachments"][0]["link_id"]


def test_a_bpffs_of_the_task_alone_is_refused(host: Host, task: t.Dict[str, t.Any]) -> None:
    """As a release before mounted it: with the task, all would be gone."""
    for wrap in (
        mounted_apart("umount /sys/fs/bpf; mount -t bpf bpf /sys/fs/bpf"),
        ["unshare", "--mount", "sh", "-c", 'umount /sys/fs/bpf; mount -t bpf bpf /sys/fs/bpf; "$@"', "x"],
    ):
        words = "is mounted only in the mount namespace of this task"
        assert words in host.refused("xdp_program", wrap=wrap, **task)
        assert words in host.refused("xdp_program", wrap=wrap, check=True, **task)
        problems = host.ok("bpf_facts", wrap=wrap)["ansible_facts"]["bpf"]["problems"]
        assert [each for each in problems if words in each and "umount /sys/fs/bpf" in each]


def test_pid_1_that_cannot_be_used(host: Host, task: t.Dict[str, t.Any]) -> None:
    """A process with fewer capabilities than pid 1 may not enter its namespaces."""
    less = "setpriv --bounding-set -sys_ptrace,-sys_resource --inh-caps -sys_ptrace,-sys_resource"
    wrap = [*OWN_INIT, f'unshare --mount sh -c \'umount /sys/fs/bpf; exec {less} "$@"\' x "$@"; exit $?', "x"]
    for check in (True, False):
        message = host.refused("xdp_program", wrap=wrap, check=check, **task)
        assert "that of pid 1 cannot be used: /proc/1/ns/mnt: Permission denied" in message
        assert "the connection ebpf.fleet.netns" in message
    assert "that of pid 1 cannot be used" in host.refused("xdp_program", wrap=wrap, state="absent", name="packet_count")
    assert "that of pid 1 cannot be used" in host.refused("xdp_counter_facts", wrap=wrap)


def test_a_bpffs_over_a_bpffs(container: Host, task: t.Dict[str, t.Any]) -> None:
    container.ok("xdp_program", wrap=[*OWN_INIT, '"$@"; exit $?', "x"], **task)
    container.send("eth0", 7)
    wrap = [*OWN_INIT, 'mount -t bpf bpf /sys/fs/bpf; "$@"; exit $?', "x"]
    for module, options in (
        ("xdp_program", task),
        ("xdp_program", {**task, "on_conflict": "replace"}),
        ("xdp_program", {"state": "absent", "name": "packet_count"}),
        ("xdp_counter_facts", {}),
        ("xdp_counter_check", {}),
    ):
        message = container.refused(module, wrap=wrap, **options)
        assert "something is mounted over the bpffs on /sys/fs/bpf" in message
        assert "`umount /sys/fs/bpf`" in message
    problems = container.ok("bpf_facts", wrap=wrap)["ansible_facts"]["bpf"]["problems"]
    assert [each for each in problems if each.startswith("Something is mounted over the bpffs")]
    assert container.counts() == (7, 448)
    again = [*OWN_INIT, 'mount -t bpf bpf /sys/fs/bpf; umount /sys/fs/bpf; "$@"; exit $?', "x"]
    assert not container.ok("xdp_program", wrap=again, **task)["changed"]


# Network namespaces


class Containers:
    """A and B: each with network and pid namespaces of its own, and with the machine's bpffs."""

    def __init__(self, a: Host, b: Host, root: str, release: pathlib.Path) -> None:
        self.a, self.b, self.root, self.release = a, b, root, release
        for host in (a, b):
            host.contain()
            host.pins = host.pins.replace("/sys/fs/bpf/ebpf_fleet", root)
            host.mark = os.path.basename(root)

    def run(self, host: Host, module: str, **options: t.Any) -> t.Dict[str, t.Any]:
        return host.ok(module, **self.within, **options)

    def before(self, host: Host, **options: t.Any) -> t.Dict[str, t.Any]:
        """xdp_program of the release before."""
        return self.run(host, "xdp_program", collections=self.release, **options)

    def refused(self, host: Host, module: str, **options: t.Any) -> str:
        return host.refused(module, **self.within, **options)

    @property
    def within(self) -> t.Dict[str, t.Any]:
        return {"wrap": [*OWN_INIT, '"$@"; exit $?', "x"], "pin_root": self.root}


@pytest.fixture
def containers(host: Host, release: pathlib.Path) -> t.Iterator[Containers]:
    root = f"/sys/fs/bpf/ebpf_test_{os.getpid()}"
    with contextlib.closing(Host(f"{host.name}-b")) as other:
        assert host.index("eth0") == other.index("eth0")
        yield Containers(host, other, root, release)
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(f"/run/ebpf_fleet/{root.replace('/', '%2F')}", ignore_errors=True)


def untouched(host: Host, folder: str, packets: int) -> None:
    """Check that a program runs on eth0, is pinned there, and counts on; it has counted so many packets."""
    link = bpftool("link", "show", "pinned", f"{folder}/link")
    assert (host.xdp("eth0") or {})["prog"]["id"] == link["prog_id"]
    host.send("eth0", 1)
    (dump,) = bpftool("map", "dump", "pinned", f"{folder}/maps/counters")
    assert sum(cpu["value"]["packets"] for cpu in dump["formatted"]["values"]) == packets + 1


@pytest.mark.parametrize("old", [False, True])
def test_a_container_leaves_the_programs_of_another_alone(
    containers: Containers, task: t.Dict[str, t.Any], old: bool
) -> None:
    a, b = containers.a, containers.b
    done = containers.before(a, **task) if old else containers.run(a, "xdp_program", **task)
    folder = done["attachments"][0]["pin_path"]
    assert folder == f"{containers.root if old else a.pins}/packet_count/eth0"
    untouched(a, folder, 0)
    for state in ("absent", "detached"):
        assert not containers.run(b, "xdp_program", state=state, name="packet_count")["changed"]
    assert containers.run(b, "bpf_facts")["ansible_facts"]["bpf"]["interfaces"]["eth0"]["xdp"] == []
    facts = containers.run(b, "xdp_counter_facts")["ansible_facts"]["xdp_counter"]
    assert facts["interfaces"] == {}

    predicted = containers.run(b, "xdp_program", check=True, **task)
    done = containers.run(b, "xdp_program", **task)
    assert done["steps"] == predicted["steps"]
    assert done["attachments"][0]["pin_path"] == f"{b.pins}/packet_count/eth0"
    assert not containers.run(b, "xdp_program", **task)["changed"]
    b.send("eth0", 9)
    assert b.counts()[0] == 9
    untouched(a, folder, 1)
    facts = containers.run(b, "xdp_counter_facts")["ansible_facts"]["xdp_counter"]
    assert {name: each["packets"] for name, each in facts["interfaces"].items()} == {"eth0": 9}
    (program,) = containers.run(b, "bpf_facts")["ansible_facts"]["bpf"]["interfaces"]["eth0"]["xdp"]
    assert (program["owner"], program["pin_path"]) == ("ebpf.fleet", f"{b.pins}/packet_count/eth0")
    containers.run(b, "xdp_program", state="detached", name="packet_count")
    containers.run(b, "xdp_program", state="absent", name="packet_count")
    assert not os.path.exists(b.pins)
    untouched(a, folder, 2)


def test_a_program_above_of_the_release_before_is_ours(containers: Containers, compiled: Compiled) -> None:
    """Its pins are still where that release made them."""
    a = containers.a
    sh("ip", "-n", a.name, "link", "add", "link", "eth0", "name", "mac0", "type", "macvlan")
    task = {"object": compiled("counter", VERSION=1), "name": "packet_count"}
    containers.before(a, **task, interfaces=["mac0"])
    running = a.xdp("mac0")
    words = containers.refused(a, "xdp_program", **task, interfaces=["eth0"])
    assert f"which an older release pinned in {containers.root}/packet_count/mac0" in words, words
    assert "deploy packet_count on mac0 once more first" in words and "bpftool" not in words
    both = {**task, "interfaces": ["eth0", "mac0"]}
    predicted = containers.run(a, "xdp_program", check=True, **both)
    done = containers.run(a, "xdp_program", **both)
    assert done["steps"] == predicted["steps"] and done["steps"][:2] == [
        f"mac0: move the pins from {containers.root}/packet_count/mac0",
        "mac0: detach packet_count for a moment, as the kernel attaches to eth0 only without it",
    ]
    assert a.xdp("mac0") == running
    for interface in ("eth0", "mac0"):
        link = bpftool("link", "show", "pinned", f"{a.pins}/packet_count/{interface}/link")
        assert (a.xdp(interface) or {})["prog"]["id"] == link["prog_id"]
    assert not containers.run(a, "xdp_program", **both)["changed"]


def test_pins_of_the_release_before_are_taken_along(containers: Containers, compiled: Compiled) -> None:
    """Both were taken for the machine's own, one after the other; the second took over what the first had pinned."""
    a, b = containers.a, containers.b
    task = {"object": compiled("counter", VERSION=1), "interfaces": ["eth0", "eth0.10"], "name": "packet_count"}
    containers.before(a, **task)
    a.send("eth0", 7)
    links = [bpftool("link", "show", "pinned", f"{containers.root}/packet_count/{each}/link") for each in ESCAPED]

    facts = containers.run(a, "xdp_counter_facts")["ansible_facts"]["xdp_counter"]["interfaces"]
    assert {name: (each["packets"], each["attached"]) for name, each in facts.items()} == {
        "eth0": (7, True),
        "eth0.10": (0, True),
    }
    assert (
        containers.run(a, "xdp_counter_facts", interfaces=["eth0"])["ansible_facts"]["xdp_counter"]["totals"]["packets"]
        == 7
    )
    found = containers.run(a, "bpf_facts")["ansible_facts"]["bpf"]["interfaces"]["eth0"]["xdp"]
    assert found[0]["owner"] == "ebpf.fleet"
    state = a.state()
    predicted = containers.run(a, "xdp_program", check=True, **task)
    assert a.state() == state
    done = containers.run(a, "xdp_program", **task)
    assert (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
    assert done["steps"] == [
        f"{interface}: move the pins from {containers.root}/packet_count/{escaped}"
        for interface, escaped in zip(task["interfaces"], ESCAPED)
    ]
    assert not os.path.exists(containers.root)
    assert [bpftool("link", "show", "pinned", f"{a.pins}/packet_count/{each}/link") for each in ESCAPED] == links
    a.send("eth0", 1)
    assert a.counts()[0] == 8
    assert not containers.run(a, "xdp_program", **task)["changed"]
    containers.run(b, "xdp_program", **task)
    a.send("eth0", 1)
    assert a.counts()[0] == 9
    nothing = containers.run(a, "xdp_program", state="absent", name="packet_count")
    assert nothing["changed"] and a.xdp("eth0") is None and b.xdp("eth0")


def test_an_upgrade_takes_them_along_or_leaves_all_as_it_was(containers: Containers, compiled: Compiled) -> None:
    a = containers.a
    containers.before(a, object=compiled("counter", VERSION=1), interfaces=["eth0"], name="packet_count")
    a.send("eth0", 7)
    broken = {"object": compiled("counter", VERSION=2), "interfaces": ["eth0", "nowhere"], "name": "packet_count"}
    containers.refused(a, "xdp_program", **broken)
    failed = a.module("xdp_program", **containers.within, **broken, on_error="continue", mode="offload")
    folder = f"{containers.root}/packet_count/eth0"
    assert [(each["state"], each.get("pin_path")) for each in failed["attachments"]] == [
        ("attached", folder),
        ("failed", None),
    ]
    assert failed["attachments"][0]["link_id"] == bpftool("link", "show", "pinned", f"{folder}/link")["id"]
    waits = {**containers.within, "wrap": [*OWN_INIT, '"$@"; sleep 3', "x"]}  # the holder ends with pid 1
    provisional = a.ok("xdp_program", **waits, **{**broken, "interfaces": ["eth0"], "rollback_after": 1})
    assert provisional["provisional"]["token"] and not os.path.exists(a.pins)
    untouched(a, f"{containers.root}/packet_count/eth0", 7)
    done = containers.run(a, "xdp_program", **{**broken, "interfaces": ["eth0"]})
    assert "eth0: swap the program in the link" in done["steps"]
    untouched(a, f"{a.pins}/packet_count/eth0", 8)
    containers.run(a, "xdp_program", state="absent", name="packet_count")
    assert not os.path.exists(a.pins)


def test_an_old_deployment_is_removed(containers: Containers, task: t.Dict[str, t.Any]) -> None:
    containers.before(containers.a, **task)
    containers.run(containers.a, "xdp_program", state="absent", name="packet_count")
    assert containers.a.xdp("eth0") is None
    assert not os.path.exists(containers.root) and not os.path.exists(containers.a.pins)


def test_an_interface_that_was_moved(host: Host, task: t.Dict[str, t.Any]) -> None:
    """The program runs on it and counts on, in a namespace that this host knows nothing about."""
    task = {**task, "interfaces": ["eth0", "eth0.10"]}
    host.ok("xdp_program", **task)
    with contextlib.closing(Host(f"{host.name}-b")) as other:
        other.unplug("eth0")
        sh("ip", "-n", host.name, "link", "set", "dev", "eth0", "netns", other.name)
        sh("ip", "-n", other.name, "link", "set", "dev", "eth0", "up")
        host.send("eth0", 7)
        facts = host.ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]["interfaces"]
        assert {name: (each["packets"], each["attached"], each["moved"]) for name, each in facts.items()} == {
            "eth0": (7, False, True),
            "eth0.10": (0, True, False),
        }
        wrong = host.module("xdp_counter_check", seconds=0)
        assert "of a different network namespace: the interface was moved there, or the pins are of a" in wrong["msg"]

        host.enter("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "end0")  # a different one
        assert "is attached to interface" in host.refused("xdp_program", **task)
        assert "is attached to interface" in host.refused("xdp_program", check=True, **task)
        host.ok("xdp_program", state="detached", name="packet_count")
        assert other.xdp("eth0") and host.xdp("eth0.10") is None
        host.ok("xdp_program", state="absent", name="packet_count")
        assert other.xdp("eth0") and os.path.exists(host.pin("eth0", "link"))
        done = host.ok("xdp_program", state="absent", name="packet_count", interfaces=["eth0"])
        assert "of a different network namespace" in done["steps"][0]
        wait_for(lambda: not other.xdp("eth0"))
        assert not os.path.exists(host.pins)


def test_a_namespace_of_an_old_name_inherits_nothing(host: Host, task: t.Dict[str, t.Any]) -> None:
    """Same name, same indexes; the interface is in the first namespace, which has lost its name."""
    host.ok("xdp_program", **task)
    index = host.index("eth0")
    with contextlib.closing(Host(f"{host.name}-b")) as other:
        other.unplug("eth0")
        sh("ip", "-n", host.name, "link", "set", "dev", "eth0", "netns", other.name)
        sh("ip", "-n", other.name, "link", "set", "dev", "eth0", "up")
        sh("ip", "netns", "del", host.name)
        sh("ip", "netns", "add", host.name)
        host.enter("ip", "link", "add", "eth0", "index", index, "type", "veth", "peer", "name", "end0", "index", 99)
        assert "is attached to interface" in host.refused("xdp_program", **task)
        host.send("eth0", 7)
        assert host.counts()[0] == 7 and other.xdp("eth0")


def test_a_namespace_that_loses_its_name_and_gets_another(host: Host, task: t.Dict[str, t.Any]) -> None:
    """Its pins go with it. A process holds it while it has no name."""
    first = host.ok("xdp_program", **task)["attachments"][0]["pin_path"]
    link = bpftool("link", "show", "pinned", f"{first}/link")
    holder = subprocess.Popen(["nsenter", f"--net=/run/netns/{host.name}", "cat"], stdin=subprocess.PIPE)
    wait_for(lambda: pathlib.Path(f"/proc/{holder.pid}/comm").read_text() == "cat\n")
    name, here = host.name, {"netns": host.hub, "wrap": ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]}
    try:
        pins = [first]
        for old, new in ((name, None), (None, f"{name}-c"), (f"{name}-c", name)):
            if old:
                sh("ip", "netns", "del", old)
            if new:
                sh("ip", "netns", "attach", new, holder.pid)
            host.send("eth0", 7)
            counted = 7 * len(pins)
            facts = host.module("xdp_counter_facts", **here)["ansible_facts"]["xdp_counter"]
            assert facts["totals"]["packets"] == counted
            predicted = host.module("xdp_program", check=True, **here, **task)
            done = host.module("xdp_program", **here, **task)
            assert done["steps"] == predicted["steps"] == [f"eth0: move the pins from {pins[-1]}"]
            pins.append(done["attachments"][0]["pin_path"])
            assert bpftool("link", "show", "pinned", f"{pins[-1]}/link") == link
            assert not host.module("xdp_program", **here, **task)["changed"]
        assert pins[-1] == first and pins[2] == first.replace(name, f"{name}-c")
        assert re.search(r"@%\d+/", pins[1])
        assert host.counts()[0] == 21
    finally:
        holder.communicate()
        if not os.path.exists(f"/run/netns/{name}"):
            sh("ip", "netns", "add", name)  # for what removes it
        if os.path.exists(f"/run/netns/{name}-c"):
            sh("ip", "netns", "del", f"{name}-c")


def test_a_renamed_interface(host: Host, task: t.Dict[str, t.Any]) -> None:
    """It is still here: what is pinned for its old name can be removed."""
    host.ok("xdp_program", **task)
    for command in (["down"], ["name", "lan0"], ["up"]):
        host.enter("ip", "link", "set", "dev", "lan0" if command == ["up"] else "eth0", *command)
    facts = host.ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]["interfaces"]["eth0"]
    assert (facts["attached"], facts["moved"]) == (False, False)
    assert "was the interface renamed?" in host.refused("xdp_program", **{**task, "interfaces": ["lan0"]})
    host.ok("xdp_program", state="absent", name="packet_count")
    assert host.xdp("lan0") is None
    host.enter("ip", "link", "set", "dev", "lan0", "name", "eth0")


@pytest.mark.parametrize(
    ("without", "suffix"),
    [("", r"%\d+"), ("identity._FIRST_NET = 0; identity._cookie = lambda: None", r"\d+")],  # as before kernel 5.12
)
@pytest.mark.parametrize("mount", ["--mount-proc", "--mount"])
def test_the_machines_own_namespace_is_told_also_from_a_container(mount: str, without: str, suffix: str) -> None:
    """A container may share it; and /proc may be that of the machine."""
    code = (
        "from ansible_collections.ebpf.fleet.plugins.module_utils.state import identity\n"
        f"{without}\n"
        "print(identity.root_of_namespace('/sys/fs/bpf/x'))"
    )
    python = [sys.executable, "-W", "ignore", "-c", code]
    env = {**os.environ, "PYTHONPATH": str(COLLECTIONS)}
    assert sh("unshare", "--pid", "--fork", mount, *python, env=env).strip() == "/sys/fs/bpf/x"
    apart = [sh("unshare", "--net", "--pid", "--fork", mount, *python, env=env).strip() for _run in range(2)]
    assert all(re.fullmatch(f"/sys/fs/bpf/x@{suffix}", each) for each in apart)
    assert len(set(apart)) == 2 or without  # an inode is given again
