# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many entries at once, by columns, against each by itself: the same bytes and masks, or the same words of refusal."""

from __future__ import annotations

import json
import random
import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.entries import listed, typed
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.difference import Declared
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layout, Layouts
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf

SOURCE = """
#include <linux/types.h>
struct in6_addr { __u8 bytes[16]; };
enum action { DROP, PASS = 2 };
__u8 u8; __s16 s16; __u32 u32; __u64 u64; __be16 be16; _Bool flag; enum action action; double real; __u8 mac[6];
__u32 words[4]; __u8 sixteen[16]; struct in6_addr in6; char text[8];
struct { __u32 length; __u8 address[4]; } prefix4; struct { __u32 length; __u8 address[16]; } prefix6;
struct { __u32 source; __be16 port; __u8 kind; } flow;
struct { __u8 kind; struct { __u32 source; __u16 port; } inner; enum action action; __u8 mac[6]; } nested;
struct { __u32 low : 3, high : 29; __u16 port; } bits;
"""
FORMATS: t.Sequence[t.Dict[str, str]] = (
    *[{}] * 12,
    {"key": "ipv4", "value": "ipv4"},
    {"key.source": "ipv4", "value.inner.source": "ipv4"},
    {"key": "mac", "value": "hex"},
    {"key.port": "network_order", "value.mac": "hex"},
)
CELLS: t.Sequence[t.Sequence[str]] = (  # of some of these most rows are made, so that many are plain
    [str(number) for number in range(100)],
    ("1", "0x10", "-3", "65535", "65536", "4294967295", "4294967296", "1_0", "+1", "010"),
    [f"10.0.0.{number}" for number in range(100)],
    ("192.0.2.255", "1.2.3.4/32", *[f"10.{number}.0.1/{number}" for number in range(33)]),
    ("10.0.0.1/33", "10.0.0.1/", "10.0.0.1/08", "10.0.0", "/8", "10.0.0.1/8/8"),
    [f"2001:db8::{number}" for number in range(100)],
    ("02-00-00-00-00-0F", "ff:ff:ff:ff:ff:ff", *[f"02:00:00:00:00:{number}" for number in range(10, 99)]),
    ("02:00:00:00:00:1", "02:00:00:00:00: 1", "0200:00:00:00:01", "0 :00:00:00:00:01", "gg:00:00:00:00:01"),
    ("DROP", "PASS", "true", "off"),
    ("0x0001", "0xc0000201", "0x000000000000", "1.5", "-0.0", "0.0", "nan", "office", "longer than it"),
    ("2001:db8::ffff/64", "::/0", "ffff::ffff/127", "::1/129", "::ffff:1.2.3.4"),
    ("", " 1", "1 ", '"1"', '"1\n"', "1\t", "٣", "\x0b1", "1\x0b", "\0", "1\r", "\u20281", "#1"),
)
FITTING: t.Mapping[t.Tuple[str, int], t.Sequence[int]] = {  # of the kind and the size of a type, as above
    ("int", 4): (0, 0, 2),
    ("array", 6): (6,),
    ("array", 16): (5,),
    ("struct", 16): (5,),
    ("array", 4): (2,),
    ("struct", 8): (3,),
    ("struct", 20): (5, 11),
    ("array", 8): (8, 0),
}
OPTIONS: t.Dict[str, t.Any] = {"value": None, "state": "present", "exclusive": False, "exclusive_within": None}


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Layouts:
    made = tmp_path_factory.mktemp("many") / "it.o"
    include = subprocess.run(["gcc", "-print-multiarch"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    words = f"clang -target bpf -g -O2 -I/usr/include/{include} -c -x c - -o {made}".split()
    subprocess.run(words, input=SOURCE, text=True, check=True)
    return Layouts(read_elf(made.read_bytes(), "it.o").sections[".BTF"])


class Case:
    """A list of a map, both of random types, in which some rows are wrong."""

    def __init__(self, types: Layouts, seed: int) -> None:
        self.random, self.types = random.Random(seed), types
        section = types.section(".bss")
        assert section
        key, value = (self.random.choice(section.members).layout for _side in range(2))
        kind = "lpm_trie" if any(each.name == "length" for each in key.members) else "hash"
        self.how: t.Optional[typed.Typed] = None
        try:
            shape = MapShape(kind, key.size, value.size, 100, 0)
            self.how = typed.typed(types, shape, key.number, value.number, self.random.choice(FORMATS))
        except FleetError:
            return  # the format is not one of this type
        columns = {**self.columns("key", key), **self.columns("value", value)}
        if self.random.random() < 0.05:
            columns.pop(self.random.choice(list(columns)))
        paths = list(columns)
        rows = [[self.random.choice(cells) for cells in columns.values()] for _row in range(self.random.randint(1, 12))]
        for _change in range(self.random.choice([0, 0, 0, 1, 3]) if paths else 0):
            cell = self.random.choice(self.random.choice(CELLS))
            self.random.choice(rows)[self.random.randrange(len(paths))] = cell
        self.format = self.random.choice(["csv", "csv", "json"])
        if self.format == "json":
            self.text = json.dumps([self.entry(paths, row) for row in rows])
        else:
            lines = [",".join(row) for row in rows]
            if self.random.random() < 0.2:
                lines.insert(
                    self.random.randint(0, len(lines)), self.random.choice(["", ",", "1", " ", "1,2,3,4", "\0"])
                )
            self.text = self.random.choice(["\n", "\n", "\r\n"]).join([",".join(paths), *lines])

    def columns(self, path: str, layout: Layout) -> t.Dict[str, t.Sequence[str]]:
        """What may be in the cells of each."""
        if layout.kind != "struct" or self.random.random() < 0.2:
            return {path: CELLS[self.random.choice(FITTING.get((layout.kind, layout.size), (0,)))]}
        found: t.Dict[str, t.Sequence[str]] = {}
        for each in layout.members:
            found.update(self.columns(f"{path}.{each.name}", each.layout))
        return found

    def entry(self, paths: t.Sequence[str], row: t.Sequence[str]) -> t.Dict[str, t.Any]:
        made: t.Dict[str, t.Any] = {}
        for path, cell in zip(paths, row):
            *outer, name = path.split(".")
            at = made
            for each in outer:
                at = at.setdefault(each, {})
            at[name] = int(cell) if cell.isascii() and cell.isdigit() and self.random.random() < 0.9 else cell
        return made

    def result(self) -> t.Union[Declared, str]:
        assert self.how
        try:
            found = listed.listed_in_file("/list", self.text.encode(), self.format, self.how.members)
            made = typed.declared(found, self.how, OPTIONS, 1, self.how.value.size)
            return made._replace(values=list(made.values.items()), masks=list(made.masks.items()))  # type: ignore[arg-type]
        except FleetError as error:
            return str(error)


@pytest.mark.parametrize("seed", range(2))
def test_many_at_once_as_each_by_itself(types: Layouts, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = refused = 0
    for number in range(1000 * seed, 1000 * (seed + 1)):
        case = Case(types, number)
        if not case.how:
            continue
        with monkeypatch.context() as careful:
            # So that there are several portions. Of several faults, that in the first one is told.
            careful.setattr(listed, "_LETTERS", 30)
            careful.setattr(listed, "PORTION", 3 if '"' in case.text else 1000)
            found = case.result()
            careful.setattr(listed, "_columns", lambda *_given: None)
            how, case.how = (
                case.how,
                case.how._replace(
                    key=case.how.key._replace(pack_many=None), value=case.how.value._replace(pack_many=None)
                ),
            )
            expected = case.result()
        assert found == expected, (number, case.text)
        refused += isinstance(expected, str)
        packed += not isinstance(expected, str) and how.key.pack_many is not None
    assert refused > 150 and packed > 150, (refused, packed)
