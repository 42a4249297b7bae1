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

import contextlib
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import counters, entry, mounts, pins
from ..module_utils.arrivals import Arrivals
from ..module_utils.errors import FleetError
from ..module_utils.observe import Seen, find_interface, observe_settled

if t.TYPE_CHECKING:
    from ..module_utils.libbpf import Libbpf

SETTLE_SECONDS = 0.05  # between counter and stack lies a queue


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": "packet_count"},
            "interfaces": {"type": "list", "elements": "str"},
            "seconds": {"type": "float", "default": 1},
            "pin_root": {"type": "path", "default": "/sys/fs/bpf/ebpf_fleet"},
        },
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        result = run(module)
        wrong = result.pop("wrong")
        if wrong and not module.check_mode:
            module.fail_json(msg="; ".join(wrong), **result)
        module.exit_json(**result)


def run(module: AnsibleModule) -> t.Dict[str, t.Any]:
    """The result of the module, and what is `wrong`. Raises FleetError."""
    options = module.params
    if not 0 <= options["seconds"] < 2**31:
        raise FleetError(f"seconds is {options['seconds']}; give a number from 0 up")
    entry.require_root("reading BPF maps")
    lib = entry.require_libbpf()
    name = pins.check_name(options["name"])
    root = pins.root_of_namespace(options["pin_root"])
    mounts.is_mounted(root)
    if options["interfaces"] is None:
        places = pins.places(root, name)
    else:
        asked = [find_interface(pins.check_interface_name(each))[0] for each in options["interfaces"]]
        places = [pins.Place(root, name, each) for each in dict.fromkeys(asked)]
    seen = observe_settled(lib, places)
    with contextlib.ExitStack() as held:
        outer = [readings(lib, seen)]
        time.sleep(SETTLE_SECONDS)
        stacks = {each.interface: held.enter_context(Arrivals(each.interface)) for each in seen if each.ifindex}
        inner = [readings(lib, seen)]
        time.sleep(options["seconds"])
        inner.append(readings(lib, seen))
        time.sleep(SETTLE_SECONDS)
        arrived = {interface: stack.packets() for interface, stack in stacks.items()}
        outer.append(readings(lib, seen))
    found: t.Dict[str, t.Dict[str, t.Optional[int]]] = {}
    wrong = [] if seen else [f"{name} is on no interface of this host: deploy it with ebpf.fleet.xdp_program"]
    for each in seen:
        counted = growth(*(reading[each.interface] for reading in inner))
        around = growth(*(reading[each.interface] for reading in outer))
        found[each.interface] = {"counted": counted, "arrived": arrived.get(each.interface)}
        wrong += verdict(name, each, counted, around, arrived.get(each.interface))
    idle = [interface for interface, both in found.items() if not any(both.values())]
    return {"changed": False, "interfaces": found, "idle": idle, "wrong": wrong}


def readings(lib: Libbpf, seen: t.Iterable[Seen]) -> t.Dict[str, t.Optional[counters.Reading]]:
    return {each.interface: counters.read(lib, each) for each in seen}


def growth(before: t.Optional[counters.Reading], after: t.Optional[counters.Reading]) -> t.Optional[int]:
    return after.packets - before.packets if before and after else None


def verdict(
    name: str, seen: Seen, counted: t.Optional[int], around: t.Optional[int], arrived: t.Optional[int]
) -> t.Iterator[str]:
    """What is wrong on an interface, a sentence each. Pure.

    What arrives is counted for a little longer than `counted` is, and `around` for longer still: a packet at the edge
    of the time is missed by none that it would be held against.
    """
    if arrived is None:
        yield f"there is no interface {seen.interface} on this host"
    elif not seen.attached:
        yield f"{name} is not attached to {seen.interface}"
    elif counted is None:
        yield f"{name} has no counters on {seen.interface}"
    elif arrived and not around:
        yield f"{arrived} packets arrived on {seen.interface}, and {name} has counted none"
    elif counted and not arrived:
        yield f"{name} has counted {counted} packets on {seen.interface}, and not one of them arrived behind it"


if __name__ == "__main__":
    main()
