#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_map
short_description: Declare the entries of a BPF map
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Brings the entries of a pinned map into a state, as the addresses of a blocklist, while its program runs.
  - Keys and values are typed by BTF, which the program carries. Only what differs is written, many entries with each
    call.
  - M(ebpf.fleet.xdp_program) has the same as O(ebpf.fleet.xdp_program#module:map_entries), for entries that must be
    there before the program is attached.
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.attributes.pin_root
  - ebpf.fleet.map
  - ebpf.fleet.map.entries
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  rollback_after:
    description:
      - Seconds within which the controller must reach the host over a new connection after the change. Otherwise the
        host takes the change back by itself, so a list that blocks the controller cannot lock it out. 0 turns this
        off.
    type: int
    default: 0
  reachable:
    description:
      - What the host itself must reach after the change, or it rolls the change back, within O(rollback_after). Each is
        asked over the network by a connection of its own, until it answers or the time has nearly passed.
      - V(gateway) asks the gateway of the default route, by ICMP, or if it ignores that by ARP (only IPv4); it must
        answer before the change too. C(HOST:PORT), such as C(git.example.org:22) or C([2001:db8::1]:443), must accept a
        TCP connection. A URL (C(http://), C(https://)) must answer with a status below 400, without a proxy.
      - It comes in addition to the new connection of the controller. Where there is none that crosses the network, as
        with C(ansible-pull), it takes its place.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
  persist:
    description:
      - Whether the host fills the map with the declared entries after a reboot, before the program is attached.
      - By default, and with V(auto), it does so if it restores the program; see
        O(ebpf.fleet.xdp_program#module:persist).
      - Of a O(slot) it makes a new map as the source defines it, fills that, and puts it into the slot.
    type: str
    choices: [auto, "true", "false"]
seealso:
  - module: ebpf.fleet.bpf_map_info
  - module: ebpf.fleet.xdp_program
"""

EXAMPLES = r"""
- name: Block the addresses of a list, and no others
  ebpf.fleet.bpf_map:
    name: blocklist
    map: block4
    src: /etc/ebpf/blocklist4.txt
    exclusive: true
    rollback_after: 60

- name: Never block the office
  ebpf.fleet.bpf_map:
    name: blocklist
    map: allow4
    keys: [192.0.2.0/24]

- name: Replace the list of a zone, whose map is in a map of maps
  ebpf.fleet.bpf_map:
    name: firewall
    map: zones
    slot: 3
    src: /etc/ebpf/zone3.txt
    exclusive: true
    replace: at_once

- name: Change one member of a value
  ebpf.fleet.bpf_map:
    name: limiter
    interfaces: [eth0]
    map: zones
    entries:
      - key: 3
        value:
          rate: 1000
"""

RETURN = r"""
added:
  description: Number of entries that were added, in all maps together.
  returned: always
  type: int
  sample: 17
updated:
  description: Number of entries that got another value.
  returned: always
  type: int
  sample: 2
removed:
  description: Number of entries that were removed.
  returned: always
  type: int
  sample: 0
entries:
  description: Number of entries afterwards, in all maps together.
  returned: always
  type: int
  sample: 100000
max_entries:
  description: Number of entries that all maps together have room for.
  returned: always
  type: int
  sample: 200000
maps:
  description: The same for each map. C(id) is null if O(replace=at_once) puts a new map in its place.
  returned: always
  type: list
  elements: dict
  sample:
    - interface: eth0
      id: 87
      added: 17
      updated: 2
      removed: 0
      entries: 100000
      max_entries: 200000
confirmed:
  description: Whether the change was confirmed.
  returned: if O(rollback_after) is set and something changed
  type: bool
provisional:
  description: What M(ebpf.fleet.xdp_confirm) needs to confirm the change. The task confirms it by itself.
  returned: if the module was run without its action plugin, and the change is not confirmed yet
  type: dict
reached:
  description: What has answered since the change.
  returned: if O(reachable) is set, and the change had to be confirmed
  type: list
  elements: dict
  version_added: 0.2.0
  sample:
    - asked: gateway
      answer: the gateway 192.0.2.1 on eth0 answered by ICMP
      seconds: 0.012
  contains:
    asked:
      description: As in O(reachable).
      type: str
    answer:
      description: What has answered, and how.
      type: str
    seconds:
      description: How long that took.
      type: float
steps:
  description: What was done, or in check mode would be done.
  returned: always
  type: list
  elements: str
  sample: ["add 17, update 2 of the entries of block4 on eth0"]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.deploy.request import check_rollback_after, reachable_of
from ..module_utils.entries.options import ENTRIES, EXCLUSIVE, NAMED, ONE_OF
from ..module_utils.filling.change import fill_maps
from ..module_utils.state.trusted import reader


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **NAMED,
            **ENTRIES,
            "rollback_after": {"type": "int", "default": 0},
            "reachable": {"type": "list", "elements": "str", "default": []},
            "persist": {"choices": ["auto", "true", "false"]},
        },
        mutually_exclusive=[*EXCLUSIVE, ("pinned", "name"), ("pinned", "map")],
        required_one_of=[*ONE_OF, ("pinned", "map")],
        required_together=[("name", "map")],
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        entry.require_root("writing BPF maps")
        options, lib = module.params, entry.require_libbpf()
        check_rollback_after(options["rollback_after"])
        reachable_of(options)
        read = reader(options["allow_unsafe_paths"], "to fill a map from")
        if options["replace"] == "at_once" and options["slot"] is None:
            from ..module_utils.filling.at_once import replace_at_once  # here: a target compiles what it imports

            result = replace_at_once(lib, options, module.check_mode, module.warn, read, runner)
        else:
            result = fill_maps(lib, options, module.check_mode, module.warn, read)
        module.exit_json(**result)


def runner() -> bytes:
    """boot.pyz, which restores programs after a reboot. This import makes Ansible send boot.py to the target."""
    from ..module_utils import boot

    return boot.runner()


if __name__ == "__main__":
    main()
