#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inspection_report
short_description: Write down what hosts run, and tell where they differ
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Writes what other modules have collected of a fleet into a folder, as text and as JSON. Delegate it to the
    controller. The playbook C(ebpf.fleet.inspect) does all of it.
  - The text has no ids and no addresses, which are another on every host. It is the same where two hosts run the
    same, so C(diff -r DEST/HOST1 DEST/HOST2) shows where they do not. The JSON is what was collected, as it was.
  - A host's folder has C(programs.txt), C(object.txt) and C(counters.txt), and for each interface
    C(INTERFACE/xlated.txt) and C(INTERFACE/jited.txt). The JSON lies beside it, as C(HOST.json). What differs in the
    fleet is in C(differences.txt) and C(differences.json).
extends_documentation_fragment:
  - ebpf.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  dest:
    description:
      - The folder, an absolute path. Files of an earlier inspection of the same hosts are replaced, or removed if
        nothing would be in them any more. Everything else in it is left alone.
    type: path
    required: true
  bpf:
    description: By host, RV(ebpf.fleet.bpf_facts#module:ansible_facts.bpf).
    type: dict
    required: true
  counters:
    description: By host, RV(ebpf.fleet.xdp_counter_facts#module:ansible_facts.xdp_counter).
    type: dict
    required: true
  programs:
    description: By host, the result of M(ebpf.fleet.bpf_program_info) for the programs of O(counters).
    type: dict
    required: true
  objects:
    description: By host, the result of M(ebpf.fleet.bpf_object_info) for the objects of O(programs).
    type: dict
    required: true
seealso:
  - module: ebpf.fleet.bpf_program_info
"""

EXAMPLES = r"""
- name: Write it down
  ebpf.fleet.inspection_report:
    dest: /var/tmp/inspection
    bpf: "{{ dict(names | zip(names | map('extract', hostvars, ['ansible_facts', 'bpf']))) }}"
    counters: "{{ dict(names | zip(names | map('extract', hostvars, ['ansible_facts', 'xdp_counter']))) }}"
    programs: "{{ dict(names | zip(names | map('extract', hostvars, 'inspected_programs'))) }}"
    objects: "{{ dict(names | zip(names | map('extract', hostvars, 'inspected_objects'))) }}"
  vars:
    names: "{{ ansible_play_hosts }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
differences:
  description: What differs, one sentence each. What most have comes last in it.
  returned: always
  type: list
  elements: str
  sample:
    - "tag of packet_count: f5531e9d0f447db1 on web3 eth0, but 644ee9a75611c6d0 on web1 eth0, web2 eth0"
files:
  description: The files that were written or removed.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.inspection import report


def main() -> None:
    collected = {"type": "dict", "required": True}
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "bpf": collected,
            "counters": collected,
            "programs": collected,
            "objects": collected,
        },
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        module.exit_json(**report.write(module))


if __name__ == "__main__":
    main()
