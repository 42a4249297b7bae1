# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: slice_of
author: ebpf.fleet contributors (@ebpf-fleet)
version_added: 0.2.0
short_description: What one of several runs has found, as text to be joined
description:
  - Makes text of what a run has found on its hosts, for a fleet that is gone through in slices. The playbooks
    C(ebpf.fleet.facts), C(ebpf.fleet.report), C(ebpf.fleet.preflight) and C(ebpf.fleet.deploy) write it with
    C(-e xdp_slice=FILE).
  - M(ebpf.fleet.slices_joined) makes one result of all such files.
positional: of, hosts, there
options:
  _input:
    description:
      - With C(of=counters) the registered results of a task M(ebpf.fleet.xdp_counter_facts), failed or not, by host
        name.
      - Otherwise P(ansible.builtin.vars#lookup) C(hostvars).
    type: dict
    required: true
  of:
    description:
      - What was found. With V(preflight), C(hostvars) has the results of a task M(ebpf.fleet.bpf_facts). With
        V(versions), it has those of P(ebpf.fleet.xdp_counter#role).
    type: str
    choices: [counters, preflight, versions]
    default: counters
  hosts:
    description: The names of the hosts; not with C(of=counters).
    type: list
    elements: str
    default: []
  there:
    description: The names of the hosts that have not failed; with C(of=versions).
    type: list
    elements: str
    default: []
  register:
    description: The variable that has the registered result of the task; V(xdp_attached) is that of the role.
    type: str
    default: xdp_attached
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

from ..plugin_utils.intentions import asked_of
from ..plugin_utils.slices import counters_text, preflight_text, versions_text
from ..plugin_utils.versions import versions_of


def slice_of(
    given: t.Mapping[str, t.Any],
    of: str = "counters",
    hosts: t.Sequence[str] = (),
    there: t.Collection[str] = (),
    register: str = "xdp_attached",
) -> str:
    """Raises AnsibleFilterError if the input is not a mapping of hosts, or `of` is no kind of slice."""
    if not isinstance(given, t.Mapping):
        raise AnsibleFilterError("slice_of takes the registered results of a task by host name, or hostvars")
    if of == "counters":
        return counters_text(given)
    try:
        if of == "preflight":
            return preflight_text(asked_of(given, hosts, register))
        if of == "versions":
            return versions_text(versions_of(given, hosts, there, register))
    except (AttributeError, KeyError, TypeError) as error:
        raise AnsibleFilterError(f"slice_of of={of} takes hostvars, and hosts that it has") from error
    raise AnsibleFilterError(f"slice_of makes slices of counters, preflight and versions, not of {of!r}")


class FilterModule:
    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"slice_of": slice_of}
