# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rollback_after where the module's process is not the module's alone, as with Mitogen, and lives on after it."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import re
import sys
import typing as t

import ansible_mitogen
import pytest
from fleet import Fleet
from host import Host

Compiled = t.Callable[..., str]

# Runs a module in a Python that imports nothing in a child process. With mitogen such an import never ends.
ONLY_THE_PARENT_IMPORTS = """
import os, runpy, sys
parent = os.getpid()
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if os.getpid() != parent:
            raise ImportError(f"{name} is imported by a child process")
sys.meta_path.insert(0, Refusing())
name = sys.argv[-1]
del sys.argv[1:]
runpy.run_module(name, run_name="__main__", alter_sys=True)
"""


def test_a_holder_keeps_nothing_open_that_the_module_inherited(
    host: Host, compiled: Compiled, tmp_path: pathlib.Path
) -> None:
    """A pipe of mitogen or ssh, whose other side waits for its end; and the lock of `flock FILE ansible-pull …`."""
    fifo, locked = tmp_path / "fifo", tmp_path / "locked"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    inheriting = ("sh", "-c", f'exec 8>{fifo} 9>{locked}; flock 9; exec "$@"', "sh")
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    done = host.ok("xdp_program", wrap=inheriting, rollback_after=60, **options)
    assert os.read(reader, 1) == b"", "BlockingIOError instead: a process has it open for writing"
    with open(locked, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(reader)
    host.send("eth0", 3)
    host.ok("xdp_confirm", token=done["provisional"]["token"])
    assert host.counts()[0] == 3


@pytest.mark.parametrize("end", ["confirmed", "rolled back"])
def test_a_holder_imports_nothing(host: Host, compiled: Compiled, end: str) -> None:
    wrap = (sys.executable, "-c", ONLY_THE_PARENT_IMPORTS)
    options: t.Dict[str, t.Any] = {"name": "packet_count", "interfaces": ["eth0", "eth0.10"], "wrap": wrap}
    for change in (
        {"object": compiled("counter", VERSION=1)},
        {"object": compiled("counter", VERSION=2)},
        {"object": compiled("counter", VERSION=2), "mode": "generic"},
        {"state": "absent"},
    ):
        done = host.ok("xdp_program", rollback_after=60 if end == "confirmed" else 1, **options, **change)
        token = done["provisional"]["token"]
        if end == "confirmed":
            host.ok("xdp_confirm", token=token)
        else:
            assert "provisional change" in host.module("xdp_confirm", token=wait_until_gone(token))["msg"]
            if change.get("state") != "absent":
                host.ok("xdp_program", **options, **change)
    assert bool(host.xdp("eth0")) == (end != "confirmed")


def wait_until_gone(token: str) -> str:
    while os.path.exists(f"/run/ebpf_fleet/provisional/{token}"):
        os.sched_yield()
    return token


@pytest.fixture
def host_names() -> t.Sequence[str]:
    return ("one",)


@pytest.mark.parametrize("strategy", ["mitogen_linear"])
def test_with_mitogen(fleet: Fleet, compiled: Compiled, strategy: str) -> None:
    """mitogen has no connection to a network namespace: here all of Ansible runs in it."""
    (host,) = fleet.hosts
    inventory = json.loads(fleet.inventory.read_text())
    inventory["fleet"]["vars"].update(
        ansible_connection="local", xdp_counter_rollback_after=30, xdp_counter_become=False
    )
    fleet.inventory.write_text(json.dumps(inventory))
    env = {
        "ANSIBLE_STRATEGY": strategy,
        "ANSIBLE_STRATEGY_PLUGINS": str(pathlib.Path(ansible_mitogen.__file__).parent / "plugins/strategy"),
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
    }
    where: t.Dict[str, t.Any] = {"env": env, "wrap": ("nsenter", f"--net=/run/netns/{host.name}")}
    how = ("-v", "-e", f"xdp_counter_object={compiled('packet_count')}", "-e", "xdp_counter_build=prebuilt")
    text = fleet.play("deploy", *how, **where)
    assert '"confirmed": true' in text
    host.send("eth0", 5)
    assert re.search(r"one +eth0 +native +5 ", fleet.play("facts", **where))
    assert host.counts()[0] == 5
    fleet.play("remove", **where)
    assert not host.xdp("eth0")
