# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of an object, and which cannot be set. The BTF is clang's."""

from __future__ import annotations

import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layouts
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf
from ansible_collections.ebpf.fleet.plugins.module_utils.values.variables import Variable, variables

SOURCE = """
typedef const volatile unsigned int setting;
typedef unsigned int pair[2];
struct config { int rate; };
struct { int type; } table __attribute__((section(".maps"), used));
char licence[] __attribute__((section("license"), used)) = "GPL";

const int folded = 1;
const int folded_list[3] = {1};
const pair folded_pair = {1};
const struct config folded_struct = {1};
const volatile int kept = 1;
const volatile int kept_list[2][3] = {{1}};
const volatile pair kept_pair = {1};
setting typed = 1;
const volatile struct config config = {1};
int written = 1;
volatile int zero;
const volatile int elsewhere __attribute__((section(".rodata.own"))) = 1;
static int hidden = 1;
static const volatile int hidden_setting = 1;

__attribute__((section("xdp"))) int program(void *context)
{
    return folded + folded_list[kept] + folded_pair[kept] + folded_struct.rate + kept + kept_list[0][0] + kept_pair[0]
        + typed + config.rate + written++ + zero++ + elsewhere + hidden++ + hidden_setting;
}
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> t.Dict[str, Variable]:
    made = tmp_path_factory.mktemp("variables") / "it.o"
    subprocess.run(f"clang -target bpf -g -O2 -c -x c - -o {made}".split(), input=SOURCE, text=True, check=True)
    types = Layouts(read_elf(made.read_bytes(), "it.o").sections[".BTF"])
    return {each.member.name: each for each in variables(types)}


def test_sections_sizes_and_types(found: t.Dict[str, Variable]) -> None:
    assert {name: (each.section, each.size, each.type_name) for name, each in found.items()} == {
        "folded": (".rodata", 4, "const int"),
        "folded_list": (".rodata", 12, "const int[3]"),
        "folded_pair": (".rodata", 8, "const pair"),
        "folded_struct": (".rodata", 4, "const struct config"),
        "kept": (".rodata", 4, "const volatile int"),
        "kept_list": (".rodata", 24, "const volatile int[2][3]"),
        "kept_pair": (".rodata", 8, "const volatile pair"),
        "typed": (".rodata", 4, "setting"),
        "config": (".rodata", 4, "const volatile struct config"),
        "written": (".data", 4, "int"),
        "zero": (".bss", 4, "volatile int"),
        "elsewhere": (".rodata.own", 4, "const volatile int"),
        "hidden": (".data", 4, "int"),
        "hidden_setting": (".rodata", 4, "const volatile int"),
    }


def test_what_clang_has_folded_cannot_be_set(found: t.Dict[str, Variable]) -> None:
    assert {name for name, each in found.items() if each.folded} == {
        "folded",
        "folded_list",
        "folded_pair",
        "folded_struct",
    }
    assert found["folded_list"].refused == (
        "folded_list is const, so clang has put its value into the code and setting it would do nothing; declare it"
        " const volatile in the source"
    )
    assert found["kept"].refused == found["written"].refused == ""


def test_static_ones_cannot_be_set(found: t.Dict[str, Variable]) -> None:
    assert {name for name, each in found.items() if each.static} == {"hidden", "hidden_setting"}
    assert "hidden is static" in found["hidden"].refused
