#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inspection_report
short_description: Write a report of what hosts run and where they differ
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Writes what other modules have collected from a fleet into a folder, as text and as JSON. Delegate it to the
    controller. The playbook C(ebpf.fleet.inspect) does all of this.
  - The text contains no ids and no addresses, as these differ on every host. Two hosts that run the same have the same
    text, so C(diff -r DEST/HOST1 DEST/HOST2) shows real differences only. The JSON is the collected data.
  - The collected data contains addresses of the hosts' kernels, which must not be known to everybody. Only the user who
    runs this may read the files, whatever the umask.
  - What is collected is not trusted. A host whose data is not what the modules return is left out, and named in a
    warning. Characters that a terminal could take for commands are written as C(\x1b) and the like.
  - The folder of a host contains C(programs.txt), C(object.txt) and C(counters.txt), and for each interface
    C(INTERFACE/xlated.txt) and C(INTERFACE/jited.txt). The JSON is beside that folder, in C(HOST.json). The differences
    in the fleet are in C(differences.txt) and C(differences.json).
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
      - The folder, as an absolute path. Files of an earlier inspection of the same hosts are replaced, or removed if
        they would be empty now. Everything else in the folder is left alone.
    type: path
    required: true
  bpf:
    description: RV(ebpf.fleet.bpf_facts#module:ansible_facts.bpf) of each host, by host name.
    type: dict
    required: true
  counters:
    description: RV(ebpf.fleet.xdp_counter_facts#module:ansible_facts.xdp_counter) of each host, by host name.
    type: dict
    required: true
  programs:
    description: The result of M(ebpf.fleet.bpf_program_info) for the programs in O(counters), by host name.
    type: dict
    required: true
  objects:
    description: The result of M(ebpf.fleet.bpf_object_info) for the objects in O(programs), by host name.
    type: dict
    required: true
seealso:
  - module: ebpf.fleet.bpf_program_info
"""

EXAMPLES = r"""
- name: Write the report
  ebpf.fleet.inspection_report:
    dest: "{{ playbook_dir }}/inspection"
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
  description: The differences, one sentence each. Each sentence names the value of the majority last.
  returned: always
  type: list
  elements: str
  sample:
    - "tag of packet_count: f5531e9d0f447db1 on web3 eth0, but 644ee9a75611c6d0 on web1 eth0, web2 eth0"
refused:
  description: A sentence about each host whose data was not used, and what is wrong with it.
  returned: always
  type: list
  elements: str
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
