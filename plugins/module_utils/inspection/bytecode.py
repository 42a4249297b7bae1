# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BPF instructions as text, in the kernel's own notation.

Instructions: RFC 9669. The notation is that of the verifier's log and of `bpftool prog dump xlated`, which users
know. An instruction that is newer than this file is shown as its bytes.
"""

from __future__ import annotations

import struct
import typing as t

from ..kernel.symbols import KernelSymbols
from ..libbpf.btf import read_btf
from ..libbpf.code import ProgramCode

_SIZE = 8
_LD, _LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = range(8)
_REGISTER = 0x08  # the second operand is a register, not the immediate

_WIDTH = {0x00: 32, 0x08: 16, 0x10: 8, 0x18: 64}
_IMM, _ABS, _IND, _MEM, _MEMSX, _ATOMIC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0
_ARITHMETIC = {
    0x00: "+=",
    0x10: "-=",
    0x20: "*=",
    0x30: "/=",
    0x40: "|=",
    0x50: "&=",
    0x60: "<<=",
    0x70: ">>=",
    0x90: "%=",
    0xA0: "^=",
    0xB0: "=",
    0xC0: "s>>=",
}
_NEGATE, _BYTE_ORDER = 0x80, 0xD0
_CONDITION = {
    0x10: "==",
    0x20: ">",
    0x30: ">=",
    0x40: "&",
    0x50: "!=",
    0x60: "s>",
    0x70: "s>=",
    0xA0: "<",
    0xB0: "<=",
    0xC0: "s<",
    0xD0: "s<=",
}
_ATOMIC_WORDS = {0x00: "add", 0x40: "or", 0x50: "and", 0xA0: "xor"}
_FETCH, _EXCHANGE, _COMPARE_AND_EXCHANGE, _LOAD_ACQUIRE, _STORE_RELEASE = 0x01, 0xE1, 0xF1, 0x100, 0x110

# src_reg of a 64-bit immediate and of a call: what the immediate means
_MAP, _MAP_VALUE, _FUNCTION = 1, 2, 4
_BPF_CALL = 1
# Helpers that the kernel shows by number, not by address. It shows 0 where it withholds the address.
_HELPERS = {0: "bpf_unspec", 12: "bpf_tail_call"}
_PER_CPU, _ADDRESS_SPACE = -1, 1


class Instruction(t.NamedTuple):
    """struct bpf_insn. `high` is the immediate of the second half of a 64-bit load."""

    code: int
    dst: int
    src: int
    offset: int
    immediate: int
    high: int = 0


def decode(code: bytes) -> t.Iterator[t.Tuple[int, Instruction]]:
    """Numbers and instructions. The second half of a 64-bit load takes a number, but is not yielded."""
    count = len(code) // _SIZE
    number = 0
    while number < count:
        instruction = _read(code, number)
        if instruction.code == 0x18 and number + 1 < count:
            yield number, instruction._replace(high=_read(code, number + 1).immediate)
            number += 1
        else:
            yield number, instruction
        number += 1


def _read(code: bytes, number: int) -> Instruction:
    opcode, registers, offset, immediate = struct.unpack_from("=BBhi", code, number * _SIZE)
    low, high = registers & 15, registers >> 4
    dst, src = (low, high) if struct.pack("=H", 1) == b"\1\0" else (high, low)
    return Instruction(opcode, dst, src, offset, immediate)


def translated(code: ProgramCode, symbols: KernelSymbols) -> t.List[str]:
    """The translated program, with signatures and source lines if its BTF has them."""
    btf = read_btf(code.btf)
    signatures = {each.instruction: each.type_id for each in code.functions} if btf else {}
    sources = {each.instruction: each.text for each in code.lines} if btf else {}
    call_base = symbols.address("__bpf_call_base")

    def kernel_function(each: Instruction) -> str:
        address = (call_base + each.immediate) & 0xFFFFFFFFFFFFFFFF
        return symbols.name(address) or hex(address)

    def callee(each: Instruction) -> str:
        if each.src != _BPF_CALL:
            if each.immediate in _HELPERS:
                return f"{_HELPERS[each.immediate]}#{each.immediate}"
            return f"{kernel_function(each)}#{each.immediate}"
        if not code.jited_addresses:
            return f"pc{each.offset:+d}"
        if not 0 <= each.immediate < len(code.jited_addresses):  # interpreted: by this function of the interpreter
            return f"pc{each.offset:+d}#{kernel_function(each)}"
        address = code.jited_addresses[each.immediate]
        return f"pc{each.offset:+d}#{symbols.name(address) or hex(address)}"

    lines = []
    for number, instruction in decode(code.xlated):
        if btf and number in signatures:
            lines.append(f"{btf.signature(signatures[number])}:")
        if btf and number in sources:
            lines.append(f"; {btf.string(sources[number]).lstrip()}")
        lines.append(f"{number:4}: {text(instruction, callee)}")
    return lines


def text(each: Instruction, callee: t.Callable[[Instruction], str]) -> str:
    """One instruction. `callee` returns the name of a call's target."""
    words = _words(each, callee)
    if words is None:
        data = struct.pack("=BBhi", each.code, each.src << 4 | each.dst, each.offset, each.immediate).hex()
        words = f"unknown instruction {data}"
    return f"({each.code:02x}) {words}"


