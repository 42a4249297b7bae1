#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_program_info
short_description: Look at the BPF programs in the kernel, and into their code
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Lists the BPF programs of a host, of all types and whoever has loaded them, with what they are attached to and
    where they are pinned.
  - With O(dump) it returns the code that the kernel runs, as lines of text, with the source lines between them where
    the program carries them.
  - The list and the translated code come from the kernel itself, and need neither bpftool nor a compiler.
  - Native code is disassembled by C(llvm-objdump) or binutils' C(objdump) on the host.
extends_documentation_fragment:
  - ebpf.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  name:
    description:
      - Only programs of these names.
      - The kernel keeps 15 characters of a name; that beginning finds a program as well as the whole.
    type: list
    elements: str
  id:
    description: Only programs of these ids. One that is not, or no longer, in the kernel is left out.
    type: list
    elements: int
  tag:
    description: Only programs of these tags, the kernel's digest of their instructions.
    type: list
    elements: str
  pinned:
    description: Only programs that are pinned at these paths, or whose link is.
    type: list
    elements: path
  dump:
    description:
      - V(xlated) - the instructions as the verifier has translated them.
      - V(jited) - the native code that was compiled from them.
    type: list
    elements: str
    choices: [xlated, jited]
    default: []
notes:
  - RV(programs[].attachments) has links, and XDP programs attached by netlink in the network namespace of the
    connection. What tc has attached by netlink, or what is attached to a cgroup without a link, the kernel does not
    tell by program.
seealso:
  - module: ebpf.fleet.xdp_program
  - module: ebpf.fleet.bpf_object
"""

EXAMPLES = r"""
- name: All programs of the host
  ebpf.fleet.bpf_program_info:

- name: The translated and the native code of one
  ebpf.fleet.bpf_program_info:
    name: packet_count
    dump: [xlated, jited]

- name: What runs on eth0, by its link
  ebpf.fleet.bpf_program_info:
    pinned: /sys/fs/bpf/ebpf_fleet/packet_count/eth0/link
"""

RETURN = r"""
programs:
  description: The programs, by id.
  returned: always
  type: list
  elements: dict
  sample:
    - id: 238
      type: xdp
      name: packet_count
      tag: 644ee9a75611c6d0
      gpl: true
      loaded_at: "2026-02-12T16:55:51Z"
      uid: 0
      bytes_xlated: 96
      bytes_jited: 64
      memlock: 4096
      map_ids: [87, 88]
      btf_id: 307
      run_time_ns: 0
      run_cnt: 0
      pins: [/sys/fs/bpf/ebpf_fleet/packet_count/eth0/program]
      object:
        path: /usr/local/lib/bpf/packet_count.bpf.o
        checksum: 6f1ed002ab5595859014ebf0951522d9f2cb1a0dfb3ba1ac22ffcb0b9a6d9d1b
      attachments:
        - interface: eth0
          ifindex: 2
          mode: native
          by: link
          link_id: 12
          link_type: xdp
          pins: [/sys/fs/bpf/ebpf_fleet/packet_count/eth0/link]
  contains:
    id:
      description: The kernel's id of the program.
      type: int
    type:
      description: Type of the program, as bpftool names it.
      type: str
    name:
      description: Name of the function, whole where the program carries BTF, else its first 15 characters.
      type: str
    tag:
      description: The kernel's digest of the program's instructions.
      type: str
    gpl:
      description: Whether its licence is one that the kernel takes for compatible with the GPL.
      type: bool
    loaded_at:
      description: When it was loaded, ISO 8601 in UTC.
      type: str
    uid:
      description: The user who has loaded it.
      type: int
    bytes_xlated:
      description: Size of the translated code in bytes.
      type: int
    bytes_jited:
      description: Size of the native code in bytes; 0 while the kernel interprets the program.
      type: int
    memlock:
      description: Kernel memory that the program itself takes, in bytes.
      type: int
    map_ids:
      description: The kernel's ids of the maps that it uses.
      type: list
      elements: int
    btf_id:
      description: The kernel's id of its type information; null if it carries none.
      type: int
    run_time_ns:
      description: Time spent in it, in ns, while the sysctl C(kernel.bpf_stats_enabled) was 1.
      type: int
    run_cnt:
      description: How often it ran, while the sysctl C(kernel.bpf_stats_enabled) was 1.
      type: int
    pins:
      description: Paths at which the program is pinned.
      type: list
      elements: str
    object:
      description: The object file that it was loaded from, if it was M(ebpf.fleet.xdp_program) that did; else null.
      type: dict
      contains:
        path:
          description: Path of the file.
          type: str
        checksum:
          description: SHA-256 of the file when it was loaded.
          type: str
    attachments:
      description: What it is attached to.
      type: list
      elements: dict
      contains:
        interface:
          description: The interface, for XDP; null if it is not in this network namespace.
          type: str
        ifindex:
          description: Index of the interface, for XDP; 0 if it is gone.
          type: int
        mode:
          description: V(native), V(generic) or V(offload), for XDP on an interface of this network namespace.
          type: str
        by:
          description: V(link) or V(netlink).
          type: str
        link_id:
          description: The kernel's id of the link; null for V(netlink).
          type: int
        link_type:
          description: Type of the link, as bpftool names it; null for V(netlink).
          type: str
        pins:
          description: Paths at which the link is pinned.
          type: list
          elements: str
    xlated:
      description: The translated code, in the notation of C(bpftool prog dump xlated).
      returned: if O(dump) has V(xlated), and the kernel gives it out
      type: list
      elements: str
      sample:
        - "int packet_count(void * ctx):"
        - "; bpf_printk(\"%d\", counter);"
        - "   0: (18) r6 = map[id:87][0]+0"
    jited:
      description: The native code, laid out as by C(bpftool prog dump jited).
      returned: if O(dump) has V(jited), the kernel gives it out, and something on the host can disassemble it
      type: list
      elements: str
      sample:
        - "int packet_count(void * ctx):"
        - "bpf_prog_644ee9a75611c6d0_packet_count:"
        - "; bpf_printk(\"%d\", counter);"
        - "   0: nopl (%rax,%rax)"
    jited_raw:
      description: The native code in hexadecimal.
      returned: if O(dump) has V(jited), and nothing on the host can disassemble it
      type: str
    problems:
      description: Why something that was asked for is not there, each with its remedy.
      returned: if O(dump) is given
      type: list
      elements: str
disassembler:
  description: Path of the program that has disassembled the native code; null if there is none.
  returned: if O(dump) has V(jited)
  type: str
  sample: /usr/bin/llvm-objdump
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.inspection.programs import programs


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str"},
            "id": {"type": "list", "elements": "int"},
            "tag": {"type": "list", "elements": "str"},
            "pinned": {"type": "list", "elements": "path"},
            "dump": {"type": "list", "elements": "str", "choices": ["xlated", "jited"], "default": []},
        },
        mutually_exclusive=[("name", "id", "tag", "pinned")],
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C"}
    with entry.errors_to_user(module):
        entry.require_root("looking at BPF programs")
        module.exit_json(**programs(module, entry.require_libbpf()))


if __name__ == "__main__":
    main()
