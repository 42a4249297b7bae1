# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instructions of a dispatcher, and their type information (BTF). Pure.

A dispatcher calls a function for each slot, and a program is attached in the place of such a function (freplace).
libxdp compiles one from C, for ten slots, which reads the configuration for each packet. Here it is made for the slots
that there are, with their actions as constants. linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import struct
import sys
import typing as t

from .config import EMPTY, Slot, bits_of

MAIN = "xdp_dispatcher"
INSERT, REPLACE, SKIP = "insert", "replace", "skip"
SKIPPED = 30  # what a program returns in a Trial of the kind SKIP

_PASS = 2
_ADJUST_TAIL = 65  # BPF_FUNC_xdp_adjust_tail

_BTF_INT, _BTF_PTR, _BTF_STRUCT, _BTF_FUNC, _BTF_FUNC_PROTO = 1, 2, 4, 12, 13
_BTF_SIGNED, _BTF_GLOBAL = 1, 1

_MOVE, _MOVE_VALUE, _MOVE_VALUE_32, _SHIFT_32, _AND_VALUE_32 = 0xBF, 0xB7, 0xB4, 0x7C, 0x54
_CALL, _EXIT, _GOTO, _IF_EQUAL, _IF_NOT = 0x85, 0x95, 0x05, 0x15, 0x55
_OF_THIS_PROGRAM = 1  # the source register of a call to a function of the same program


class Trial(t.NamedTuple):
    """A function beside those of the slots, tryN, which stands before slot `at`, or after all of them.

    As long as a program is attached to it, it runs too (INSERT), in the place of slot `at` (REPLACE), or that slot does
    not run (SKIP). Without one, the dispatcher does what its configuration says.
    """

    kind: str
    at: int
    slot: Slot = Slot()


class _Jump(t.NamedTuple):
    """To a label; a call too."""

    code: int
    register: int
    value: int
    label: str


class _Label(t.NamedTuple):
    name: str


_Line = t.Union[bytes, _Jump, _Label]


def slot_function(number: int) -> str:
    return f"prog{number}"


def trial_function(number: int) -> str:
    return f"try{number}"


def functions(slots: int, trials: int = 0) -> t.List[str]:
    """All functions of a dispatcher, in their order; the main one first."""
    return [MAIN, *map(slot_function, range(slots)), *map(trial_function, range(trials))]


def entry_of(number: int, slots: int) -> str:
    """What a program is attached to: one that is alone takes the place of the main function, as with libxdp >= 1.2."""
    return MAIN if slots == 1 else slot_function(number)


def instructions(slots: t.Sequence[Slot], trials: t.Sequence[Trial] = ()) -> t.Tuple[bytes, t.Dict[str, int]]:
    """The code, and at which instruction each function begins."""
    lines: t.List[_Line] = [_Label(MAIN), _instruction(_MOVE, 6, 1)]  # r6 = the context
    for at in range(len(slots) + 1):
        for number, trial in enumerate(trials):
            if trial.at == at:
                lines += _of_trial(number, trial)
        if at < len(slots):
            lines += [*_call(slot_function(at)), *_goes_on(slots[at], f"after {at}"), _Label(f"after {at}")]
    lines += [_instruction(_MOVE_VALUE, 0, value=_PASS), _Label("end"), _instruction(_EXIT)]
    for function in functions(len(slots), len(trials))[1:]:
        lines += [_Label(function), *_empty_slot()]
    return _assembled(lines)


def _empty_slot() -> t.Iterator[bytes]:
    """Only a function that may move the packet's data can be replaced by a program that does (since Linux 6.12)."""
    yield _instruction(_MOVE_VALUE, 2, value=0)
    yield _instruction(_CALL, value=_ADJUST_TAIL)
    yield from returning(EMPTY)


def returning(action: int) -> t.Iterator[bytes]:
    yield _instruction(_MOVE_VALUE, 0, value=action)
    yield _instruction(_EXIT)