def _words(each: Instruction, callee: t.Callable[[Instruction], str]) -> t.Optional[str]:
    kind = each.code & 7
    if kind in (_ALU, _ALU64):
        return _arithmetic(each)
    if kind in (_JMP, _JMP32):
        return _jump(each, callee)
    if kind == _LD:
        return _load_constant(each)
    width, mode = _WIDTH[each.code & 0x18], each.code & 0xE0
    if kind == _LDX:
        if mode in (_MEM, _MEMSX):
            return f"r{each.dst} = *({'u' if mode == _MEM else 's'}{width} *)(r{each.src} {each.offset:+d})"
        return None
    place = f"*(u{width} *)(r{each.dst} {each.offset:+d})"
    if mode == _MEM:
        return f"{place} = {f'r{each.src}' if kind == _STX else each.immediate}"
    if mode == _ATOMIC:
        return _atomic(each, width) if kind == _STX else "nospec"
    return None


def _arithmetic(each: Instruction) -> t.Optional[str]:
    operation = each.code & 0xF0
    wide = each.code & 7 == _ALU64
    letter = "r" if wide else "w"
    dst, src = f"{letter}{each.dst}", f"{letter}{each.src}"
    if operation == _NEGATE:
        return f"{dst} = -{dst}"
    if operation == _BYTE_ORDER:
        order = "bswap" if wide else "be" if each.code & _REGISTER else "le"
        return f"r{each.dst} = {order}{each.immediate} r{each.dst}"
    sign = _ARITHMETIC.get(operation)
    if sign is None:
        return None
    if sign in ("/=", "%=") and each.offset == 1:
        sign = f"s{sign}"
    if not each.code & _REGISTER:
        return f"{dst} {sign} {each.immediate}"
    if sign == "=" and wide and each.offset == _PER_CPU:
        return f"{dst} = &(void __percpu *)({src})"
    if sign == "=" and wide and each.offset == _ADDRESS_SPACE:
        return f"{dst} = addr_space_cast({src}, {each.immediate >> 16 & 0xFFFF}, {each.immediate & 0xFFFF})"
    extended = f"(s{each.offset})" if sign == "=" and each.offset in (8, 16, 32) else ""
    return f"{dst} {sign} {extended}{src}"


def _jump(each: Instruction, callee: t.Callable[[Instruction], str]) -> t.Optional[str]:
    operation = each.code & 0xF0
    wide = each.code & 7 == _JMP
    if operation == 0x00:
        if each.code & _REGISTER:
            return f"gotox r{each.dst}" if wide else None
        return f"goto pc{each.offset:+d}" if wide else f"gotol pc{each.immediate:+d}"
    if operation == 0x80:
        return f"call {callee(each)}"
    if operation == 0x90:
        return "exit"
    if operation == 0xE0:
        return f"may_goto pc{each.offset:+d}" if each.src == 0 else None
    sign = _CONDITION.get(operation)
    if sign is None:
        return None
    letter = "r" if wide else "w"
    other = f"{letter}{each.src}" if each.code & _REGISTER else f"0x{each.immediate & 0xFFFFFFFF:x}"
    return f"if {letter}{each.dst} {sign} {other} goto pc{each.offset:+d}"


def _load_constant(each: Instruction) -> t.Optional[str]:
    mode, width = each.code & 0xE0, _WIDTH[each.code & 0x18]
    if mode == _ABS:
        return f"r0 = *(u{width} *)skb[{each.immediate}]"
    if mode == _IND:
        return f"r0 = *(u{width} *)skb[r{each.src} + {each.immediate}]"
    if mode != _IMM or width != 64:
        return None
    low = each.immediate & 0xFFFFFFFF
    if each.src == _MAP:
        constant = f"map[id:{low}]"
    elif each.src == _MAP_VALUE:
        constant = f"map[id:{low}][0]+{each.high & 0xFFFFFFFF}"
    elif each.src == _FUNCTION:
        constant = f"subprog[{each.immediate:+d}]"
    else:
        constant = f"0x{(each.high & 0xFFFFFFFF) << 32 | low:x}"
    return f"r{each.dst} = {constant}"


def _atomic(each: Instruction, width: int) -> t.Optional[str]:
    place = f"(u{width} *)(r{each.dst} {each.offset:+d})"
    many = "64" if width == 64 else ""
    operation = each.immediate
    if operation in _ATOMIC_WORDS:
        return f"lock *{place} {_ARITHMETIC[operation]} r{each.src}"
    if operation & ~0xFF == 0 and operation & _FETCH and operation & ~_FETCH in _ATOMIC_WORDS:
        return f"r{each.src} = atomic{many}_fetch_{_ATOMIC_WORDS[operation & ~_FETCH]}({place}, r{each.src})"
    if operation == _EXCHANGE:
        return f"r{each.src} = atomic{many}_xchg({place}, r{each.src})"
    if operation == _COMPARE_AND_EXCHANGE:
        return f"r0 = atomic{many}_cmpxchg({place}, r0, r{each.src})"
    if operation == _LOAD_ACQUIRE:
        return f"r{each.dst} = load_acquire((u{width} *)(r{each.src} {each.offset:+d}))"
    if operation == _STORE_RELEASE:
        return f"store_release({place}, r{each.src})"
    return None
