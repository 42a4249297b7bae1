# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container with CAP_BPF and the machine's bpffs, and what it can do to the programs of the host.

Both have an interface eth0 with the same index. The container chooses its pin root and the names in its /run/netns.
"""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from commands import bpftool
from host import Host

OWN_INIT = ("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c")  # and a script, whose shell is pid 1
PLAIN = '"$@"; exit $?'
NAMED = (
    f"mount -t tmpfs tmpfs /run/netns; touch /run/netns/{{0}}; mount --bind /proc/self/ns/net /run/netns/{{0}}; {PLAIN}"
)


class Container:
    """Its network namespace has a name on the machine, so that it can be wired; its tasks do not see that."""

    def __init__(self, own: Host, host: Host, named: bool) -> None:
        self._own = own
        own.contain()
        # To its tasks the first is its own init's, and so the machine's: pins go straight into the host's folder.
        self._how = {
            "wrap": [*OWN_INIT, NAMED.format(host.name) if named else PLAIN, "x"],
            "pin_root": "/sys/fs/bpf/ebpf_fleet" if named else host.pins,
        }

    def run(self, module: str, **options: t.Any) -> t.Dict[str, t.Any]:
        return self._own.ok(module, **self._how, **options)


@pytest.fixture(params=[True, False], ids=["the host's name", "the host's pin root"])
def container(request: pytest.FixtureRequest, host: Host) -> t.Iterator[Container]:
    with contextlib.closing(Host(f"{host.name}-b")) as own:
        assert own.index("eth0") == host.index("eth0")
        yield Container(own, host, request.param)


def test_a_container_does_nothing_to_the_programs_of_the_host(
    host: Host, container: Container, compiled: t.Callable[..., str]
) -> None:
    task = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    host.ok("xdp_program", **task)
    host.send("eth0", 3)
    before = host.state()
    assert container.run("xdp_counter_facts")["ansible_facts"]["xdp_counter"]["interfaces"] == {}
    for state in ("detached", "absent"):
        assert not container.run("xdp_program", state=state, name="packet_count")["changed"]
        assert not container.run("xdp_program", state=state, name="packet_count", interfaces=["eth0"])["changed"]
    assert host.state() == before
    done = container.run("xdp_program", **task)
    assert done["steps"] and not any("detach" in step or "move" in step for step in done["steps"])
    link = bpftool("link", "show", "pinned", host.pin("eth0", "link"))
    assert (host.xdp("eth0") or {})["prog"]["id"] == link["prog_id"]
    host.send("eth0", 4)
    assert host.counts() == (7, 448)
    assert not host.ok("xdp_program", **task)["changed"]
    container.run("xdp_program", state="absent", name="packet_count")
    assert host.state() == before
