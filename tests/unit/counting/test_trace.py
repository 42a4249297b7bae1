# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.counting.trace import is_switch, parse
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import MapInfo
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape

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


SWITCH = MapInfo(7, ".data.trace", MapShape("array", 4, 16, 1, 0))


@pytest.mark.parametrize(
    "other",
    [
        SWITCH._replace(name="firewall"),
        SWITCH._replace(id=8),  # as large, but not a map of the program that runs
        SWITCH._replace(shape=SWITCH.shape._replace(type="hash")),
        SWITCH._replace(shape=SWITCH.shape._replace(key_size=8)),
        SWITCH._replace(shape=SWITCH.shape._replace(value_size=24)),
        SWITCH._replace(shape=SWITCH.shape._replace(max_entries=2)),
    ],
)
def test_nothing_else_is_taken_for_the_switch(other: MapInfo) -> None:
    seen: t.Any = types.SimpleNamespace(held={7: SWITCH})
    assert is_switch(SWITCH, seen) and not is_switch(other, seen)