def _of_trial(number: int, trial: Trial) -> t.Iterator[_Line]:
    here, behind = f"after try {number}", f"after {trial.at}"
    yield from _call(trial_function(number))
    if trial.kind == INSERT:
        yield from _goes_on(trial.slot, here)
    elif trial.kind == REPLACE:
        yield _Jump(_IF_EQUAL, 0, EMPTY, here)
        yield from _goes_on(trial.slot, behind)
        yield _Jump(_GOTO, 0, 0, behind)
    else:
        yield _Jump(_IF_NOT, 0, EMPTY, behind)
    yield _Label(here)


def _call(function: str) -> t.Iterator[_Line]:
    yield _instruction(_MOVE, 1, 6)
    yield _Jump(_CALL, 0, 0, function)


def _goes_on(slot: Slot, following: str) -> t.Iterator[_Line]:
    """To the end, unless the action is one after which the next program runs; it falls through then, or jumps."""
    if slot.actions == ("pass",):  # two comparisons are shorter than a bitmap
        yield _Jump(_IF_EQUAL, 0, _PASS, following)
        yield _Jump(_IF_NOT, 0, EMPTY, "end")
        return
    yield _instruction(_MOVE_VALUE_32, 1, value=bits_of(slot.actions))
    yield _instruction(_SHIFT_32, 1, 0)  # by the action, modulo 32: only what is 0 to 31 is one
    yield _instruction(_AND_VALUE_32, 1, value=1)
    yield _Jump(_IF_EQUAL, 1, 0, "end")


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn: its two registers are bit fields, whose order is that of the bytes."""
    registers = to | source << 4 if sys.byteorder == "little" else to << 4 | source
    return struct.pack("=BBhi", code, registers, offset, value - (1 << 32) if value >= 1 << 31 else value)


def _assembled(lines: t.Iterable[_Line]) -> t.Tuple[bytes, t.Dict[str, int]]:
    labels: t.Dict[str, int] = {}
    code: t.List[t.Union[bytes, _Jump]] = []
    for line in lines:
        if isinstance(line, _Label):
            labels[line.name] = len(code)
        else:
            code.append(line)
    made = b""
    for number, each in enumerate(code):
        if isinstance(each, _Jump):
            away = labels[each.label] - number - 1
            if each.code == _CALL:
                each = _instruction(_CALL, 0, _OF_THIS_PROGRAM, value=away % (1 << 32))
            else:
                each = _instruction(each.code, each.register, 0, away, each.value)
        made += each
    return made, {name: at for name, at in labels.items() if " " not in name and name != "end"}


def type_information(names: t.Sequence[str]) -> t.Tuple[bytes, t.Dict[str, int]]:
    """BTF with a function int NAME(struct xdp_md *ctx) for each name, and the id of each."""
    strings = bytearray(1)

    def text(name: str) -> int:
        strings.extend(name.encode() + b"\0")
        return len(strings) - len(name) - 1

    def head(name: str, kind: int, count: int = 0) -> bytes:
        return struct.pack("=II", text(name) if name else 0, kind << 24 | count)

    types = head("int", _BTF_INT) + struct.pack("=II", 4, _BTF_SIGNED << 24 | 32)  # 1
    types += head("xdp_md", _BTF_STRUCT) + struct.pack("=I", 24)  # 2, without its members
    types += head("", _BTF_PTR) + struct.pack("=I", 2)  # 3
    types += head("", _BTF_FUNC_PROTO, 1) + struct.pack("=III", 1, text("ctx"), 3)  # 4
    ids = {}
    for number, name in enumerate(names):
        types += head(name, _BTF_FUNC, _BTF_GLOBAL) + struct.pack("=I", 4)
        ids[name] = 5 + number
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + bytes(strings), ids


def function_info(starts: t.Mapping[str, int], ids: t.Mapping[str, int]) -> bytes:
    """struct bpf_func_info of each function, in the order of their instructions."""
    return b"".join(struct.pack("=II", starts[name], ids[name]) for name in sorted(starts, key=starts.__getitem__))
