# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translated and native code as text without ids and addresses: equal on all hosts that run the same. Pure."""

from __future__ import annotations

import re
import typing as t


def stable_xlated(lines: t.Iterable[str]) -> t.List[str]:
    """Maps are numbered in the order in which they appear; calls keep only their name."""
    maps: t.Dict[str, int] = {}
    stable = []
    for line in lines:
        if not line.startswith(";"):
            line = re.sub(r"map\[id:(\d+)\]", lambda found: f"map[{maps.setdefault(found.group(1), len(maps))}]", line)
            line = re.sub(r"(call \w+)#-?\d+$", r"\1", line)
            line = _without_addresses(line)
        stable.append(line)
    return stable


def stable_jited(lines: t.Iterable[str]) -> t.List[str]:
    stable: t.List[str] = []
    for line in lines:
        if not line.startswith(";"):
            line = re.sub(r" *# imm = .*", "", line)
            line = re.sub(r"0x[0-9a-f]{16} (<\w+>)", r"\1", line)
            line = re.sub(r"%gs:-?(0x)?[0-9a-f]+", "%gs:ADDRESS", line)
            line = _without_addresses(line)
        stable.append(line)
    return _without_arm64_addresses(stable)


def _without_addresses(line: str) -> str:
    """Hide addresses in the kernel's half of 64 bits, also as negative decimals, but not small numbers."""

    def hide(found: t.Match[str]) -> str:
        number = int(found.group(), 0) & 0xFFFFFFFFFFFFFFFF
        return "ADDRESS" if 0xFFFF000000000000 <= number < 0xFFFFFFFFFF000000 else found.group()

    return re.sub(r"0x[0-9a-f]{16}\b|-\d{8,}\b", hide, line)


_ARM64_PIECE = re.compile(r"( *[0-9a-f]+: mov[kzn]? (x\d+), )#-?(?:0x)?[0-9a-f]+(.*)")


def _without_arm64_addresses(lines: t.List[str]) -> t.List[str]:
    """arm64 code builds an address from pieces of 16 bits, three or four for each register."""
    stable = list(lines)
    start = 0
    for at in range(len(lines) + 1):
        piece = _ARM64_PIECE.fullmatch(lines[at]) if at < len(lines) else None
        first = _ARM64_PIECE.fullmatch(lines[start]) if start < at else None
        if piece and first and " movk " in lines[at] and piece.group(2) == first.group(2):
            continue
        if first and at - start >= 3:
            for each in range(start, at):
                found = _ARM64_PIECE.fullmatch(lines[each])
                stable[each] = f"{found.group(1)}PIECE{found.group(3)}" if found else lines[each]
        start = at
    return stable
