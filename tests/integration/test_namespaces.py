# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where pins and mounts live, and whose they are: mount namespaces, containers, namespaces without a name.

The kernel's namespaces are real. In a pid namespace of its own, pid 1 is a process of the test, as in a container.
"""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from commands import bpftool, sh
from host import Host

Compiled = t.Callable[..., str]
OWN_INIT = ("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c")  # and a script, whose shell is pid 1


@pytest.fixture
def container(host: Host) -> Host:
    host.contain()
    return host


@pytest.fixture
def task(compiled: Compiled) -> t.Dict[str, t.Any]:
    return {"object": compiled("packet_count"), "interfaces": ["eth0"]}


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
