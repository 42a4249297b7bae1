# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: slice_of
author: ebpf.fleet contributors (@ebpf-fleet)
version_added: 0.2.0
short_description: What one of several runs has read, as text to be joined
description:
  - Makes text of what M(ebpf.fleet.xdp_counter_facts) answered on the hosts of a play, for a fleet that is read in
    slices. The playbooks C(ebpf.fleet.facts) and C(ebpf.fleet.report) write it with C(-e xdp_slice=FILE).
  - M(ebpf.fleet.slices_joined) makes one report of all such files.
options:
  _input:
    description: The registered results of a task M(ebpf.fleet.xdp_counter_facts), failed or not, by host name.
    type: dict
    required: true
seealso:
  - module: ebpf.fleet.slices_joined
"""

EXAMPLES = r"""
- name: Write what this slice has
  ansible.builtin.copy:
    content: "{{ dict(hosts | zip(hosts | map('extract', hostvars, 'counters'))) | ebpf.fleet.slice_of }}"
    dest: "{{ playbook_dir }}/rows/slice1.json"
    mode: "0644"
  vars:
    hosts: "{{ ansible_play_hosts_all }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
_value:
  description: The text, which is JSON.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils.slices import text_of


def slice_of(answers: t.Mapping[str, t.Any]) -> str:
    """Raises AnsibleFilterError if the input is not a mapping of hosts."""
    if not isinstance(answers, t.Mapping):
        raise AnsibleFilterError("slice_of takes the registered results of a task by host name")
    return text_of(answers)


class FilterModule:
    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"slice_of": slice_of}
