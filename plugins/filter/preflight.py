# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts of a fleet are ready for a deployment, and what stands in the way of the others."""

from __future__ import annotations

DOCUMENTATION = r"""
name: preflight
author: ebpf.fleet contributors (@ebpf-fleet)
version_added: 0.2.0
short_description: Which hosts are ready for a deployment, and what stands in the way of the others
description:
  - Groups the hosts of a play by the problems that M(ebpf.fleet.bpf_facts) found on them. The playbook
    C(ebpf.fleet.preflight) prints it.
  - Whether a problem stops a deployment depends on what is to be deployed to the host. These are the programs of
    C(xdp_programs), as P(ebpf.fleet.xdp#role) has it. The packet counter is one of them on a host that has a setting
    of P(ebpf.fleet.xdp_counter#role), such as C(xdp_counter_interfaces), or that does not have C(xdp_programs).
  - A missing clang stops programs with C(build=target). A foreign XDP program stops those that are to run on its
    interface, unless with C(on_conflict=replace); a program without C(interfaces) may run on any.
  - An interface that does not exist is a problem too, as is a program without C(object) or C(source).
  - What hosts answer is not trusted. A host whose answer is not what the module returns counts as not read.
positional: hosts, register
options:
  _input:
    description: P(ansible.builtin.vars#lookup) C(hostvars).
    type: dict
    required: true
  hosts:
    description: The names of the hosts.
    type: list
    elements: str
    required: true
  register:
    description: The variable that has the registered result of a task M(ebpf.fleet.bpf_facts), failed or not.
    type: str
    required: true
seealso:
  - module: ebpf.fleet.bpf_facts
"""

EXAMPLES = r"""
- name: Find out about the hosts
  ebpf.fleet.bpf_facts:
  register: found
  ignore_errors: true
  ignore_unreachable: true

- name: Which of them are ready
  ansible.builtin.debug:
    msg: "{{ (hostvars | ebpf.fleet.preflight(ansible_play_hosts_all, 'found')).ready }}"
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(ready), C(blocked) and C(not_read) have the hosts. Each is in one of them; C(not_read) has the reason too.
    - C(problems) has the problems, those that stop a deployment (C(blocks)) first. C(hosts) has the hosts, each with
      the interfaces that have the problem.
    - C(lines) is the same as text that fits the width of the terminal.
  type: dict
  sample:
    ready: [web1]
    blocked: [web2]
    not_read: {web3: "Failed to connect to the host via ssh: connection refused"}
    problems:
      - problem: "There is no clang: bpf_object cannot compile on this host."
        remedy: Install the package clang, or build on the controller.
        blocks: true
        hosts: {web2: []}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils.intentions import asked_of
from ..plugin_utils.readiness import told
from ..plugin_utils.terminal import width


def preflight(hostvars: t.Mapping[str, t.Any], hosts: t.Sequence[str], register: str) -> t.Dict[str, t.Any]:
    """Raises AnsibleFilterError if the input is not hostvars."""
    try:
        asked = asked_of(hostvars, hosts, register)
    except (AttributeError, TypeError, KeyError) as error:
        raise AnsibleFilterError(
            "preflight takes hostvars: {{ hostvars | ebpf.fleet.preflight(ansible_play_hosts_all, 'found') }}"
        ) from error
    return told(asked, width())


class FilterModule:
    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"preflight": preflight}
