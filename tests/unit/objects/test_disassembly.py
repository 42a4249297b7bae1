# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Source lines that an object contains, put before its instructions. tests/security has what it must not contain."""

from __future__ import annotations

import struct
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.objects import disassembly

LISTING = [
    "o.bpf.o:\tfile format elf64-bpf",
    "Disassembly of section xdp:",
    "0000000000000000 <f>:",
    "       0:\tb4 00 00 00 02 00 00 00\tw0 = 2",
    "       1:\t95 00 00 00 00 00 00 00\texit",
    "       2:\t95 00 00 00 00 00 00 00\texit",
    "       3:\t95 00 00 00 00 00 00 00\texit",
]
STRINGS = b"\0xdp\0f.c\0\treturn 2;\0"


def btf() -> bytes:
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, len(STRINGS)) + STRINGS


def extension(*records: t.Tuple[int, int], size: int = 16, count: t.Optional[int] = None) -> bytes:
    """Offsets of instructions, and lines in f.c."""
    section = struct.pack("=II", 1, len(records) if count is None else count)
    every = b"".join(struct.pack("=IIII", offset, 5, 9, line << 10 | 7) for offset, line in records)
    lines = struct.pack("=I", size) + section + every
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, len(lines)) + lines


def sources(monkeypatch: pytest.MonkeyPatch, **sections: bytes) -> disassembly.Lines:
    names = {"btf": ".BTF", "ext": ".BTF.ext"}
    found = {names[key]: content for key, content in sections.items()}
    monkeypatch.setattr(disassembly, "read_elf", lambda _content, _path: type("Elf", (), {"sections": found}))
    return disassembly.sources(b"", "o.bpf.o")


def test_each_line_once_and_line_0_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sources(monkeypatch, btf=btf(), ext=extension((0, 4), (8, 4), (16, 0), (24, 4)))
    lines = list(disassembly.with_sources(LISTING, found))
    assert [line for line in lines if line not in LISTING] == ["; \treturn 2;"] * 2
    assert lines[3] == "; \treturn 2;" and lines[7] == "; \treturn 2;"
    assert [line for line in lines if not line.startswith(";")] == LISTING


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"btf": btf()},
        {"ext": extension((0, 4))},
        {"btf": b"\x9f\xeb", "ext": extension((0, 4))},
        {"btf": btf(), "ext": b"short"},
        {"btf": btf(), "ext": extension((0, 4), size=0)},
        {"btf": btf(), "ext": extension(count=1 << 31)},
    ],
)
def test_objects_without_source_lines_or_with_damaged_ones(
    monkeypatch: pytest.MonkeyPatch, sections: t.Dict[str, bytes]
) -> None:
    assert list(disassembly.with_sources(LISTING, sources(monkeypatch, **sections))) == LISTING
