# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listed entries as bytes. The BTF is clang's."""

from __future__ import annotations

import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.listed import listed_in_task
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.typed import Typed, declared, typed
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layouts
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf

SOURCE = "struct { unsigned short zone; unsigned short port; } key; unsigned int value;"
OPTIONS: t.Dict[str, t.Any] = {
    "entries": None,
    "keys": [{"zone": 3, "port": 80}],
    "value": 1,
    "state": "present",
    "exclusive": False,
    "exclusive_within": None,
}


@pytest.fixture(scope="module")
def how(tmp_path_factory: pytest.TempPathFactory) -> Typed:
    made = tmp_path_factory.mktemp("typed") / "it.o"
    subprocess.run(f"clang -target bpf -g -O2 -c -x c - -o {made}".split(), input=SOURCE, text=True, check=True)
    types = Layouts(read_elf(made.read_bytes(), "it.o").sections[".BTF"])
    section = types.section(".bss")
    assert section
    numbers = {each.name: each.layout.number for each in section.members}
    return typed(types, MapShape("hash", 4, 4, 8, 0), numbers["key"], numbers["value"], {"key.port": "network_order"})


def test_exclusive_within_is_read_as_the_keys_are(how: Typed) -> None:
    found = declared(listed_in_task(OPTIONS), how, {**OPTIONS, "exclusive_within": {"port": 80}}, 1, 4)
    assert found.within == (b"\0\0\0\x50", b"\0\0\xff\xff")
    assert [key[2:] for key in found.values] == [b"\0\x50"]
    with pytest.raises(FleetError, match=r"exclusive_within\.port: 65536 is not in"):
        declared(listed_in_task(OPTIONS), how, {**OPTIONS, "exclusive_within": {"port": 65536}}, 1, 4)


@pytest.mark.parametrize("options", [{"exclusive": True}, {"exclusive_within": {"zone": 3}}])
def test_absent_is_never_exclusive(how: Typed, options: t.Dict[str, t.Any]) -> None:
    absent = {**OPTIONS, "state": "absent", **options}
    with pytest.raises(FleetError, match="state: absent does not go with exclusive"):
        declared(listed_in_task(absent), how, absent, 1, 4)


@pytest.mark.parametrize("values", [[1, 2, 3], ["1", "0x2", 3], [1, "0.0.0.2", 3]])
def test_values_of_numbers(how: Typed, values: t.List[t.Any]) -> None:
    keys = [{"zone": 3, "port": port} for port in (80, 443, 80)]
    entries = [{"key": key, "value": value} for key, value in zip(keys, values)]
    found = declared(listed_in_task({**OPTIONS, "keys": None, "entries": entries[:2]}), how, OPTIONS, 2, 16)
    whole = [how.value.encode(value).ljust(8, b"\0") * 2 for value in values]
    assert found.values == {how.key.encode(key): each for key, each in zip(keys[:2], whole)}
    assert found.masks == {}
    with pytest.raises(FleetError, match="has two values: item 1 of entries says one, item 3 of entries another"):
        declared(listed_in_task({**OPTIONS, "keys": None, "entries": entries}), how, OPTIONS, 2, 16)
    twice = [entries[0], entries[1], entries[0]]
    again = declared(listed_in_task({**OPTIONS, "keys": None, "entries": twice}), how, OPTIONS, 2, 16)
    assert again.values == found.values


def test_a_value_that_does_not_fit_is_named(how: Typed) -> None:
    entries = [{"key": {"zone": 3, "port": port}, "value": value} for port, value in ((80, 1), (443, 1 << 32))]
    with pytest.raises(FleetError, match=r"item 2 of entries: value: 4294967296 is not in 0\.\.4294967295"):
        declared(listed_in_task({**OPTIONS, "keys": None, "entries": entries}), how, OPTIONS, 1, 4)
