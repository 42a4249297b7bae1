# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts: what BTF says of types, and which differences matter. The BTF is clang's."""

from __future__ import annotations

import re
import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import (
    Layout,
    Layouts,
    Member,
    misplaced,
    readable,
)
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf

ALIKE: t.List[t.Tuple[str, str]] = [
    ("int it", "unsigned it"),
    ("int it", "typedef int number; volatile number it"),
    ("struct { int a; long b; } it", "struct other { const int a; volatile long b; } it"),
    ("struct { int a; int pad; long b; } it", "struct { int a; long b; } it"),
    ("struct { int a; struct { int b; }; } it", "struct { int a; int b; } it"),
    ("struct { int a; union { int b; char c[4]; }; } it", "struct { int a; union { int b; char c[4]; }; } it"),
    ("struct { int a : 3; int b : 5; } it", "struct { int a : 3; int b : 5; } it"),
    ("struct { int a; } it[3]", "struct { int a; } it[3]"),
    ("enum { ONE } it", "unsigned it"),
    ("void *it", "char *it"),
]

DIFFERENT: t.List[t.Tuple[str, str, t.Optional[t.List[str]]]] = [
    ("int it", "long it", ["it was int of 4 B and is int of 8 B"]),
    ("int it", "float it", ["it was int of 4 B and is float of 4 B"]),
    (
        "struct { long a; long b; } it",
        "struct { long b; long a; } it",
        ["b was at byte 8 and is at byte 0", "a was at byte 0 and is at byte 8"],
    ),
    ("struct { int a; int pad; } it", "struct { int a; int b; } it", ["b is new"]),
    ("struct { long a; char b; } it", "struct { long a; char b; char c; } it", ["c is new"]),
    (
        "struct { struct { int a, b; } in; } it",
        "struct { struct { int b, a; } in; } it",
        ["in.b was at byte 4 and is at byte 0", "in.a was at byte 0 and is at byte 4"],
    ),
    (
        "struct { int a : 3; int b : 5; } it",
        "struct { int a : 4; int b : 4; } it",
        [
            "a was at byte 0, bits 0 to 2 and is at byte 0, bits 0 to 3",
            "b was at byte 0, bits 3 to 7 and is at byte 0, bits 4 to 7",
        ],
    ),
    ("int it[4]", "char it[16]", ["it was 4 times int of 4 B and is 16 times int of 1 B"]),
    ("struct { int a, b; } it[2]", "struct { int b, a; } it[2]", None),
    ("struct { int a; int b; } it", "long it", ["it was struct of 8 B and is int of 8 B"]),
]

VALUES = (
    ("int it", b"\xff\xff\xff\xff", "-1"),
    ("unsigned it", b"\xff\xff\xff\xff", "4294967295"),
    ("char it[3]", b"\x01\x02\x03", "0x010203"),
    ("char it[40]", bytes(40), f"0x{'00' * 16}…"),
)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> t.Dict[str, Layout]:
    """The types of all these variables, by their source; compiled together, as clang takes its time."""
    sources = {*(each for pair in ALIKE for each in pair), *(each[0] for each in VALUES)}
    sources |= {each for case in DIFFERENT for each in case[:2]}
    numbered = {source: f"it_{number}" for number, source in enumerate(sorted(sources))}
    text = "".join(re.sub(r"\bit\b", name, source) + ";\n" for source, name in numbered.items())
    made = tmp_path_factory.mktemp("layouts") / "it.o"
    words = ["clang", "-target", "bpf", "-g", "-O2", "-c", "-x", "c", "-", "-o", str(made)]
    subprocess.run(words, input=text, text=True, check=True)
    section = Layouts(read_elf(made.read_bytes(), "it.o").sections[".BTF"]).section(".bss")
    assert section
    found = {each.name: each.layout for each in section.members}
    return {source: found[name] for source, name in numbered.items()}


Found = t.Dict[str, Layout]


@pytest.mark.parametrize(("old", "new"), ALIKE)
def test_alike(layouts: Found, old: str, new: str) -> None:
    assert list(misplaced(layouts[old], layouts[new])) == []


@pytest.mark.parametrize(("old", "new", "says"), DIFFERENT)
def test_different(layouts: Found, old: str, new: str, says: t.Optional[t.List[str]]) -> None:
    found = list(misplaced(layouts[old], layouts[new]))
    assert found == says if says else found


@pytest.mark.parametrize(
    ("after", "says"),
    [
        ({"PASS": 0, "DROP": 1, "LOG": 2}, []),
        ({"PASS": 0, "DENY": 1}, []),  # a new name for the same
        ({}, []),  # a plain number
        ({"PASS": 1, "DROP": 0}, ["in.action: PASS was 0 and is 1", "in.action: DROP was 1 and is 0"]),
        ({"PASS": 0, "LOG": 1, "DROP": 2}, ["in.action: DROP was 1 and is 2"]),
    ],
)
def test_names_of_an_enum_keep_their_numbers(after: t.Dict[str, int], says: t.List[str]) -> None:
    def struct(names: t.Dict[str, int]) -> Layout:
        inner = Layout("struct", 4, (Member("action", 0, Layout("int", 4, names=tuple(names.items()))),))
        return Layout("struct", 4, (Member("in", 0, inner),))

    assert list(misplaced(struct({"PASS": 0, "DROP": 1}), struct(after))) == says


def test_the_names_of_an_enum_are_read() -> None:
    source = "enum small { ONE = 1, LESS = -1 } __attribute__((packed)) small; enum { TWO = 2 } plain; int number;"
    words = ["clang", "-target", "bpf", "-g", "-O2", "-c", "-x", "c", "-", "-o", "-"]
    done = subprocess.run(words, input=source.encode(), capture_output=True, check=True)
    section = Layouts(read_elf(done.stdout, "it.o").sections[".BTF"]).section(".bss")
    assert section
    found = {each.name: (each.layout.size, each.layout.names) for each in section.members}
    assert found == {"small": (1, (("ONE", 1), ("LESS", 255))), "plain": (4, (("TWO", 2),)), "number": (4, ())}


@pytest.mark.parametrize(("source", "value", "text"), VALUES)
def test_values_as_people_read_them(layouts: Found, source: str, value: bytes, text: str) -> None:
    assert readable(layouts[source], value) == text


def test_a_kind_that_an_older_kernel_does_not_know_is_compared_by_size() -> None:
    """libbpf writes an enum of 64 bits as a union there."""
    enum = Layout("int", 8, replaced=True)
    assert list(misplaced(Layout("union", 8), enum)) == []
    assert list(misplaced(Layout("union", 16), enum)) == ["it had 16 B and has 8 B"]


def test_types_that_contain_themselves_are_refused() -> None:
    source = bytearray(
        b"\x9f\xeb\x01\x00\x18\x00\x00\x00\x00\x00\x00\x00\x0c\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00"
        b"\x00\x00\x00\x00\x00\x00\x00\x08\x01\x00\x00\x00\x00"
    )
    with pytest.raises(ValueError, match="contains itself"):
        Layouts(bytes(source)).layout(1)
