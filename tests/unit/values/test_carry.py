# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values carried over by name: what arrives, and what is said of the rest. The BTF and the bytes are clang's."""

from __future__ import annotations

import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layout, Layouts, Member
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf
from ansible_collections.ebpf.fleet.plugins.module_utils.values.carry import Carried, carry
from ansible_collections.ebpf.fleet.plugins.module_utils.values.codec import codec

# Old and new declaration, the value before, the value after, and the rest of the report.
Report = t.Dict[str, t.List[str]]
CASES: t.List[t.Tuple[str, str, t.Any, t.Any, Report]] = [
    ("int it", "int it", 7, 7, {}),
    ("unsigned it", "unsigned long it", 7, 7, {}),
    ("int it", "long it", -7, -7, {}),
    ("unsigned it", "long it", 2**32 - 1, 2**32 - 1, {}),
    ("long it", "short it", -7, -7, {}),
    ("long it", "short it", 70000, 0, {"refused": ["it is 70000, which is not in -32768..32767"]}),
    ("int it", "unsigned long it", -1, 0, {"refused": ["it is -1, which is not in 0..18446744073709551615"]}),
    ("enum { A, B } it", "unsigned char it", "B", 1, {}),
    ("int it", "struct { int a; } it", 7, {"a": 0}, {"refused": ["it was int of 4 B and is struct of 4 B"]}),
    ("float it", "double it", 1.5, 0.0, {"refused": ["it was float of 4 B and is float of 8 B"]}),
    (
        "struct { long a; long b; } it",
        "struct { long b; long a; } it",
        {"a": 1, "b": 2},
        {"a": 1, "b": 2},
        {"carried": ["it.b", "it.a"]},
    ),
    (
        "struct { int hits; int gone; } it",
        "struct { long added; long hits; } it",
        {"hits": 3, "gone": 4},
        {"hits": 3, "added": 0},
        {"carried": ["it.hits"], "fresh": ["it.added"], "dropped": ["it.gone"]},
    ),
    (
        "struct { struct { int a; short b; } in; } it",
        "struct { struct { long a; char b; int c; } in; } it",
        {"in": {"a": 1, "b": 300}},
        {"in": {"a": 1, "b": 0, "c": 0}},
        {"carried": ["it.in.a"], "fresh": ["it.in.c"], "refused": ["it.in.b is 300, which is not in -128..127"]},
    ),
    (
        "struct { int a; struct { int b; }; } it",
        "struct { int b; int a; } it",
        {"a": 1, "b": 2},
        {"a": 1, "b": 2},
        {"carried": ["it.b", "it.a"]},
    ),
    (
        "struct { unsigned a : 3; int b : 5; long c; } it",
        "struct { int b : 9; long c : 40; unsigned a : 4; } it",
        {"a": 7, "b": -16, "c": -5},
        {"a": 7, "b": -16, "c": -5},
        {"carried": ["it.b", "it.c", "it.a"]},
    ),
    (
        "struct { unsigned a : 4; } it",
        "struct { unsigned a : 3; } it",
        {"a": 9},
        {"a": 0},
        {"refused": ["it.a is 9, which is not in 0..7"]},
    ),
    ("int it[2]", "long it[3]", [1, -2], [1, -2, 0], {}),
    ("int it[3]", "int it[2]", [1, 2, 0], [1, 2], {}),
    ("int it[3]", "int it[2]", [1, 2, 3], [0, 0], {"refused": ["it had 3 elements and has 2"]}),
    ("char it[4]", "char it[8]", "abc", "abc", {}),
    ("int it[2][2]", "long it[2][3]", [[1, 2], [3, 4]], [[1, 2, 0], [3, 4, 0]], {}),
    (
        "struct { int a; int b; } it[2]",
        "struct { int c; short a; } it[2]",
        [{"a": 1, "b": 1}, {"a": 70000, "b": 1}],
        [{"a": 1, "c": 0}, {"a": 0, "c": 0}],
        {
            "carried": ["it.a"],
            "fresh": ["it.c"],
            "dropped": ["it.b"],
            "refused": ["it[1].a is 70000, which is not in -32768..32767"],
        },
    ),
    ("union { int a; char b; } it", "union { int a; char b; } it", {"a": 0x7070707}, {"a": 0x7070707, "b": 7}, {}),
    (
        "union { int a; char b; } it",
        "union { int a; char c; } it",
        {"a": 7},
        {"a": 0, "c": 0},
        {"refused": ["it was union of 4 B and is union of 4 B"]},
    ),
    ("be16 it", "be16 it", 80, 80, {}),
    ("be16 it", "be32 it", 80, 80, {}),
    ("be16 it", "unsigned it", 80, 80, {}),
]


@pytest.fixture(scope="module", params=["little", "big"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Tuple[Layouts, str]:
    path = tmp_path_factory.mktemp("carry") / "it.o"
    lines = ["typedef unsigned short be16_; typedef be16_ __be16; typedef unsigned __be32;"]
    for number, case in enumerate(CASES):
        for when, declared in zip(("old", "new"), case):
            lines.append(f"{declared.replace('be', '__be').replace(' it', f' {when}{number}', 1)};")
    words = f"clang -target bpf -g -O2 -c -x c - -o {path}".split()
    subprocess.run(words, input="\n".join(lines), text=True, check=True)
    return Layouts(read_elf(path.read_bytes(), "it.o").sections[".BTF"]), request.param


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{case[0]} -> {case[1]}" for case in CASES])
def test_carried(made: t.Tuple[Layouts, str], number: int) -> None:
    """The BTF is of little-endian C also where the data is not: both sides count its bits the same way."""
    types, order = made
    _old, _new, before, after, says = CASES[number]
    section = types.section(".bss")
    assert section
    layouts = {each.name: each.layout for each in section.members}
    old, new = layouts[f"old{number}"], layouts[f"new{number}"]
    found = carry(old, new, codec(types, old, order=order).encode(before), name="it", order=order)
    assert codec(types, new, order=order).decode(found.data) == after
    carried = [] if says else ["it"]
    assert found._replace(data=b"") == Carried(
        b"", *(tuple(says.get(each, carried if each == "carried" else [])) for each in Carried._fields[1:])
    )


def test_what_is_new_keeps_its_first_value() -> None:
    number = Layout("int", 4)
    old = Layout("datasec", 8, (Member("gone", 0, number), Member("hits", 32, number)))
    new = Layout("datasec", 12, (Member("hits", 0, number), Member("limit", 32, number), Member("rate", 64, number)))
    found = carry(old, new, b"AAAABBBB", first=b"xxxxyyyyzzzz")
    assert found == Carried(b"BBBByyyyzzzz", ("hits",), ("limit", "rate"), ("gone",), ())


def test_names_that_are_there_twice_are_not_carried() -> None:
    """Static variables of two functions may have the same name: nobody knows which one is meant."""
    number = Layout("int", 4)
    old = Layout("datasec", 8, (Member("seen", 0, number), Member("seen", 32, number)))
    found = carry(old, old, b"AAAABBBB")
    assert found == Carried(bytes(8), (), (), (), ("seen is there more than once",))


def test_bytes_of_a_different_size_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="3 B and 0 B are not of int of 4 B and int of 4 B"):
        carry(Layout("int", 4), Layout("int", 4), bytes(3))
