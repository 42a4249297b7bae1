#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_counter_check
short_description: See that packets are counted and still arrive
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Looks for a while at the counter of each interface, and beside it at what reaches the network stack behind XDP.
  - Fails where the counter is not attached, where packets arrive that are not counted, and where packets are counted
    of which none arrives.
  - An interface on which nothing comes in meanwhile passes, and is named in RV(idle).
  - The role P(ebpf.fleet.xdp_counter#role) runs it after each change.
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.attributes.pin_root
attributes:
  check_mode:
    support: full
    details:
      - Looks, and does not fail.
  diff_mode:
    support: none
options:
  name:
    description: The name under which the counter is pinned.
    type: str
    default: packet_count
  interfaces:
    description: The interfaces. By default all that O(name) is on.
    type: list
    elements: str
  seconds:
    description: How long to look.
    type: float
    default: 1
seealso:
  - module: ebpf.fleet.xdp_counter_facts
"""

EXAMPLES = r"""
- name: See that packets are counted and still arrive
  ebpf.fleet.xdp_counter_check:
    interfaces: [eth0]
    seconds: 5
"""

RETURN = r"""
interfaces:
  description: By interface, what came while it looked. The stack may merge several packets into one before it arrives.
  returned: always
  type: dict
  sample:
    eth0:
      counted: 42
      arrived: 42
idle:
  description: The interfaces on which nothing came.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.counting.check import check
from ..module_utils.counting.counters import OPTIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={**OPTIONS, "seconds": {"type": "float", "default": 1}},
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        entry.require_root("reading BPF maps")
        result = check(entry.require_libbpf(), module.params)
        wrong = result.pop("wrong")
        if wrong and not module.check_mode:
            module.fail_json(msg="; ".join(wrong), **result)
        module.exit_json(**result)


if __name__ == "__main__":
    main()
