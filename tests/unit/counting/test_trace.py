# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.ebpf.fleet.plugins.module_utils.counting.trace import parse

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
