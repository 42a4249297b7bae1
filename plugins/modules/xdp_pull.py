#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_pull
short_description: Have a host keep itself as a git repository declares it
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Installs a systemd timer that runs C(ansible-pull) of the host's own ansible-core. It reads a playbook and an
    inventory from a git repository of yours, and runs the playbook for this host alone, with the variables that the
    inventory has for its name. No controller is needed any more.
  - Each run fetches the repository. If that fails, or if the playbook cannot be read, nothing is changed, and the
    service fails with a sentence in the journal (C(journalctl -u ebpf-fleet-pull)).
  - If the repository has C(collections/requirements.yml), the collections in it are installed before the run, whenever
    something in that folder has changed. A collection may also lie in the repository, in
    C(collections/ansible_collections) beside the playbook.
  - The playbook is run with the variable C(xdp_pulled). The roles of this collection then have a change rolled back
    unless the gateway answers after it (C(xdp_reachable), C(xdp_counter_reachable)). A commit that was rolled back is
    not tried again for a day.
  - Needs ansible-core 2.19 or later and git on the host, and installs neither.
extends_documentation_fragment:
  - ebpf.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  state:
    description:
      - V(present) installs the timer, or changes it.
      - V(absent) removes the timer and all that a run has kept. What the playbook has deployed stays.
    type: str
    choices: [present, absent]
    default: present
  repository:
    description:
      - Where the repository is, as git takes it. Required for O(state=present).
    type: str
  version:
    description:
      - The branch or tag. The default is the branch that the repository names.
    type: str
    default: ""
  playbook:
    description:
      - The playbook, from the top of the repository.
    type: str
    default: site.yml
  inventory:
    description:
      - The inventory, a file or a folder, from the top of the repository.
    type: str
    default: inventory
  name:
    description:
      - The host's own name in that inventory. Required for O(state=present).
      - Whatever the inventory says about connections, the host runs the playbook on itself.
    type: str
  every:
    description:
      - Seconds from the end of a run to the next, at least 60; or when, as in C(systemd.time(7)), such as V(hourly) or
        V(*:0/30).
      - With seconds, the first run comes with the start of the timer, and so after each boot. Otherwise, one that was
        missed while the host was down is made up for.
    type: str
    default: "1800"
  delay:
    description:
      - Each run begins up to this many seconds later, by chance, so that not all hosts ask the repository at once.
    type: int
    default: 300
  key:
    description:
      - The private key with which SSH reads the repository (a deploy key), as text. Without it, it is read as root
        reads it.
    type: str
  known_hosts:
    description:
      - The host keys of the repository's server, as lines of C(known_hosts). Then no others are accepted.
      - Without it, they are those that root on the host knows.
    type: str
  verify_commit:
    description:
      - Whether the commit must have a signature by a GPG key that root on the host trusts.
    type: bool
    default: false
  command:
    description:
      - The host's C(ansible-pull), by name or by path.
    type: str
    default: ansible-pull
seealso:
  - module: ebpf.fleet.xdp_program
"""

EXAMPLES = r"""
- name: Have this host keep itself as the repository declares it
  ebpf.fleet.xdp_pull:
    repository: git@git.example.org:network/xdp.git
    name: "{{ inventory_hostname }}"
    key: "{{ lookup('ansible.builtin.file', 'deploy_key', rstrip=false) }}"
    known_hosts: "{{ lookup('ansible.builtin.file', 'known_hosts', rstrip=false) }}"

- name: No longer
  ebpf.fleet.xdp_pull:
    state: absent
"""

RETURN = r"""
steps:
  description: What was done, or in check mode would be done.
  returned: always
  type: list
  elements: str
  sample:
    - write /var/lib/ebpf_fleet_pull/settings.json
    - start the timer
last:
  description: What the host's last run came to; null if there was none, and with O(state=absent).
  returned: always
  type: dict
  contains:
    at:
      description: When it began, in seconds since 1970.
      type: int
    commit:
      description: The commit that it ran; null if it came to none.
      type: str
    problem:
      description: Why it failed; null if it did not.
      type: str
    kept_at:
      description: When the last run began that did not fail; null if there was none.
      type: int
    kept_commit:
      description: The commit of that run.
      type: str
  sample:
    at: 1795780000
    commit: 8cb28872f1c1a9b1c76a4c4b1c2b5a6f0e9d8c7b
    problem: null
    kept_at: 1795780000
    kept_commit: 8cb28872f1c1a9b1c76a4c4b1c2b5a6f0e9d8c7b
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.pulling.installation import install, uninstall
from ..module_utils.pulling.runner import runner
from ..module_utils.pulling.settings import KEY, KNOWN_HOSTS, settings_of


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"choices": ["present", "absent"], "default": "present"},
            "repository": {"type": "str"},
            "version": {"type": "str", "default": ""},
            "playbook": {"type": "str", "default": "site.yml"},
            "inventory": {"type": "str", "default": "inventory"},
            "name": {"type": "str"},
            "every": {"type": "str", "default": "1800"},
            "delay": {"type": "int", "default": 300},
            "key": {"type": "str", "no_log": True},
            "known_hosts": {"type": "str", "no_log": False},
            "verify_commit": {"type": "bool", "default": False},
            "command": {"type": "str", "default": "ansible-pull"},
        },
        required_if=[("state", "present", ("repository", "name"))],
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        entry.require_root("installing a systemd timer")
        if module.params["state"] == "absent":
            module.exit_json(**uninstall(module.check_mode))
        given = {KEY: module.params["key"], KNOWN_HOSTS: module.params["known_hosts"]}
        secrets = {path: f"{text.rstrip()}\n".encode() for path, text in given.items() if text}
        module.exit_json(**install(settings_of(module.params), secrets, runner(), module.check_mode))


if __name__ == "__main__":
    main()
