#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_facts
short_description: Report whether a host can run XDP programs
version_added: 0.1.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Finds out what a host supports for BPF and XDP, by asking its kernel rather than by comparing kernel versions.
  - Lists in C(problems), in plain sentences, what stands in the way and how to fix it.
  - To ask the kernel, it loads programs of two instructions, which are gone when the module ends. It attaches nothing
    to any interface of the host.
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.attributes.info_module
  - ebpf.fleet.attributes.facts
  - ebpf.fleet.attributes.pin_root
attributes:
  check_mode:
    details:
      - In check mode nothing is loaded, so those C(features) that can only be tested by loading a program are null.
requirements:
  - Without libbpf this module runs as well, and reports that it is missing
options: {}
seealso:
  - module: ebpf.fleet.xdp_program
"""

EXAMPLES = r"""
- name: Find out what the host supports
  ebpf.fleet.bpf_facts:

- name: Stop if there is a problem
  ansible.builtin.assert:
    that: ansible_facts.bpf.problems | length == 0
    fail_msg: "{{ ansible_facts.bpf.problems | join(' ') }}"
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to ansible_facts.
  returned: always
  type: dict
  contains:
    bpf:
      description: What the host supports.
      type: dict
      returned: always
      contains:
        kernel:
          description: Kernel release.
          type: str
          sample: 6.1.0-30-amd64
        architecture:
          description: Machine architecture.
          type: str
          sample: x86_64
        btf:
          description: Whether the kernel provides BTF, type information about itself.
          type: bool
        jit:
          description: The sysctls C(bpf_jit_enable) and C(bpf_jit_harden); and C(available), if the kernel has a JIT
            compiler for BPF. A sysctl is null where it cannot be read, as in a network namespace.
          type: dict
          sample: {enable: 1, harden: 0, available: true}
        lockdown:
          description: V(none), V(integrity) or V(confidentiality); null if the kernel has no lockdown.
          type: str
        capabilities:
          description: The effective capabilities, of those that BPF may require.
          type: list
          elements: str
        bpffs:
          description: Where bpffs is mounted, or null.
          type: str
        tracefs:
          description: Where tracefs is mounted, or null.
          type: str
        libbpf:
          description: Version of libbpf, or null.
          type: str
        clang:
          description: Version of clang, or null.
          type: str
        bpftool:
          description: Version of bpftool, or null.
          type: str
        features:
          description: What the kernel accepted when it was asked; null where it could not be asked.
          type: dict
          contains:
            xdp_link:
              description: XDP programs attached by a BPF link (5.9).
              type: bool
            frags:
              description: Packets of several buffers, which programs in C(xdp.frags) accept (5.18).
              type: bool
            live_frames:
              description: Test runs that send real frames (5.18).
              type: bool
            dispatcher:
              description: Programs that take the place of a function of another one (5.10), which sharing an interface
                needs. Some machines refuse them as a matter of policy.
              type: bool
              version_added: 0.2.0
            trace_event:
              description: The trace event behind C(bpf_printk) (5.9).
              type: bool
        interfaces:
          description: The interfaces, by name. Bytes of a name that are not UTF-8 are shown as C(\xff).
          type: dict
          contains:
            ifindex:
              description: Index of the interface.
              type: int
            driver:
              description: Driver of the interface, or null.
              type: str
            mtu:
              description: MTU in bytes.
              type: int
            queues:
              description: Receive (C(rx)) and transmit (C(tx)) queues in use, or null.
              type: dict
            xdp:
              description: The XDP programs on the interface; null where the kernel cannot be asked. C(owner) is
                V(ebpf.fleet) for a program of this collection and V(another) for a foreign program. A dispatcher also
                has C(dispatcher), with its C(version), its C(components) with their owners, and the C(trouble) that
                prevents others from joining it, or null.
              type: list
              elements: dict
        problems:
          description: What stands in the way, each with its remedy.
          type: list
          elements: str
        obstacles:
          description: The same as data, in the same order. The playbook C(ebpf.fleet.preflight) groups hosts by it.
          type: list
          elements: dict
          version_added: 0.2.0
          contains:
            problem:
              description: What stands in the way, in the same words on all hosts.
              type: str
            remedy:
              description: What to do, in the same words on all hosts. Empty if C(problem) says it.
              type: str
            stops:
              description: What cannot work. V(all) deployments, V(build) those that compile on the host, V(interface)
                those to C(interface), or null for a problem that a deployment may ignore.
              type: str
            interface:
              description: The interface, or null for a problem of the host.
              type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.inspection.facts import facts
from ..module_utils.state.identity import former_roots, root_of_namespace


def main() -> None:
    module = AnsibleModule(
        argument_spec={"pin_root": {"type": "path", "default": "/sys/fs/bpf/ebpf_fleet"}},
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        pin_root = module.params["pin_root"]
        # Others than root may not be able to list a bpffs, and see no pins in it anyway.
        roots = [root_of_namespace(pin_root), *(former_roots(pin_root) if os.geteuid() == 0 else ())]
        module.exit_json(ansible_facts={"bpf": facts(module.run_command, roots, module.check_mode)})


if __name__ == "__main__":
    main()
