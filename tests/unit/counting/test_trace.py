# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.counting.trace import is_switch, parse
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layout, Member

TEXT = """\
    irq/158-iwlwifi-486     [007] ..s21 21068.249939: bpf_trace_printk: 189
           <...>-11550   [000] ..s2.  3779.087829: bpf_trace_printk: packet_count f554b937 ifindex 2 packets 20
CPU:0 [LOST 12 EVENTS]
    tmux: server-77      (     77) [001] b.s3.    12.000001: bpf_trace_printk: two
lines
"""


def test_lines_of_trace_pipe() -> None:
    lines, lost = parse(TEXT, "f554b937")
    assert lost == 12
    first = {"task": "irq/158-iwlwifi", "pid": 486, "cpu": 7, "timestamp": 21068.249939, "message": "189"}
    assert lines[0] == first
    assert (lines[1]["task"], lines[1]["message"]) == ("<...>", "ifindex 2 packets 20")
    assert (lines[2]["task"], lines[2]["pid"], lines[2]["cpu"]) == ("tmux: server", 77, 1)
    assert lines[2]["message"] == "two\nlines"


def test_nothing() -> None:
    assert parse("") == ([], 0)


NUMBER = Layout("int", 4)
TRACE = Layout(
    "struct", 16, (Member("until", 0, Layout("int", 8)), Member("every", 64, NUMBER), Member("tag", 96, NUMBER))
)
SWITCH = Layout("datasec", 16, (Member("trace", 0, TRACE),))


@pytest.mark.parametrize(
    "other",
    [
        None,
        TRACE,
        SWITCH._replace(members=(Member("limits", 0, TRACE),)),
        SWITCH._replace(members=(Member("trace", 0, Layout("array", 16, (Member("", 0, NUMBER),), 4)),)),
        SWITCH._replace(members=(*SWITCH.members, Member("limit", 128, NUMBER))),
        SWITCH._replace(members=(Member("trace", 0, TRACE._replace(members=TRACE.members[:2])),)),
    ],
)
def test_nothing_else_is_taken_for_the_switch(other: t.Optional[Layout]) -> None:
    assert is_switch(SWITCH) and not is_switch(other)
