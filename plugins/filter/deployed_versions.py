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

import collections
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ..module_utils.border.text import one_line

MOST_OF_AN_ERROR = 80  # characters


def deployed_versions(
    hostvars: t.Mapping[str, t.Any], hosts: t.Sequence[str], there: t.Collection[str], register: str = "xdp_attached"
) -> t.List[str]:
    """Raises AnsibleFilterError if the input is not hostvars."""
    present = set(there)
    found: t.Dict[str, t.List[str]] = collections.defaultdict(list)
    try:
        for host in hosts:
            variables = hostvars[host]  # once, as Ansible then puts all variables of the host together
            failed = host not in present or "ansible_failed_result" in variables
            for interface, version in _of_host(variables, register, failed):
                found[version].append(f"{host} {interface}".rstrip())
    except (AttributeError, KeyError, TypeError) as error:
        raise AnsibleFilterError(
            "deployed_versions takes hostvars: {{ hostvars | ebpf.fleet.deployed_versions(ansible_play_hosts_all,"
            " ansible_play_hosts) }}"
        ) from error
    width = max(map(len, found), default=0)
    return [f"{version.ljust(width)}  {', '.join(found[version])}" for version in sorted(found)]


def _of_host(variables: t.Mapping[str, t.Any], register: str, failed: bool) -> t.List[t.Tuple[str, str]]:
    """Interfaces, each with what it runs."""
    # A fact of this name would be what the host made up, not the checked result of the task.
    made_up = register in (variables.get("ansible_facts") or {})
    result = None if made_up else variables.get(register)
    attachments = result.get("attachments") if isinstance(result, Mapping) else None
    if not attachments:
        return [("", "failed" if failed else "not yet")]
    after = " (failed)" if failed else ""
    return [(str(each["interface"]), _version(each) + after) for each in attachments]


def _version(attachment: t.Mapping[str, t.Any]) -> str:
    """Free text of a host begins with a word of ours, so that it is not taken for a row."""
    if attachment.get("tag"):
        return str(attachment["tag"])
    if "error" in attachment:
        return f"failed: {one_line(attachment['error'])[:MOST_OF_AN_ERROR]}"
    return f"to be {attachment['state']}"


class FilterModule:
    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"deployed_versions": deployed_versions}
