# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be deployed to each host of a play, beside what the host has answered, out of Ansible's variables."""

from __future__ import annotations

import json
import typing as t

from ansible.errors import AnsibleError

from .readiness import Asked, Intended

# A host with one of these, or without xdp_programs, is to get the counter.
OF_COUNTER = ("build", "interfaces", "mode", "name", "object", "on_conflict", "state")


def asked_of(hostvars: t.Mapping[str, t.Any], hosts: t.Sequence[str], register: str) -> t.Dict[str, Asked]:
    """`register`: the variable that has the result of a task bpf_facts. Raises what its input raises if it is none."""
    return {host: _asked(host, hostvars[host], register) for host in hosts}


def _asked(host: str, variables: t.Mapping[str, t.Any], register: str) -> Asked:
    # Plain data: Ansible's own containers and strings make each access slow.
    answer = json.loads(json.dumps(variables.get(register), default=str))
    read = isinstance(answer, dict) and "ansible_facts" in answer
    return Asked(answer, _intended(variables), host if read else _address(host, variables))


def _address(host: str, variables: t.Mapping[str, t.Any]) -> str:
    try:
        return str(variables.get("ansible_host") or host)
    except AnsibleError:  # it cannot be read, which is why the host was not
        return host


def _intended(variables: t.Mapping[str, t.Any]) -> t.List[Intended]:
    """The programs that the roles would deploy. One that cannot be read lacks the reason."""
    try:
        listed = variables.get("xdp_programs") or ()
        build = variables.get("xdp_build", "target")
        found = [_program(each, build) for each in listed if each.get("state", "present") == "present"]
    except (AnsibleError, AttributeError, TypeError, KeyError) as error:
        listed, found = (), [Intended("", False, (), False, lacks=f"xdp_programs cannot be read: {error}")]
    counter = {name: variables[f"xdp_counter_{name}"] for name in OF_COUNTER if f"xdp_counter_{name}" in variables}
    if (counter or not (listed or found)) and counter.get("state", "present") == "present":
        found.append(_program({"name": "packet_count", "build": "target", "source": "its own", **counter}, ""))
    return found


def _program(given: t.Mapping[str, t.Any], build: str) -> Intended:
    """By its options, as the roles understand them."""
    name = str(given["name"])
    how = given.get("build") or ("prebuilt" if not given.get("source") else build)
    needs = "object" if how == "prebuilt" else "source"
    lacks = "" if given.get(needs) else f"{name} has no {needs}, which build: {how} needs."
    return Intended(
        name=name,
        builds=how == "target",
        interfaces=tuple(map(str, given.get("interfaces") or ())),
        replaces=given.get("on_conflict") == "replace",
        in_driver=given.get("mode") == "native",
        lacks=lacks,
    )
