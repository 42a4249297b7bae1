# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_program with a dispatcher, as far as this machine's kernel goes: some refuse programs of type ext.

What runs in a dispatcher is tested on real kernels in qemu: tests/kernels/sharing.py.
"""

from __future__ import annotations

import os
import typing as t

import pytest
from commands import program_ids, programs_since
from host import Host

Compiled = t.Callable[..., str]


def can_share(host: Host) -> bool:
    return bool(host.ok("bpf_facts")["ansible_facts"]["bpf"]["features"]["dispatcher"])


def test_this_machine_does_it_or_says_why_not(host: Host, compiled: Compiled) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"], "dispatcher": "always"}
    before, ids = host.state(), program_ids()
    predicted = host.ok("xdp_program", check=True, **options)
    assert (
        predicted["steps"][1] == "eth0: attach by dispatcher, mode auto: priority 5, the next program runs after pass"
    )
    assert (host.state(), programs_since(ids)) == (before, [])
    if can_share(host):
        done = host.ok("xdp_program", **options)
        assert done["steps"] == predicted["steps"]
        assert done["attachments"][0]["dispatcher"]["slot"] == 0
        assert host.ok("xdp_program", name="packet_count", state="absent")["changed"]
    else:
        message = host.refused("xdp_program", **options)
        assert "this kernel refuses programs that take the place of a function" in message
        assert "set dispatcher: never" in message
    assert (host.state(), host.xdp("eth0")) == (before, None)
    assert not os.path.exists("/run/ebpf_fleet/dispatchers")


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("tail", {"program": "entry", "dispatcher": "always"}, "a map of programs for tail calls, calls"),
        (
            "packet_count",
            {"mode": "offload", "dispatcher": "always"},
            "has the network card run a single program: set dispatcher: never",
        ),
        ("packet_count", {"priority": 3, "dispatcher": "never"}, "dispatcher: never has none"),
        ("packet_count", {"priority": -1}, "give a number from 0 to 4294967295"),
    ],
)
def test_what_no_kernel_is_asked_for(
    host: Host, compiled: Compiled, source: str, options: t.Dict[str, t.Any], words: str
) -> None:
    path = compiled(source, **({"VERSION": 1} if source == "tail" else {}))
    before, ids = host.state(), program_ids()
    for check in (True, False):
        message = host.refused("xdp_program", check=check, object=path, interfaces=["eth0"], **options)
        assert words in message
    assert (host.state(), programs_since(ids)) == (before, [])


def test_a_link_stays_a_link(host: Host, compiled: Compiled) -> None:
    """A link of ours stays one, whatever priority is given."""
    task = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    done = host.ok("xdp_program", **task)
    assert done["attachments"][0]["dispatcher"] is None and done["attachments"][0]["link_id"]
    again = host.ok("xdp_program", **task, priority=7, chain_call_actions=["pass", "drop"])
    assert not again["changed"], again["steps"]
