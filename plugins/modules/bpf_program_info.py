#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_program_info
short_description: List the BPF programs in the kernel, with their code
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Lists the BPF programs of a host, of all types and from any loader, with their attachments and pins.
  - With O(dump) it also returns the code that the kernel runs, as lines of text, interleaved with the source lines if
    the program carries them.
  - The list and the translated code come from the kernel itself, and need neither bpftool nor a compiler.
  - Native code is disassembled by C(llvm-objdump) or by C(objdump) of binutils, on the host.
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.attributes.info_module
options:
  name:
    description:
      - Only programs with these names.
      - The kernel keeps the first 15 characters of a name. Both these and the whole name find a program.
    type: list
    elements: str
  id:
    description: Only programs with these ids. Ids that are not in the kernel, or not any more, are ignored.
    type: list
    elements: int
  tag:
    description: Only programs with these tags. A tag is the kernel's digest of a program's instructions.
    type: list
    elements: str
  pinned:
    description: Only programs that are pinned at these paths, or whose link is pinned there.
    type: list
    elements: path
  dump:
    description:
      - V(xlated) - the instructions as translated by the verifier.
      - V(jited) - the native code compiled from them.
    type: list
    elements: str
    choices: [xlated, jited]
    default: []
notes:
  - RV(programs[].attachments) lists links, and XDP programs attached by netlink in the connection's network namespace.
    The kernel does not report, for a program, attachments by tc over netlink or to a cgroup without a link.
seealso:
  - module: ebpf.fleet.xdp_program
  - module: ebpf.fleet.bpf_object
"""

EXAMPLES = r"""
- name: All programs of the host
  ebpf.fleet.bpf_program_info:

- name: The translated and the native code of one program
  ebpf.fleet.bpf_program_info:
    name: packet_count
    dump: [xlated, jited]

- name: The program on eth0, found by the pin of its link
  ebpf.fleet.bpf_program_info:
    pinned: /sys/fs/bpf/ebpf_fleet/packet_count/eth0/link
"""

RETURN = r"""
programs:
  description: The programs, in the order of their ids.
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
          dispatcher: null
  contains:
    id:
      description: The kernel's id of the program.
      type: int
    type:
      description: Type of the program, as bpftool names it.
      type: str
    name:
      description: Name of the program's function. Complete if the program carries BTF, otherwise its first 15
        characters.
      type: str
    tag:
      description: The kernel's digest of the program's instructions.
      type: str
    gpl:
      description: Whether the kernel considers the program's licence compatible with the GPL.
      type: bool
    loaded_at:
      description: Time of loading, ISO 8601 in UTC.
      type: str
    uid:
      description: The user who loaded it.
      type: int
    bytes_xlated:
      description: Size of the translated code in bytes.
      type: int
    bytes_jited:
      description: Size of the native code in bytes; 0 if the kernel interprets the program.
      type: int
    memlock:
      description: Kernel memory used by the program itself, in bytes.
      type: int
    map_ids:
      description: The kernel's ids of the maps that the program uses.
      type: list
      elements: int
    btf_id:
      description: The kernel's id of the program's BTF; null if it carries none.
      type: int
    run_time_ns:
      description: Time spent in the program, in ns, while the sysctl C(kernel.bpf_stats_enabled) was 1.
      type: int
    run_cnt:
      description: Number of runs while the sysctl C(kernel.bpf_stats_enabled) was 1.
      type: int
    pins:
      description: Paths at which the program is pinned.
      type: list
      elements: str
    object:
      description: The object file that the program was loaded from; null if M(ebpf.fleet.xdp_program) did not load it.
      type: dict
      contains:
        path:
          description: Path of the file.
          type: str
        checksum:
          description: SHA-256 of the file when it was loaded.
          type: str
    attachments:
      description: What the program is attached to.
      type: list
      elements: dict
      contains:
        interface:
          description: For XDP, the interface; null if it is not in this network namespace.
          type: str
        ifindex:
          description: For XDP, the index of the interface; 0 if the interface is gone.
          type: int
        mode:
          description: V(native), V(generic) or V(offload), for XDP on an interface in this network namespace.
          type: str
        by:
          description: V(link), V(netlink), or V(dispatcher) for a program that is one of several on an interface. The
            link that holds it there is listed too, with V(tracing) as its type.
          type: str
        dispatcher:
          description: Where in a dispatcher the program is, C(slot), C(priority) and C(chain_call_actions), and the
            C(program_id) of the dispatcher; null if it is in none.
          type: dict
          version_added: 0.2.0
        link_id:
          description: The kernel's id of the link; null for V(netlink) and V(dispatcher).
          type: int
        link_type:
          description: Type of the link, as bpftool names it; null for V(netlink) and V(dispatcher).
          type: str
        pins:
          description: Paths at which the link is pinned.
          type: list
          elements: str
    xlated:
      description: The translated code, as C(bpftool prog dump xlated) prints it.
      returned: if O(dump) contains V(xlated) and the kernel returns the code
      type: list
      elements: str
      sample:
        - "int packet_count(void * ctx):"
        - "; bpf_printk(\"%d\", counter);"
        - "   0: (18) r6 = map[id:87][0]+0"
    jited:
      description: The native code, in the layout of C(bpftool prog dump jited).
      returned: if O(dump) contains V(jited), the kernel returns the code, and the host has a disassembler for it
      type: list
      elements: str
      sample:
        - "int packet_count(void * ctx):"
        - "bpf_prog_644ee9a75611c6d0_packet_count:"
        - "; bpf_printk(\"%d\", counter);"
        - "   0: nopl (%rax,%rax)"
    jited_raw:
      description: The native code in hexadecimal.
      returned: if O(dump) contains V(jited) and the host has no disassembler for it
      type: str
    problems:
      description: What was asked for and could not be returned, and why, each with its remedy.
      returned: if O(dump) is given
      type: list
      elements: str
disassembler:
  description: Path of the tool that disassembled the native code; null if there is none.
  returned: if O(dump) contains V(jited)
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
        entry.require_root("inspecting BPF programs")
        module.exit_json(**programs(module, entry.require_libbpf()))


if __name__ == "__main__":
    main()
