#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_counter_check
short_description: Check that packets are counted and still arrive
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Watches the counter of each interface for a while, and at the same time the packets that reach the network stack
    behind XDP.
  - Fails if the counter is not attached, if packets arrive and none is counted, or if packets are counted and none
    arrives.
  - An interface that receives nothing in this time passes, and is named in RV(idle).
  - The role P(ebpf.fleet.xdp_counter#role) runs this module after each change.
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.attributes.pin_root
  - ebpf.fleet.counter
attributes:
  check_mode:
    support: full
    details:
      - In check mode it watches, but never fails because of what it sees.
  diff_mode:
    support: none
options:
  seconds:
    description: How long to watch.
    type: float
    default: 1
seealso:
  - module: ebpf.fleet.xdp_counter_facts
"""

EXAMPLES = r"""
- name: Check that packets are counted and still arrive
  ebpf.fleet.xdp_counter_check:
    interfaces: [eth0]
    seconds: 5
"""

RETURN = r"""
interfaces:
  description: What each interface received in this time. The network stack may merge several packets into one before
    they arrive.
  returned: always
  type: dict
  sample:
    eth0:
      counted: 42
      arrived: 42
idle:
  description: The interfaces that received nothing.
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
