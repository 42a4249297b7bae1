# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: deployed_versions
author: ebpf.fleet contributors (@ebpf-fleet)
version_added: 0.2.0
short_description: Which hosts have which version after a deployment
description:
  - Makes a line for each version (the program's tag), with the hosts and interfaces that have it, out of what
    M(ebpf.fleet.xdp_program) or M(ebpf.fleet.xdp_declared) answered. The playbook C(ebpf.fleet.deploy) prints it.
  - Hosts that have not run the task, and those that have failed, are named too.
positional: hosts, there, register
options:
  _input:
    description: P(ansible.builtin.vars#lookup) C(hostvars).
    type: dict
    required: true
  hosts:
    description: All hosts of the play, as C(ansible_play_hosts_all) has them.
    type: list
    elements: str
    required: true
  there:
    description: Those that have not failed, as C(ansible_play_hosts) has them.
    type: list
    elements: str
    required: true
  register:
    description: The variable that has the registered result of the task.
    type: str
    default: xdp_attached
seealso:
  - module: ebpf.fleet.xdp_program
"""

EXAMPLES = r"""
- name: Which hosts have which version
  ansible.builtin.debug:
    msg: "{{ hostvars | ebpf.fleet.deployed_versions(ansible_play_hosts_all, ansible_play_hosts) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
  sample: ["644ee9a75611c6d0  web1 eth0, web2 eth0"]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils.versions import lines_of, versions_of


def deployed_versions(
    hostvars: t.Mapping[str, t.Any], hosts: t.Sequence[str], there: t.Collection[str], register: str = "xdp_attached"
) -> t.List[str]:
    """Raises AnsibleFilterError if the input is not hostvars."""
    try:
        return lines_of(versions_of(hostvars, hosts, there, register))
    except (AttributeError, KeyError, TypeError) as error:
        raise AnsibleFilterError(
            "deployed_versions takes hostvars: {{ hostvars | ebpf.fleet.deployed_versions(ansible_play_hosts_all,"
            " ansible_play_hosts) }}"
        ) from error


class FilterModule:
    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"deployed_versions": deployed_versions}
