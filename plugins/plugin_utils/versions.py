# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which interfaces of a fleet have which version of a program, and a line for each version. Pure."""

from __future__ import annotations

import collections
import typing as t
from collections.abc import Mapping

from ..module_utils.border.text import one_line

MOST_OF_AN_ERROR = 80  # characters
FAILED = "failed"

Versions = t.Dict[str, t.List[t.Tuple[str, str]]]  # by host: its interfaces, each with what it runs


def versions_of(
    hostvars: t.Mapping[str, t.Any], hosts: t.Sequence[str], there: t.Collection[str], register: str
) -> Versions:
    """`there`: the hosts that have not failed. `register`: where the result of deploying is."""
    present = set(there)
    found: Versions = {}
    for host in hosts:
        variables = hostvars[host]  # once, as Ansible then puts all variables of the host together
        failed = host not in present or "ansible_failed_result" in variables
        found[host] = _of_host(variables, register, failed)
    return found


def lines_of(versions: Versions) -> t.List[str]:
    found: t.Dict[str, t.List[str]] = collections.defaultdict(list)
    for host, interfaces in versions.items():
        for interface, version in interfaces:
            found[version].append(f"{host} {interface}".rstrip())
    width = max(map(len, found), default=0)
    return [f"{version.ljust(width)}  {', '.join(found[version])}" for version in sorted(found)]


def failed_hosts(versions: Versions) -> t.List[str]:
    return [host for host, each in versions.items() if any(_has_failed(version) for _interface, version in each)]


def _has_failed(version: str) -> bool:
    return version.startswith(FAILED) or version.endswith(f"({FAILED})")


def _of_host(variables: t.Mapping[str, t.Any], register: str, failed: bool) -> t.List[t.Tuple[str, str]]:
    """Interfaces, each with what it runs."""
    # A fact of this name would be what the host made up, not the checked result of the task.
    made_up = register in (variables.get("ansible_facts") or {})
    result = None if made_up else variables.get(register)
    attachments = result.get("attachments") if isinstance(result, Mapping) else None
    if not attachments:
        return [("", FAILED if failed else "not yet")]
    after = f" ({FAILED})" if failed else ""
    return [(str(each["interface"]), _version(each) + after) for each in attachments]


def _version(attachment: t.Mapping[str, t.Any]) -> str:
    """Free text of a host begins with a word of ours, so that it is not taken for a row."""
    if attachment.get("tag"):
        return str(attachment["tag"])
    if "error" in attachment:
        return f"{FAILED}: {one_line(attachment['error'])[:MOST_OF_AN_ERROR]}"
    return f"to be {attachment['state']}"
