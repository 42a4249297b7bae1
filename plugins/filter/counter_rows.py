# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a fleet as flat rows, for JMESPath."""

from __future__ import annotations

DOCUMENTATION = r"""
name: counter_rows
author: ebpf.fleet contributors (@ebpf-fleet)
version_added: 0.1.0
short_description: The packet counters of a fleet as rows
description:
  - Makes a flat list of rows, one for each host and interface, from the facts of M(ebpf.fleet.xdp_counter_facts).
  - Hosts without these facts have no rows. Nor has a host whose facts are not what the module returns; a warning names
    it.
  - With a fact cache (C(fact_caching)), hosts have rows only if a task M(ebpf.fleet.xdp_counter_facts) has read their
    counters in this run of Ansible. What the cache has of earlier runs is left out.
positional: query
options:
  _input:
    description: P(ansible.builtin.vars#lookup) C(hostvars), or a part of it.
    type: dict
    required: true
  query:
    description: A JMESPath query to run on the rows. Needs the Python library jmespath on the controller.
    type: str
seealso:
  - module: ebpf.fleet.xdp_counter_facts
  - plugin: ebpf.fleet.counter_table
    plugin_type: filter
"""

EXAMPLES = r"""
- name: The ten interfaces with the most packets
  ansible.builtin.debug:
    msg: "{{ hostvars | ebpf.fleet.counter_rows('reverse(sort_by(@, &packets))[:10].[host, interface, packets]') }}"
  run_once: true

- name: Interfaces on which counts are not exact, and why
  ansible.builtin.debug:
    msg: "{{ hostvars | ebpf.fleet.counter_rows('[?exact==`false`].[host, interface, inexact_because]') }}"
  run_once: true

- name: Interfaces on which the program does not run in the driver
  ansible.builtin.debug:
    msg: "{{ hostvars | ebpf.fleet.counter_rows('[?mode==`generic`].{host: host, interface: interface}') }}"
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - The rows, sorted by host and interface, or the result of the query.
    - Each row has C(host), C(interface), C(program), C(collected_at), C(boot_id), and what
      M(ebpf.fleet.xdp_counter_facts) returns for an interface except C(per_cpu). C(packets_per_second) and
      C(bytes_per_second) are null if no rates were requested.
  type: list
  elements: dict
  sample:
    - host: web1
      interface: eth0
      packets: 189
      bytes: 18522
      mode: native
      attached: true
"""

import json
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display

from ..module_utils.border.answers import COUNTERS, refusal
from ..module_utils.border.kinds import Unacceptable
from ..plugin_utils.fleet_rows import in_order, rows_of
from ..plugin_utils.this_run import is_read_now


def counter_rows(hostvars: t.Mapping[str, t.Any], query: t.Optional[str] = None) -> t.Any:
    """Raises AnsibleFilterError if the input is not a mapping of hosts, or the query is not valid."""
    try:
        rows = [row for host in hostvars for row in _rows(host, _facts_of(hostvars[host]))]
    except (AttributeError, TypeError) as error:
        raise AnsibleFilterError("counter_rows takes hostvars: {{ hostvars | ebpf.fleet.counter_rows }}") from error
    # Plain data: jmespath asks for the exact type of a value, and Ansible's strings are subclasses.
    plain = json.loads(json.dumps(in_order(rows)))
    return plain if query is None else _search(str(query), plain)


def _facts_of(variables: t.Mapping[str, t.Any]) -> t.Any:
    facts = variables.get("ansible_facts")
    return facts.get("xdp_counter") if isinstance(facts, Mapping) else None


def _rows(host: str, facts: t.Any) -> t.Iterator[t.Dict[str, t.Any]]:
    if facts is None or not is_read_now(facts):
        return
    try:
        read = COUNTERS(facts, "xdp_counter")
    except Unacceptable as error:
        Display().warning(refusal(host, "xdp_counter_facts", error))
        return
    yield from rows_of(host, read)


def _search(query: str, rows: t.List[t.Dict[str, t.Any]]) -> t.Any:
    try:
        import jmespath
    except ImportError as error:
        raise AnsibleFilterError(
            "counter_rows needs the Python library jmespath on the controller for a query: pip install jmespath"
        ) from error
    try:
        return jmespath.search(query, rows)
    except jmespath.exceptions.JMESPathError as error:
        raise AnsibleFilterError(f"counter_rows: the query {query!r} failed: {error}") from error


class FilterModule:
    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"counter_rows": counter_rows}
