# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects that need the kernel's own type information (BTF). Imported only where the kernel has none in /sys."""

from __future__ import annotations

import contextlib
import os
import struct
import typing as t

from ..errors import FleetError
from ..libbpf.btf import Btf, Type, read_btf
from .elf import Elf

# Where libbpf looks for it besides /sys: btf__load_vmlinux_btf() in its btf.c.
_ON_DISK = (
    "/boot/vmlinux-{0}",
    "/lib/modules/{0}/vmlinux-{0}",
    "/lib/modules/{0}/build/vmlinux",
    "/usr/lib/modules/{0}/kernel/vmlinux",
    "/usr/lib/debug/boot/vmlinux-{0}",
    "/usr/lib/debug/boot/vmlinux-{0}.debug",
    "/usr/lib/debug/lib/modules/{0}/vmlinux",
)
_EXT_HEADER = struct.Struct("=HBBIIIIIII")  # struct btf_ext_header
_SECTION_MEMBER = 12  # bytes of struct btf_var_secinfo
_MODIFIERS = ("const", "volatile", "restrict", "typedef", "type_tag")


def check_kernel_btf(elf: Elf, path: str) -> None:
    """Raises FleetError if libbpf cannot load the object on this kernel, whichever of its programs are wanted."""
    needs = needs_kernel_btf(elf)
    kernel = os.uname().release
    if needs and not any(os.path.exists(each.format(kernel)) for each in _ON_DISK):
        raise FleetError(
            f"{path} needs the type information (BTF) of the kernel, for {' and '.join(needs)}, and this kernel"
            f" ({kernel}) has none: use a kernel with CONFIG_DEBUG_INFO_BTF, or an object that does without"
        )


def needs_kernel_btf(elf: Elf) -> t.List[str]:
    """What in the object libbpf can resolve only with the kernel's BTF, as it decides in obj_needs_vmlinux_btf()."""
    found = ["its CO-RE relocations"] if _has_relocations(elf.sections.get(".BTF.ext", b"")) else []
    btf = read_btf(elf.sections.get(".BTF", b""))
    names: t.List[str] = []
    with contextlib.suppress(IndexError, ValueError):  # damaged: libbpf says so
        names = sorted({each.name for each in _symbols(btf)}) if btf else []
    return [*found, f"the kernel symbols {', '.join(names)}"] if names else found


def _has_relocations(ext: bytes) -> bool:
    if len(ext) < _EXT_HEADER.size:  # of clang before 10
        return False
    *_rest, length = _EXT_HEADER.unpack_from(ext)
    return bool(length)


def _symbols(btf: Btf) -> t.Iterator[Type]:
    """Functions (kfuncs) and typed variables in .ksyms. Those without a type are looked up in kallsyms."""
    for section in btf.types:
        if section.kind != "datasec" or section.name != ".ksyms":
            continue
        for index in range(section.members):
            number, _offset, _size = btf.words(section.rest + index * _SECTION_MEMBER, 3)
            symbol = btf.types[number]
            if symbol.kind == "func" or _typed(btf, symbol):
                yield symbol


def _typed(btf: Btf, variable: Type) -> bool:
    target = btf.types[variable.target]
    for _depth in btf.types:
        if target.kind not in _MODIFIERS:
            break
        target = btf.types[target.target]
    return target.kind != "void"
