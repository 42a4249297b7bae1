# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bpf_object does: compile an object if need be, write it, and describe it."""

from __future__ import annotations

import base64
import contextlib
import os
import typing as t

from ..errors import FleetError
from ..state.files import make_folders
from ..state.locks import lock, of_objects
from ..state.replacing import write_file
from ..state.trusted import check_trusted
from . import build, toolchain
from .disassembly import disassemble

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ..libbpf.library import Libbpf


def compile_object(module: AnsibleModule, lib: Libbpf) -> t.Dict[str, t.Any]:
    """The result of bpf_object. Raises FleetError."""
    dest = module.params["dest"]
    build.check_paths(module.params["src"], dest)
    _check_dest(module)
    if module.check_mode:
        return _compile(module, lib)
    # One at a time: if the controller builds for several hosts, the first task compiles and the others find the object.
    folder = os.path.dirname(dest)
    made = not os.path.isdir(folder)
    try:
        make_folders(folder)
    except OSError as error:
        raise FleetError(
            f"uid {os.geteuid()} cannot create the folder {folder}: {error.strerror}; give a dest in a folder that it"
            " can write to (in the roles: xdp_controller_directory and xdp_counter_controller_directory)"
        ) from error
    try:
        with lock(of_objects(folder), warn=module.warn):
            return _compile(module, lib)
    finally:
        if made:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _compile(module: AnsibleModule, lib: Libbpf) -> t.Dict[str, t.Any]:
    options = module.params
    built = build.make(module, lib, options)
    written = [file for file in built.files if file.differs()]
    if not module.check_mode:
        for file in written:
            write_file(module, file.path, file.content, 0o644)
        _check_dest(module)  # again: its folder was perhaps missing before, and others may have made it
    result = {"changed": bool(built.steps(written)), "dest": options["dest"], **built.facts(), "diff": built.diff()}
    if options["disassemble"]:
        result["disassembly"] = _disassembly(module, built)
    if options["return_content"] or (module.check_mode and built.content != built.seen.object):
        result["content"] = base64.b64encode(built.content).decode()
    attributes = module.load_file_common_arguments(options, path=options["dest"])
    result["changed"] = module.set_fs_attributes_if_different(attributes, result["changed"], diff=result["diff"])
    return result


def _check_dest(module: AnsibleModule) -> None:
    if not module.params["allow_unsafe_paths"]:
        check_trusted(module.params["dest"], toolchain.PURPOSE)


def _disassembly(module: AnsibleModule, built: build.Build) -> t.List[str]:
    tool = toolchain.find_llvm_objdump(built.wanted.compiler.path)
    if not tool:
        raise FleetError("llvm-objdump is not on this host: install the package llvm, or leave out disassemble")
    return disassemble(module.run_command, tool, built.wanted.dest, built.content)
