#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_object_info
short_description: Describe BPF object files
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Returns what object files on the target contain, wherever they were built. Loads nothing into the kernel, and needs
    no compiler.
  - M(ebpf.fleet.bpf_object) returns the same for the objects that it builds; this module is for objects from elsewhere.
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.attributes.info_module
options:
  path:
    description: Paths of the object files on the target.
    type: list
    elements: path
    required: true
  disassemble:
    description:
      - Also return the instructions, by C(llvm-objdump), with the source lines that the object contains. Clang writes
        them into it with C(-g). No other file is read.
    type: bool
    default: false
seealso:
  - module: ebpf.fleet.bpf_object
  - module: ebpf.fleet.bpf_program_info
"""

EXAMPLES = r"""
- name: Describe an object and disassemble it
  ebpf.fleet.bpf_object_info:
    path: /usr/local/lib/ebpf_fleet/packet_count.bpf.o
    disassemble: true
"""

RETURN = r"""
objects:
  description: The objects, in the order of O(path).
  returned: always
  type: list
  elements: dict
  sample:
    - path: /usr/local/lib/ebpf_fleet/packet_count.bpf.o
      exists: true
      checksum: 6f1ed002ab5595859014ebf0951522d9f2cb1a0dfb3ba1ac22ffcb0b9a6d9d1b
      file_type: ELF 64-bit LSB relocatable, eBPF, version 1 (SYSV), with debug_info, not stripped
      license: Dual BSD/GPL
      has_btf: true
      programs:
        - {name: packet_count, section: xdp, instructions: 47}
      maps:
        - {name: counters, type: percpu_array, key_size: 4, value_size: 16, max_entries: 1}
      problems: []
  contains:
    path:
      description: Path of the file.
      type: str
    exists:
      description: Whether the file exists. If not, nothing else is returned about it.
      type: bool
    checksum:
      description: SHA-256 of the file.
      type: str
    file_type:
      description: Type of the object, as file(1) prints it.
      type: str
    license:
      description: The licence that the object declares to the kernel.
      type: str
    has_btf:
      description: Whether the object carries BTF, its type information.
      type: bool
    programs:
      description: The programs in the object, with C(name), C(section) and number of C(instructions).
      type: list
      elements: dict
    maps:
      description: The maps in the object, including those for global data, with C(name), C(type), C(key_size),
        C(value_size) and C(max_entries). Sizes are in bytes.
      type: list
      elements: dict
    disassembly:
      description: The code, by line, as C(llvm-objdump -S) prints it, with the source lines that the object contains.
      returned: if O(disassemble=true) and llvm-objdump is installed on the host
      type: list
      elements: str
    problems:
      description: What was asked for and could not be returned, and why, each with its remedy.
      type: list
      elements: str
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.errors import FleetError
from ..module_utils.objects import toolchain
from ..module_utils.objects.disassembly import disassemble
from ..module_utils.objects.object_file import inspect
from ..module_utils.state.files import read_file

if t.TYPE_CHECKING:
    from ..module_utils.libbpf.library import Libbpf


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "list", "elements": "path", "required": True},
            "disassemble": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C"}
    with entry.errors_to_user(module):
        lib = entry.require_libbpf()
        module.exit_json(objects=[describe(module, lib, path) for path in module.params["path"]])


def describe(module: AnsibleModule, lib: Libbpf, path: str) -> t.Dict[str, t.Any]:
    """Raises FleetError if the file is not a BPF object."""
    if not os.path.isabs(path) or os.path.isdir(path):
        raise FleetError(f"{path} is not the absolute path of a file")
    content = read_file(path)
    if content is None:
        return {"path": path, "exists": False}
    result = {"path": path, "exists": True, **inspect(lib, path, content).facts(), "problems": []}
    tool = toolchain.find_llvm_objdump()
    if module.params["disassemble"] and tool:
        result["disassembly"] = disassemble(module.run_command, tool, path, content)
    elif module.params["disassemble"]:
        result["problems"].append("llvm-objdump is not on this host; install the package llvm there")
    return result


if __name__ == "__main__":
    main()
