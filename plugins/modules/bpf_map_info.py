#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_map_info
short_description: Read the entries of BPF maps
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Returns the entries of a map, typed by the BTF that its program carries, in the form in which M(ebpf.fleet.bpf_map)
    takes them.
  - Global variables can be read too. Their map is called as their section, V(.bss), V(.data) or V(.rodata).
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.attributes.pin_root
  - ebpf.fleet.attributes.info_module
  - ebpf.fleet.map
options:
  id:
    description:
      - The kernel's id of any map, in the place of O(name) and O(map).
    type: int
  keys:
    description:
      - Return only the entries with these keys. In an LPM trie, that is the entry of the longest prefix that covers the
        key.
    type: list
    elements: raw
  limit:
    description:
      - The number of entries to return. RV(maps[].truncated) tells whether there are more.
    type: int
    default: 1000
  cpus:
    description:
      - What to return of the values of a per-CPU map.
      - V(sum) - their sum, member by member. What is no number is returned once if all CPUs have the same.
      - V(each) - a list with the value of each CPU.
    type: str
    choices: [sum, each]
    default: sum
  formats:
    description:
      - How to show members whose type does not tell, as in M(ebpf.fleet.bpf_map).
    type: dict
seealso:
  - module: ebpf.fleet.bpf_map
"""

EXAMPLES = r"""
- name: How many packets have got which verdict?
  ebpf.fleet.bpf_map_info:
    name: blocklist
    map: verdicts
  register: verdicts

- name: Is this address blocked?
  ebpf.fleet.bpf_map_info:
    name: blocklist
    map: block4
    keys: [203.0.113.7]
"""

RETURN = r"""
maps:
  description: One for each interface.
  returned: always
  type: list
  elements: dict
  sample:
    - interface: eth0
      id: 87
      name: verdicts
      type: percpu_array
      key_type: __u32
      value_type: struct count
      max_entries: 5
      pin_path: /sys/fs/bpf/ebpf_fleet/blocklist/eth0/maps/verdicts
      entries_total: 5
      truncated: false
      entries:
        - key: 0
          value:
            packets: 1200
            bytes: 96000
      problem: null
  contains:
    interface:
      description: The interface; null if the map was not named by its program.
      type: str
    id:
      description: The kernel's id of the map.
      type: int
    name:
      description: The first 15 characters of its name.
      type: str
    type:
      description: Type of the map, as bpftool names it.
      type: str
    key_type:
      description: Type of the keys, as in C; null without BTF.
      type: str
    value_type:
      description: Type of the values, as in C; null without BTF.
      type: str
    max_entries:
      description: Number of entries that it has room for.
      type: int
    pin_path:
      description: Path at which it is pinned; null if it was named by its id.
      type: str
    entries_total:
      description: Number of its entries, or of O(keys) that it has; null if it has none that can be read.
      type: int
    truncated:
      description: Whether it has more than O(limit).
      type: bool
    entries:
      description: The entries.
      type: list
      elements: dict
      contains:
        key:
          description: The key.
          type: raw
        value:
          description: The value.
          type: raw
    problem:
      description: Why entries cannot be read, or what is wrong with the type of the key; null if nothing is.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.entries.options import NAMED
from ..module_utils.filling.reading import read_maps


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **NAMED,
            "id": {"type": "int"},
            "keys": {"type": "list", "elements": "raw", "no_log": False},
            "limit": {"type": "int", "default": 1000},
            "cpus": {"choices": ["sum", "each"], "default": "sum"},
            "formats": {"type": "dict"},
        },
        mutually_exclusive=[("pinned", "id", "name"), ("pinned", "id", "map")],
        required_one_of=[("pinned", "id", "map")],
        required_together=[("name", "map")],
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        entry.require_root("reading BPF maps")
        module.exit_json(changed=False, maps=read_maps(entry.require_libbpf(), module.params))


if __name__ == "__main__":
    main()
