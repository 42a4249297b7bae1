# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options by which an object is compiled: of bpf_object, and one level down, of build of xdp_program."""

from __future__ import annotations

import textwrap

_OPTIONS = r"""
src:
  description:
    - Path of the C source file on the target.
  type: path
  required: true
content:
  description:
    - Text of the C source file. It is written to O(src) if it differs from what is there.
    - Saves a M(ansible.builtin.copy) task, and lets check mode compile a source that is not on the target yet.
  type: str
defines:
  description:
    - Macros to define, by name.
  type: dict
  default: {}
cflags:
  description:
    - Additional flags for clang.
  type: list
  elements: str
  default: []
include_dirs:
  description:
    - Folders to search for headers, before the system's own.
  type: list
  elements: path
  default: []
clang:
  description:
    - The compiler, by name or by path.
  type: str
  default: clang
cpu:
  description:
    - The version of the BPF instruction set to compile for.
  type: str
  choices: [v1, v2, v3, v4]
  default: v3
"""


class ModuleDocFragment:
    DOCUMENTATION = "options:" + textwrap.indent(_OPTIONS, " " * 2)

    WITHIN_XDP_PROGRAM = r"""
options:
  build:
    description:
      - Compile O(object) first, if its source, a header that it includes, the flags, the compiler or the object itself
        has changed since the last build. This works as in M(ebpf.fleet.bpf_object), with the same file beside the
        object.
      - Saves a task, and with it a round trip to each host. The compiled object is written only after all programs have
        been loaded, and the old one is restored if the task fails. With O(on_error=continue) the new object stays if
        any interface succeeded.
      - In check mode, if the source does not exist yet, the module assumes that an earlier task would have put it
        there, and warns.
    type: dict
    version_added: 0.2.0
    suboptions:""" + textwrap.indent(_OPTIONS.replace("O(src)", "O(build.src)"), " " * 6)
