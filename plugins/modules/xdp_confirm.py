#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_confirm
short_description: Confirm a provisional change of XDP programs
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Confirms a change that M(ebpf.fleet.xdp_program) made with O(ebpf.fleet.xdp_program#module:rollback_after). That
    task runs this module for you, over a new connection.
  - Without a confirmation the host rolls the change back when the time is over.
extends_documentation_fragment:
  - ebpf.fleet.attributes
attributes:
  check_mode:
    support: full
    details:
      - In check mode nothing is confirmed, and it is not an error if there is nothing to confirm.
  diff_mode:
    support: none
options:
  token:
    description: Identifies the change. It is RV(ebpf.fleet.xdp_program#module:provisional.token).
    type: str
    required: true
  interfaces:
    description: The interfaces to report on in RV(xdp).
    type: list
    elements: str
    default: []
seealso:
  - module: ebpf.fleet.xdp_program
"""

EXAMPLES = r"""
- name: Confirm the change
  ebpf.fleet.xdp_confirm:
    token: 5f0c1d2e3a4b5968
"""

RETURN = r"""
attachments:
  description: The attachments after the confirmation, as M(ebpf.fleet.xdp_program) returns them.
  returned: if the change was confirmed
  type: list
  elements: dict
kept:
  description: Whether a change of the entries of maps, by M(ebpf.fleet.bpf_map), is final now.
  returned: if such a change was confirmed
  type: bool
xdp:
  description:
    - The XDP programs that run now on each of O(interfaces), whoever attached them. C(by) is V(link) or V(netlink);
      C(link_ids) has more than one where the kernel does not say which link it is. A dispatcher also has C(components),
      the programs in it, each with C(slot), C(program_id), C(name), C(tag), C(priority) and C(chain_call_actions).
  returned: always
  type: dict
  sample:
    eth0:
      - program_id: 41
        name: packet_count
        tag: 644ee9a75611c6d0
        mode: native
        by: link
        link_ids: [12]
"""

import re

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.attach.interfaces import resolve
from ..module_utils.attach.running import what_runs
from ..module_utils.deploy import provisional
from ..module_utils.errors import FleetError
from ..module_utils.state.locks import lock, of_changes


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "token": {"type": "str", "required": True, "no_log": False},
            "interfaces": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        run(module)


def run(module: AnsibleModule) -> None:
    """Exits with the result of the module. Raises FleetError if an option cannot be used."""
    entry.require_root("confirming a change of XDP programs")
    interfaces = resolve(module.params["interfaces"])
    lib = entry.require_libbpf()
    answer: provisional.Answer = {}
    if not module.check_mode:
        token = module.params["token"]
        if not re.fullmatch("[0-9a-f]{1,64}", token):
            raise FleetError("token was not issued by xdp_program; a token consists of hexadecimal digits")
        try:
            answer = provisional.confirm(token)
        except FleetError as error:
            with lock(
                of_changes(), warn=module.warn
            ):  # the error may come before the change has ended: wait until it has
                xdp = what_runs(lib, interfaces)
            module.fail_json(msg=str(error), xdp=xdp)
    module.exit_json(changed=False, xdp=what_runs(lib, interfaces), **answer)


if __name__ == "__main__":
    main()
