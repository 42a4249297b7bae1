# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counters of a fleet as one HTML page."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_report
author: ebpf.fleet contributors (@ebpf-fleet)
version_added: 0.2.0
short_description: The counters of a fleet as one HTML page
description:
  - Makes a page, as text, of what M(ebpf.fleet.xdp_counter_facts) answered on the hosts of a play. The playbook
    C(ebpf.fleet.report) writes it to a file.
  - Hosts that were not read, interfaces on which the program is not attached, versions that differ and counts that are
    not exact come first, with the reason.
  - The page loads nothing. Its Content-Security-Policy permits only its own style and script; the script sorts tables.
  - What hosts answer is not trusted. A host whose answer is not what the module returns counts as not read.
options:
  _input:
    description: The registered results of a task M(ebpf.fleet.xdp_counter_facts), failed or not, by host name.
    type: dict
    required: true
seealso:
  - module: ebpf.fleet.xdp_counter_facts
"""

EXAMPLES = r"""
- name: Read the counters
  ebpf.fleet.xdp_counter_facts:
    interval: 2
  register: counters
  ignore_errors: true
  ignore_unreachable: true

- name: Write the page
  ansible.builtin.copy:
    content: "{{ dict(hosts | zip(hosts | map('extract', hostvars, 'counters'))) | ebpf.fleet.fleet_report }}"
    dest: "{{ playbook_dir }}/fleet.html"
    mode: "0644"
  vars:
    hosts: "{{ ansible_play_hosts_all }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""

import base64
import functools
import hashlib
import json
import pathlib
import typing as t

import jinja2
import markupsafe
from ansible.errors import AnsibleFilterError

from ..plugin_utils.fleet_page import page

TEMPLATES = pathlib.Path(__file__).parents[2] / "playbooks/templates"


def fleet_report(answers: t.Mapping[str, t.Any]) -> str:
    """Raises AnsibleFilterError if the input is not a mapping of hosts."""
    if not isinstance(answers, t.Mapping):
        raise AnsibleFilterError("fleet_report takes the registered results of a task by host name")
    # Plain data: Ansible's own containers and strings make each access slow.
    plain = json.loads(json.dumps({host: _plain(answer) for host, answer in answers.items()}, default=str))
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return _template().render(
        page=page(plain),
        # As they are, since they are ours: what is escaped here would have a different hash.
        style=markupsafe.Markup(style),
        script=markupsafe.Markup(script),
        style_hash=_source(style),
        script_hash=_source(script),
    )


def _plain(answer: t.Any) -> t.Any:
    return dict(answer) if isinstance(answer, t.Mapping) else answer


@functools.lru_cache(maxsize=None)
def _template() -> jinja2.Template:
    """Not by Ansible's environment, which escapes nothing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _source(text: str) -> str:
    """As a Content-Security-Policy names what it permits."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


class FilterModule:
    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"fleet_report": fleet_report}
