# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Native code as text, by the disassemblers of LLVM and GNU binutils.

Both read only ELF files, so the code goes into one: a section for each function, at its address in the kernel, so that
calls show true addresses.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
import typing as t

from ..errors import FleetError
from ..kernel.symbols import KernelSymbols
from ..libbpf.btf import read_btf
from ..libbpf.code import ProgramCode
from ..objects.toolchain import Run, find_llvm_objdump, which

REMEDY = "install the package llvm or binutils there"


class Machine(t.NamedTuple):
    """e_machine and e_flags of elf.h, and the options with which LLVM and GNU objdump know all instructions."""

    number: int
    flags: int = 0
    llvm: t.Tuple[str, ...] = ()
    gnu: t.Tuple[str, ...] = ()


# By the names of uname(2).
MACHINES = {
    "x86_64": Machine(62, gnu=("-M", "suffix")),
    "aarch64": Machine(183, llvm=("--mattr=+v8.5a",)),
    "riscv64": Machine(243, flags=1, llvm=("--mattr=+c",)),
    "ppc64le": Machine(21, flags=2),
    "s390x": Machine(22),
    "loongarch64": Machine(258),
}


class Function(t.NamedTuple):
    """The native code of one function, and its address in the kernel."""

    address: int
    code: bytes


Listing = t.List[t.Tuple[int, str]]  # address and text of each instruction


def functions_of(code: ProgramCode) -> t.List[Function]:
    """Empty if the kernel withholds addresses."""
    found, at = [], 0
    for address, length in zip(code.jited_addresses, code.jited_lengths):
        found.append(Function(address, code.jited[at : at + length]))
        at += length
    return found


class Disassembler(t.NamedTuple):
    path: str
    llvm: bool


def find_disassembler() -> t.Optional[Disassembler]:
    """llvm-objdump, else binutils' objdump."""
    path = find_llvm_objdump()
    if path:
        return Disassembler(path, llvm=True)
    path = which("objdump")
    return Disassembler(path, llvm=False) if path else None


def disassemble(
    run: Run, tool: Disassembler, functions: t.Sequence[Function], machine: str, big_endian: bool = False
) -> t.List[Listing]:
    """The instructions of each function, in one run of the tool. Raises FleetError with the tool's own words."""
    known = MACHINES.get(machine)
    if known is None:
        raise FleetError(f"cannot disassemble {machine} code: this architecture is not supported")
    words = [tool.path, "--disassemble", "--disassemble-zeroes", "--no-show-raw-insn"]
    words += known.llvm if tool.llvm else known.gnu
    with tempfile.TemporaryDirectory(prefix="ebpf_fleet") as folder:
        path = os.path.join(folder, "native")
        with open(path, "wb") as file:
            file.write(_elf(functions, known, big_endian))
        code, out, err = run([*words, path], errors="replace")
    if code:
        raise FleetError(f"{tool.path} cannot disassemble {machine} code: {(err or out).replace(path, '').strip()}")
    listings: t.List[Listing] = []
    for line in out.splitlines():
        if line.startswith("Disassembly of section "):
            listings.append([])
        found = re.match(r"\s*([0-9a-f]+):\s+(.*)", line)
        if found and listings:
            listings[-1].append((int(found.group(1), 16), re.sub(r"\s+", " ", found.group(2)).strip()))
    if [listing[0][0] for listing in listings if listing] != [each.address for each in functions]:
        raise FleetError(f"cannot read the listing of {tool.path}: {err.strip()}; {REMEDY}, in a different version")
    return listings


def written(code: ProgramCode, listings: t.Sequence[Listing], symbols: KernelSymbols) -> t.List[str]:
    """The native code of a program as bpftool prints it: with signatures, symbols and source lines if there are any.

    Instructions start with their hexadecimal offset in the function. `listings` has one entry for each function.
    """
    btf = read_btf(code.btf)
    sources: t.Dict[int, t.List[str]] = {}
    for line, address in zip(code.lines, code.jited_lines):
        if btf:
            sources.setdefault(address, []).append(f"; {btf.string(line.text).lstrip()}")
    lines: t.List[str] = []
    for number, (function, listing) in enumerate(zip(functions_of(code), listings)):
        if lines:
            lines.append("")
        if btf and number < len(code.functions):
            lines.append(f"{btf.signature(code.functions[number].type_id)}:")
        lines.append(f"{symbols.name(function.address) or hex(function.address)}:")
        for address, instruction in listing:
            lines.extend(sources.get(address, ()))
            lines.append(f"{address - function.address:4x}: {_with_names(instruction, function, symbols)}")
    return lines


def _with_names(instruction: str, function: Function, symbols: KernelSymbols) -> str:
    """Show offsets for jumps within the function, and symbol names for other kernel addresses."""
    instruction = re.sub(r" <\.text[^>]*>", "", instruction)  # the names of our own sections

    def name(found: t.Match[str]) -> str:
        address = int(found.group(), 16)
        if function.address <= address < function.address + len(function.code):
            return hex(address - function.address)
        symbol = symbols.name(address)
        return f"{found.group()} <{symbol}>" if symbol else found.group()

    return re.sub(r"0x[0-9a-f]{16}\b", name, instruction)


_HEADER, _SECTION = 64, 64


def _elf(functions: t.Sequence[Function], machine: Machine, big_endian: bool) -> bytes:
    """An executable without segments, with one section for each function. elf(5)."""
    order = ">" if big_endian else "<"
    names = b"\0" + b"".join(b".text.%d\0" % number for number in range(len(functions))) + b".shstrtab\0"
    at = _HEADER
    sections = [bytes(_SECTION)]
    for number, each in enumerate(functions):
        name = names.index(b".text.%d\0" % number)
        # SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR
        sections.append(struct.pack(f"{order}IIQQQQIIQQ", name, 1, 6, each.address, at, len(each.code), 0, 0, 4, 0))
        at += len(each.code)
    name = names.index(b".shstrtab")
    sections.append(struct.pack(f"{order}IIQQQQIIQQ", name, 3, 0, 0, at, len(names), 0, 0, 1, 0))
    identity = b"\x7fELF" + bytes([2, 2 if big_endian else 1, 1]) + bytes(9)
    header = identity + struct.pack(
        f"{order}HHIQQQIHHHHHH",
        *(2, machine.number, 1, 0, 0, at + len(names), machine.flags),
        *(_HEADER, 0, 0, _SECTION, len(sections), len(sections) - 1),
    )
    return header + b"".join(each.code for each in functions) + names + b"".join(sections)
