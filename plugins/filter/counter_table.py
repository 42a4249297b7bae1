# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet counters of a fleet as a table for a terminal."""

from __future__ import annotations

DOCUMENTATION = r"""
name: counter_table
author: ebpf.fleet contributors (@ebpf-fleet)
version_added: 0.2.0
short_description: The packet counters of a fleet as a table for a terminal
description:
  - Makes lines of the rows of P(ebpf.fleet.counter_rows#filter), with sums at the end. With rates, the highest come
    first.
  - Where the terminal is too narrow, names of hosts are cut, as far as they still differ.
  - Below them it says which counts are not exact, and why.
positional: not_read
options:
  _input:
    description: The rows, without a query.
    type: list
    elements: dict
    required: true
  not_read:
    description: The registered results of a task M(ebpf.fleet.xdp_counter_facts) that failed, by host; each is named.
    type: dict
    default: {}
seealso:
  - plugin: ebpf.fleet.counter_rows
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the counters
  ansible.builtin.debug:
    msg: "{{ hostvars | ebpf.fleet.counter_rows | ebpf.fleet.counter_table }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

import typing as t

from ..plugin_utils.counter_table import Row, report
from ..plugin_utils.terminal import width


def counter_table(rows: t.Sequence[Row], not_read: t.Optional[t.Mapping[str, Row]] = None) -> t.List[str]:
    return report(rows, not_read or {}, width())


class FilterModule:
    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"counter_table": counter_table}
