# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of a host as one line."""

from __future__ import annotations

DOCUMENTATION = r"""
name: one_line
author: ebpf.fleet contributors (@ebpf-fleet)
version_added: 0.2.0
short_description: What a host said as one line that is safe to print
description:
  - Makes one line of text, or of anything else. Characters that are not visible, such as escape sequences for the
    terminal, become C(\x1b) and the like, and white space becomes single spaces.
  - For tables of what hosts say, in which no host can add a row.
options:
  _input:
    description: The text.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Why a host was not read
  ansible.builtin.debug:
    msg: "{{ counters.msg | ebpf.fleet.one_line }}"
"""

RETURN = r"""
_value:
  description: The line.
  type: str
"""

import typing as t

from ..module_utils.border.text import one_line


class FilterModule:
    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"one_line": one_line}
