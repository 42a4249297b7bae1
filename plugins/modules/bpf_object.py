#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_object
short_description: Compile a BPF object from C source
version_added: 0.1.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Compiles a C source file on the target with C(clang -O2 -g -target bpf), and returns what the object contains.
  - Compiles only if the source, a header that it includes, the flags, the compiler or the object itself has changed
    since the last build. What they were then is recorded beside the object, in C(.OBJECT.build.json).
  - The object is written completely or not at all. A compile error leaves the old object in place.
extends_documentation_fragment:
  - ansible.builtin.files
  - ebpf.fleet.attributes
  - ebpf.fleet.compiling
attributes:
  check_mode:
    support: full
    details:
      - In check mode the source is compiled in a temporary folder, so the checksum of the future object is known.
  diff_mode:
    support: full
options:
  dest:
    description:
      - Path of the object file on the target. Missing parent folders are created.
    type: path
    required: true
  byte_order:
    description:
      - The byte order of the hosts that the object is for, V(big) for s390x, and V(little) for x86_64, aarch64 and most
        others. The default is that of the machine that compiles. A kernel loads only objects in its own byte order.
      - For the other byte order, headers that say what the byte order is, such as C(asm/byteorder.h), which
        C(linux/ip.h) includes, must be those of a host of that kind (O(include_dirs)); with the machine's own the
        module fails. C(bpf/bpf_endian.h) is right in both.
    type: str
    choices: [little, big]
    version_added: 0.2.0
  disassemble:
    description:
      - Also return the disassembled object, by C(llvm-objdump), with the source lines that it contains (without them
        for the other O(byte_order)).
    type: bool
    default: false
  return_content:
    description:
      - Also return the object itself, to be used on a host that cannot compile it.
    type: bool
    default: false
  force:
    description:
      - Compile even if nothing has changed.
    type: bool
    default: false
  allow_unsafe_paths:
    description:
      - Accept an object, source, header, compiler, or path in O(cflags), that users other than root and the one who
        runs this can write to, or that is in a folder that they can write to.
    type: bool
    default: false
    version_added: 0.2.0
requirements:
  - clang with the BPF backend (package clang)
  - the headers of libbpf (package libbpf-dev or libbpf-devel), for a program that includes them
  - llvm-objdump (package llvm), for O(disassemble=true)
seealso:
  - module: ebpf.fleet.xdp_program
"""

EXAMPLES = r"""
- name: Compile the packet counter
  ebpf.fleet.bpf_object:
    src: /usr/local/src/bpf/packet_count.bpf.c
    dest: /usr/local/lib/bpf/packet_count.bpf.o
    mode: "0644"
  register: packet_count

- name: Attach exactly this object, and refuse any other file in its place
  ebpf.fleet.xdp_program:
    object: "{{ packet_count.dest }}"
    checksum: "{{ packet_count.checksum }}"
    content: "{{ packet_count.content | default(omit) }}"
    name: packet_count
    interfaces: [eth0]

- name: Compile it on the controller, for a mainframe
  ebpf.fleet.bpf_object:
    src: /usr/local/src/bpf/packet_count.bpf.c
    dest: /usr/local/lib/bpf/s390x/packet_count.bpf.o
    byte_order: big
    return_content: true
  delegate_to: localhost
"""

RETURN = r"""
dest:
  description: Path of the object file.
  returned: always
  type: str
  sample: /usr/local/lib/bpf/packet_count.bpf.o
checksum:
  description: SHA-256 of the object; in check mode, of the object that would be built.
  returned: always
  type: str
  sample: 6f1ed002ab5595859014ebf0951522d9f2cb1a0dfb3ba1ac22ffcb0b9a6d9d1b
source_checksum:
  description: SHA-256 of the source.
  returned: always
  type: str
  sample: 0a5f3c7a4bb8b3a3a1a7f9b1c0b3bd2b7a7d47a2ad4a5d61f6a6a92b7c0fd5ae
compiler:
  description: Version of the compiler that built the object.
  returned: always
  type: str
  sample: Debian clang version 14.0.6
reasons:
  description: Why the object was compiled; empty if it was not.
  returned: always
  type: list
  elements: str
  sample: [the source has changed]
content:
  description: The object itself, in Base64, for the option O(ebpf.fleet.xdp_program#module:content) of a later task.
  returned: if O(return_content=true), and in check mode if the object would change
  type: str
file_type:
  description: Type of the object, as file(1) prints it.
  returned: always
  type: str
  sample: ELF 64-bit LSB relocatable, eBPF, version 1 (SYSV), with debug_info, not stripped
license:
  description: The licence that the object declares to the kernel.
  returned: always
  type: str
  sample: Dual BSD/GPL
has_btf:
  description: Whether the object carries BTF, its type information.
  returned: always
  type: bool
programs:
  description: The programs in the object; null if its byte order is not that of the machine that compiles.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the function.
      type: str
    section:
      description: The ELF section, which determines the program's type.
      type: str
    instructions:
      description: Number of instructions.
      type: int
  sample:
    - name: packet_count
      section: xdp
      instructions: 47
maps:
  description: The maps in the object, including those for global data; null if its byte order is not that of the
    machine that compiles.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the map.
      type: str
    type:
      description: Type of the map, as bpftool names it.
      type: str
    key_size:
      description: Size of a key in bytes.
      type: int
    value_size:
      description: Size of a value in bytes.
      type: int
    max_entries:
      description: Number of entries.
      type: int
  sample:
    - name: counters
      type: percpu_array
      key_size: 4
      value_size: 16
      max_entries: 1
disassembly:
  description: The code, by line, as C(llvm-objdump -S) prints it.
  returned: if O(disassemble=true)
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.objects.compile import compile_object
from ..module_utils.objects.options import COMPILING


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **COMPILING,
            "dest": {"type": "path", "required": True},
            "byte_order": {"type": "str", "choices": ["little", "big"]},
            "disassemble": {"type": "bool", "default": False},
            "return_content": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "allow_unsafe_paths": {"type": "bool", "default": False},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        module.exit_json(**compile_object(module, entry.require_libbpf()))


if __name__ == "__main__":
    main()
