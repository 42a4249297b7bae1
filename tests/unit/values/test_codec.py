# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The codec: what each type takes and gives, and what is said of all else. The BTF is clang's, or made by hand."""

from __future__ import annotations

import math
import random
import struct
import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layout, Layouts, Member
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf
from ansible_collections.ebpf.fleet.plugins.module_utils.values.codec import codec, hex_codec
from ansible_collections.ebpf.fleet.plugins.module_utils.values.columns import NOT_PLAIN
from ansible_collections.ebpf.fleet.plugins.module_utils.values.keys import holes, key_codec
from ansible_collections.ebpf.fleet.plugins.module_utils.values.refused import ValueRefused
from ansible_collections.ebpf.fleet.plugins.module_utils.values.scalars import Codec
from ansible_collections.ebpf.fleet.plugins.module_utils.values.variables import variables
from hypothesis import given, settings
from hypothesis import strategies as some

SOURCE = """
#include <linux/types.h>
enum action { ACTION_PASS, ACTION_DROP };
enum wide { SMALL = 1, HUGE = 0x100000000 };
struct in_addr { __be32 s_addr; };
struct in6_addr { union { __u8 u6_addr8[16]; __be32 u6_addr32[4]; }; };
struct bpf_spin_lock { __u32 val; };
struct bpf_timer { __u64 opaque[2]; };
struct entry {
  struct bpf_spin_lock lock;
  enum action action;
  char name[8];
  __be16 port;
  union { __u32 mark; struct { __u16 low, high; }; };
  struct { __u8 a : 3; __s8 b : 5; } bits;
  __u32 list[3];
};

char letter;
_Bool flag;
__u8 u8; __s8 s8; __u32 u32; __s64 s64; unsigned __int128 u128;
__be16 be16; __be32 be32; __le16 le16;
float f; double d;
enum action action;
enum wide wide;
char text[8];
char texts[2][4];
__u8 mac[6], bytes[4], sixteen[16];
__u32 words[4];
struct in_addr in; struct in6_addr in6;
__u32 grid[2][3];
struct entry entry;
struct entry entries[2];
union { __u32 word; __u8 byte; __be32 other; } either;
struct { __u32 one; struct entry *pointer; } points;
void (*function)(void);
#define IPV4 __attribute__((btf_decl_tag("ipv4")))
struct { __u32 addr IPV4; __u32 addrs[2] IPV4; } tagged;
__u32 tagged_variable IPV4;
__u8 wrongly_tagged IPV4;
struct { __u32 length; __u8 data[]; } flexible;
struct { } empty, nothing[3], too_much_of_it[100000];
"""
INT4 = b"\x78\x56\x34\x12"


class Types(t.NamedTuple):
    types: Layouts
    variables: t.Dict[str, Member]

    def codec(self, name: str, **more: t.Any) -> Codec:
        return codec(self.types, self.variables[name].layout, name, tag=self.variables[name].tag, **more)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Types:
    made = tmp_path_factory.mktemp("codec") / "it.o"
    include = subprocess.run(["gcc", "-print-multiarch"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    words = f"clang -target bpf -g -O2 -I/usr/include/{include} -Wno-visibility -c -x c - -o {made}".split()
    subprocess.run(words, input=SOURCE, text=True, check=True)
    types = Layouts(read_elf(made.read_bytes(), "it.o").sections[".BTF"])
    section = types.section(".bss")
    assert section
    return Types(types, {each.name: each for each in section.members})


def refused(one: Codec, value: t.Any) -> str:
    with pytest.raises(ValueRefused) as caught:
        one.encode(value)
    with pytest.raises(ValueRefused) as again:
        one.part(value)
    assert str(caught.value) == str(again.value)
    return str(caught.value)


TAKEN: t.List[t.Tuple[str, t.Any, bytes]] = [
    ("letter", 65, b"A"),
    ("flag", True, b"\1"),
    ("flag", "yes", b"\1"),
    ("flag", "False", b"\0"),
    ("flag", 0, b"\0"),
    ("u8", "0xff", b"\xff"),
    ("u8", True, b"\1"),
    ("s8", -128, b"\x80"),
    ("u32", 0x12345678, INT4),
    ("u32", "305419896", INT4),
    ("u32", "192.0.2.1", b"\xc0\0\2\1"),
    ("s64", "-1", b"\xff" * 8),
    ("u128", (1 << 128) - 1, b"\xff" * 16),
    ("be16", 80, b"\0\x50"),
    ("be32", 1, b"\0\0\0\1"),
    ("be32", "192.0.2.1", b"\xc0\0\2\1"),
    ("le16", 80, b"\x50\0"),
    ("f", 1.5, struct.pack("<f", 1.5)),
    ("d", 3, struct.pack("<d", 3)),
    ("d", "2.5", struct.pack("<d", 2.5)),
    ("d", "nan", struct.pack("<d", math.nan)),
    ("action", "ACTION_DROP", b"\1\0\0\0"),
    ("action", 1, b"\1\0\0\0"),
    ("action", 77, b"\x4d\0\0\0"),
    ("text", "office", b"office\0\0"),
    ("text", "", bytes(8)),
    ("text", "äöü", "äöü".encode() + b"\0\0"),
    ("text", "0x4142434445464748", b"ABCDEFGH"),
    ("text", [1, 2], b"\1\2" + bytes(6)),
    ("texts", ["abc", "d"], b"abc\0d\0\0\0"),
    ("mac", "02:00:00:00:00:0F", b"\2\0\0\0\0\x0f"),
    ("mac", "02-00-00-00-00-0f", b"\2\0\0\0\0\x0f"),
    ("mac", [1, 2, 3, 4, 5, 6], b"\1\2\3\4\5\6"),
    ("bytes", "192.0.2.1", b"\xc0\0\2\1"),
    ("bytes", "0xc0000201", b"\xc0\0\2\1"),
    ("sixteen", "2001:db8::1", b"\x20\1\x0d\xb8" + bytes(11) + b"\1"),
    ("words", "2001:db8::1", b"\x20\1\x0d\xb8" + bytes(11) + b"\1"),
    ("words", [1, 2], b"\1\0\0\0\2\0\0\0" + bytes(8)),
    ("words", {3: 1}, bytes(12) + b"\1\0\0\0"),
    ("words", {"0": 1}, b"\1\0\0\0" + bytes(12)),
    ("in", "192.0.2.1", b"\xc0\0\2\1"),
    ("in", {"s_addr": 1}, b"\0\0\0\1"),
    ("in6", "::1", bytes(15) + b"\1"),
    ("in6", {"u6_addr8": [1]}, b"\1" + bytes(15)),
    ("grid", [[1], [2, 3]], struct.pack("<6I", 1, 0, 0, 2, 3, 0)),
    ("either", {"byte": 3}, b"\3\0\0\0"),
    ("either", {"byte": 0x78, "word": 0x12345678}, INT4),
    ("either", {}, bytes(4)),
    ("points", {"one": 1}, b"\1" + bytes(15)),
    ("tagged_variable", "192.0.2.1", b"\xc0\0\2\1"),
    ("flexible", {"length": 1}, b"\1\0\0\0"),
    ("empty", {}, b""),
    ("nothing", [{}, {}], b""),
]


@pytest.mark.parametrize(("name", "value", "data"), TAKEN)
def test_taken(there: Types, name: str, value: t.Any, data: bytes) -> None:
    assert there.codec(name, order="little").encode(value).hex() == data.hex()
    assert there.codec(name, order="little").part(value)[0].hex() == data.hex()


REFUSED: t.List[t.Tuple[str, t.Any, str]] = [
    ("u32", 8589934592, "u32: 8589934592 is not in 0..4294967295"),
    ("u32", -1, "u32: -1 is not in 0..4294967295"),
    ("s8", 128, "s8: 128 is not in -128..127"),
    ("u32", 1.0, "u32: 1.0 is not a whole number in 0..4294967295"),
    ("u32", None, "u32: None is not a whole number"),
    ("u32", "010", "u32: '010' is not a whole number"),
    ("u32", [1], "u32: [1] is not a whole number"),
    ("u32", "192.0.2.256", "u32: '192.0.2.256' is not an IPv4 address, such as 192.0.2.1"),
    ("u32", "1.2.3.4\0", "is not an IPv4 address"),
    ("be16", 65536, "be16: 65536 is not in 0..65535"),
    ("flag", 2, "flag: 2 is neither true nor false"),
    ("flag", None, "flag: None is neither true nor false"),
    ("f", 1e300, "f: 1e+300 is not a number that 4 B can hold"),
    ("f", True, "f: True is not a number that 4 B can hold"),
    ("d", 10**400, "d: 1000"),
    ("d", {}, "d: {} is not a number that 8 B can hold"),
    (
        "action",
        "DROP",
        "action: 'DROP' is not a whole number in 0..4294967295, nor one of ACTION_PASS, ACTION_DROP",
    ),
    ("action", -1, "action: -1 is not in 0..4294967295, nor one of ACTION_PASS, ACTION_DROP"),
    ("wide", "SMALL", "wide: 'SMALL' is not a whole number in 0..18446744073709551615"),
    ("text", "12345678", "text: '12345678' has 8 B in UTF-8, and a char[8] takes 7 and a NUL"),
    ("text", "a\0b", "text: 'a\\x00b' contains a NUL, which ends a text in C"),
    ("text", "\udc80", "text: '\\udc80' is not a text in UTF-8"),
    ("text", 5, "text: 5 is not a list of 8"),
    ("texts", ["abcd"], "texts[0]: 'abcd' has 4 B in UTF-8, and a char[4] takes 3 and a NUL"),
    ("mac", "02:00:00:00:00", "mac: '02:00:00:00:00' is not a MAC address, such as 02:00:00:00:00:01"),
    ("mac", "02:00:00:00:00:zz", "is not a MAC address"),
    ("sixteen", "2001:db8::/32", "sixteen: '2001:db8::/32' is not an IPv6 address, such as 2001:db8::1"),
    ("words", [1, 2, 3, 4, 5], "words: a list of 5 is longer than the array, which has 4"),
    ("words", [1, 2, 3, "x"], "words[3]: 'x' is not a whole number in 0..4294967295"),
    ("words", {4: 1}, "words: 4 is not an index in 0..3"),
    ("words", {"x": 1}, "words: 'x' is not an index in 0..3"),
    ("words", "text", "words: 'text' is not a list of 4"),
    ("grid", [[1, 2, 3], [1, 2, -3]], "grid[1][2]: -3 is not in 0..4294967295"),
    (
        "entry",
        {"acton": 1},
        "entry: 'acton' is not a member of struct entry; it has action, name, port, mark, low, high, bits, list",
    ),
    ("entry", {"lock": {}}, "entry: 'lock' is not a member of struct entry"),
    ("entry", {3: 1}, "entry: 3 is not a member of struct entry"),
    ("entry", [1], "entry: [1] is not a mapping with members of struct entry: action, name"),
    ("entry", {"bits": {"a": 8}}, "entry.bits.a: 8 is not in 0..7"),
    ("entry", {"bits": {"b": -17}}, "entry.bits.b: -17 is not in -16..15"),
    ("entry", {"list": [0, -1]}, "entry.list[1]: -1 is not in 0..4294967295"),
    ("entries", [{}, {"port": "http"}], "entries[1].port: 'http' is not a whole number in 0..65535"),
    ("entry", {"mark": 1, "low": 2}, "entry.low: 2 contradicts what shares its bytes: mark"),
    ("either", {"word": 1, "byte": 2}, "either.byte: 2 contradicts what shares its bytes: word"),
    ("points", {"pointer": 0}, "points.pointer: 0 cannot be set: this is a pointer"),
    ("function", 0, "function: 0 cannot be set: this is a pointer"),
    ("too_much_of_it", [], "too_much_of_it: [] cannot be set: this is an array of 100000 times nothing"),
]


@pytest.mark.parametrize(("name", "value", "says"), REFUSED)
def test_refused(there: Types, name: str, value: t.Any, says: str) -> None:
    assert says in refused(there.codec(name, order="little"), value)


def test_numbers_that_python_does_not_print_are_refused(there: Types) -> None:
    assert refused(there.codec("u32"), 1 << 100000).endswith("is not in 0..4294967295")
    assert refused(there.codec("f"), 1 << 100000).endswith("is not a number that 4 B can hold")


INTEGERS = {"u8": 8, "s8": 8, "u32": 32, "s64": 64, "be16": 16, "be32": 32, "le16": 16}  # bits


@pytest.mark.parametrize("name", INTEGERS)
@settings(max_examples=15, deadline=None)
@given(drawn=some.data())
def test_many_are_encoded_as_each_of_them(there: Types, name: str, drawn: some.DataObject) -> None:
    one, top = there.codec(name, order="little"), 1 << INTEGERS[name] - 1
    assert one.pack_many
    sign = name.startswith("s")
    numbers = some.integers(-top, top - 1) if sign else some.integers(0, 2 * top - 1)
    plain = drawn.draw(some.lists(numbers, min_size=1, max_size=20))
    expected = b"".join(map(one.encode, plain))
    assert one.pack_many(plain) == one.pack_many([str(each) for each in plain]) == expected
    assert one.pack_many([hex(each) for each in plain]) == expected
    # What is not a plain number is left to encode(), or encoded as it does.
    other = drawn.draw(some.sampled_from(["", "x", "010", "1.0", "192.0.2.1", 1.0, None, True, 2 * top, -1 - top, [1]]))
    at = drawn.draw(some.integers(0, len(plain)))
    for rest in (plain, [str(each) for each in plain]):
        mixed = [*rest[:at], other, *rest[at:]]
        try:
            found = one.pack_many(mixed)
        except NOT_PLAIN:
            continue
        assert found == b"".join(map(one.encode, mixed))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mac", ["02:00:00:00:00:0"]),
        ("mac", ["02:00:00:00:00: 1"]),
        ("mac", ["020:00:00:00:0:01"]),
        ("mac", ["02:00:00:00:00:011", "2:00:00:00:00:01"]),
        ("words", [[1, 2, 3], [1, 2, 3, 4, 5]]),
        ("words", [{0: 1}]),
        ("in", [1]),
        ("points", [{"one": 1}, {"pointer": "0x0000000000000000"}]),
        ("points", [{"one": 1}, {}]),
        ("d", [0.0, "x"]),
    ],
)
def test_what_is_not_plain_is_not_packed(there: Types, name: str, values: t.List[t.Any]) -> None:
    packed = there.codec(name).pack_many
    assert packed
    with pytest.raises(NOT_PLAIN):
        packed(values)


READ: t.List[t.Tuple[str, bytes, t.Any]] = [
    ("flag", b"\1", True),
    ("flag", b"\2", 2),
    ("s8", b"\xff", -1),
    ("be16", b"\0\x50", 80),
    ("be32", b"\xc0\0\2\1", 0xC0000201),
    ("d", struct.pack("<d", math.inf), "inf"),
    ("action", b"\1\0\0\0", "ACTION_DROP"),
    ("action", b"\7\0\0\0", 7),
    ("wide", b"\1" + bytes(7), 1),
    ("text", b"office\0\0", "office"),
    ("text", b"office\0x", "0x6f66666963650078"),
    ("text", b"ABCDEFGH", "0x4142434445464748"),
    ("text", b"\x1b[2J\0\0\0\0", "0x1b5b324a00000000"),
    ("text", b"\xff" + bytes(7), "0xff00000000000000"),
    ("mac", b"\2\0\0\0\0\x0f", "02:00:00:00:00:0f"),
    ("bytes", b"\1\2\3\4", [1, 2, 3, 4]),
    ("in", b"\xc0\0\2\1", "192.0.2.1"),
    ("in6", bytes(15) + b"\1", "::1"),
    ("either", b"\1\2\0\0", {"word": 0x201, "byte": 1, "other": 0x1020000}),
    ("points", bytes(8) + b"\1" + bytes(7), {"one": 0, "pointer": "0x0100000000000000"}),
    ("tagged", b"\xc0\0\2\1" * 3, {"addr": "192.0.2.1", "addrs": ["192.0.2.1", "192.0.2.1"]}),
    ("tagged_variable", b"\xc0\0\2\1", "192.0.2.1"),
    ("wrongly_tagged", b"\1", 1),
    ("nothing", b"", [{}, {}, {}]),
]


@pytest.mark.parametrize(("name", "data", "value"), READ)
def test_read(there: Types, name: str, data: bytes, value: t.Any) -> None:
    found = there.codec(name, order="little").decode(data)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("name", "data", "value"), [each for each in READ if each[:2] != ("flag", b"\2")])
def test_what_was_read_can_be_given(there: Types, name: str, data: bytes, value: t.Any) -> None:
    """So it is for a variable that is set in part: a host restores all of it after a reboot."""
    assert there.codec(name, order="little").encode(value) == data


def test_data_of_a_different_size_is_refused(there: Types) -> None:
    with pytest.raises(ValueRefused, match="u32: 3 B are not the 4 B of its type"):
        there.codec("u32").decode(bytes(3))


def test_only_what_is_named_is_in_the_mask(there: Types) -> None:
    one = there.codec("entry", order="little")

    def named(value: t.Any) -> str:
        return one.part(value)[1].hex(" ")

    nothing = " ".join(["00"] * one.size)
    assert named({}) == nothing

    def at(begin: int, text: str) -> str:
        bytes_ = nothing.split()
        bytes_[begin : begin + len(text.split())] = text.split()
        return " ".join(bytes_)

    layout = there.variables["entry"].layout
    places = {each.name: each.offset // 8 for each in layout.members}
    assert named({"action": "ACTION_DROP"}) == at(places["action"], "ff ff ff ff")
    assert named({"high": 1}) == at(places["high"], "ff ff")
    assert named({"bits": {"b": 1}}) == at(places["bits"], "f8")
    assert named({"list": [1]}) == at(places["list"], " ".join(["ff"] * 12))  # the rest is zero, as in C
    assert named({"list": {1: 1}}) == at(places["list"] + 4, "ff ff ff ff")


def test_sections_are_mappings_of_variables(there: Types) -> None:
    u8, be16 = (there.variables[each] for each in ("u8", "be16"))
    number = dict(there.types.sections())[".bss"]  # with the offsets that libbpf would fill in
    section = Layout("datasec", 8, (u8._replace(offset=0), be16._replace(offset=16)), number=number)
    one = codec(there.types, section, ".bss", order="little")
    assert one.decode(b"\7\0\0\x50" + bytes(4)) == {"u8": 7, "be16": 80}
    assert one.part({"be16": 80}) == (b"\0\0\0\x50" + bytes(4), b"\0\0\xff\xff" + bytes(4))
    assert refused(one, {"u9": 7}) == ".bss: 'u9' is not a member of .bss; it has u8, be16"


def test_all_members_of_a_key_are_wanted(there: Types) -> None:
    assert refused(there.codec("either", whole=True), {}) == (
        "either: {} lacks word, byte, other: all members of a key must be given"
    )
    assert there.codec("either", whole=True, order="little").encode({"word": 1}) == b"\1\0\0\0"
    given = {"action": 1, "name": "", "port": 1, "low": 1, "bits": {"a": 1, "b": 1}, "list": []}
    entry = there.codec("entry", whole=True)
    assert "lacks high: all" in refused(entry, given)
    assert "entry.bits: {'a': 1} lacks b: all" in refused(entry, {**given, "bits": {"a": 1}})
    assert len(entry.encode({**given, "high": 1})) == entry.size


FORMATTED: t.List[t.Tuple[str, t.Dict[str, str], t.Any, bytes]] = [
    ("u32", {"u32": "ipv4"}, "192.0.2.1", b"\xc0\0\2\1"),
    ("u32", {"u32": "network_order"}, 1, b"\0\0\0\1"),
    ("grid", {"grid": "ipv4"}, [["192.0.2.1"] * 3] * 2, b"\xc0\0\2\1" * 6),
    ("sixteen", {"sixteen": "ipv6"}, "::1", bytes(15) + b"\1"),
    ("sixteen", {"sixteen": "text"}, "office", b"office" + bytes(10)),
    ("sixteen", {"sixteen": "hex"}, f"0x{'01' * 16}", b"\1" * 16),
    ("mac", {"mac": "number"}, [1, 2, 3, 4, 5, 6], b"\1\2\3\4\5\6"),
    ("in", {"in": "number"}, {"s_addr": 1}, b"\0\0\0\1"),
    ("either", {"either.word": "ipv4", "elsewhere": "nonsense"}, None, b"\xc0\0\2\1"),
    ("text", {"text": "number"}, [1] * 8, b"\1" * 8),
    ("tagged_variable", {"tagged_variable": "number"}, 1, b"\1\0\0\0"),
]


@pytest.mark.parametrize(("name", "formats", "value", "data"), FORMATTED)
def test_formats(there: Types, name: str, formats: t.Dict[str, str], value: t.Any, data: bytes) -> None:
    one = there.codec(name, formats=formats, order="little")
    if value is None:
        assert one.decode(data)["word"] == "192.0.2.1"
    else:
        assert one.encode(value) == data
        assert one.decode(data) == value


@pytest.mark.parametrize(
    ("name", "formats", "says"),
    [
        (
            "u32",
            {"u32": "ip"},
            "u32: 'ip' is not a format; there are ipv4, ipv6, mac, hex, text, number, network_order",
        ),
        ("u8", {"u8": "ipv4"}, "u8: 'ipv4' is not a format of int of 1 B"),
        ("entries", {"entries.bits.c": "hex"}, "entries.bits: 'c' is not a member; there are a, b"),
        ("u32", {"u32.x": "hex"}, "u32: 'x' is not a member; there are none"),
        ("action", {"action": "network_order"}, "action: 'network_order' is not a format of int of 4 B"),
    ],
)
def test_senseless_formats_are_refused(there: Types, name: str, formats: t.Dict[str, str], says: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        there.codec(name, formats=formats)
    assert str(caught.value) == says


def test_without_btf() -> None:
    one = hex_codec(4)
    assert one.encode("0x01020304") == b"\1\2\3\4"
    assert one.decode(b"\1\2\3\4") == "0x01020304"
    assert refused(one, "0x0102") == "value: '0x0102' is not 4 B as 0x and hexadecimal digits; there is no BTF"
    assert refused(one, 5) == "value: 5 is not 4 B as 0x and hexadecimal digits; there is no BTF"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("entry", "struct entry"),
        ("entries", "struct entry[2]"),
        ("grid", "__u32[2][3]"),
        ("text", "char[8]"),
        ("be32", "__be32"),
        ("either", "union {…}"),
        ("action", "enum action"),
        ("u128", "unsigned __int128"),
    ],
)
def test_names_of_types(there: Types, name: str, text: str) -> None:
    number = next(dict(there.types.sections())[each] for each in dict(there.types.sections()) if each == ".bss")
    section = there.types.type(number)
    for index in range(section.members):
        variable = there.types.type(there.types.words(section.rest + 12 * index, 1)[0])
        if variable.name == name:
            assert there.types.type_name(variable.target) == text
            return
    raise AssertionError(name)


def btf(types: bytes, strings: bytes, mark: str = "<") -> bytes:
    return struct.pack(f"{mark}HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


@pytest.mark.parametrize("mark", "<>")
@pytest.mark.parametrize("order", ["little", "big"])
def test_enums_of_64_bits(mark: str, order: t.Any) -> None:
    """As clang 15 and later write them: BTF_KIND_ENUM64. The order of the BTF says nothing of that of the data."""
    one, two = (1, 5, 1), (5, 0xFFFFFFFE, 0xFFFFFFFF)  # name, low, high
    for signed, second in ((1, -2), (0, 2**64 - 2)):
        types = struct.pack(f"{mark}III", 0, signed << 31 | 19 << 24 | 2, 8) + struct.pack(f"{mark}6I", *one, *two)
        made = Layouts(btf(types, b"\0ONE\0TWO\0", mark))
        enum = codec(made, made.layout(1), order=order)
        assert enum.encode("ONE") == enum.encode((1 << 32) + 5) == ((1 << 32) + 5).to_bytes(8, order)
        assert enum.encode("TWO") == enum.encode(second) == second.to_bytes(8, order, signed=signed == 1)
        assert enum.decode(enum.encode("TWO")) == "TWO"
        assert enum.decode(enum.encode(7)) == 7


def test_a_struct_that_is_larger_by_its_members_is_damaged() -> None:
    integer = struct.pack("<IIII", 1, 1 << 24, 4, 32)
    for offset, bits in ((8, 0), (32, 0), (31, 2), (0, 33)):
        member = struct.pack("<III", 1, 1, bits << 24 | offset)
        types = integer + struct.pack("<III", 0, (1 if bits else 0) << 31 | 4 << 24 | 1, 4) + member
        made = Layouts(btf(types, b"\0x\0"))
        with pytest.raises(ValueError, match=r"BTF has a (member|bit field) x"):
            codec(made, made.layout(2))


def test_anonymous_members_cannot_fill_the_memory() -> None:
    """Each struct has the one before it twice, without a name."""
    types = (
        struct.pack("<IIII", 1, 1 << 24, 4, 32) + struct.pack("<III", 0, 4 << 24 | 1, 4) + struct.pack("<III", 1, 1, 0)
    )
    for number in range(2, 50):
        types += struct.pack("<III", 0, 4 << 24 | 2, 4) + struct.pack("<6I", 0, number, 0, 0, number, 0)
    with pytest.raises(ValueError, match="too many members"):
        Layouts(btf(types, b"\0x\0")).layout(50)


SENSELESS: t.List[t.Any] = [
    None,
    True,
    -1,
    1 << 70,
    1.5,
    math.nan,
    "",
    "x",
    "0x",
    "\udc80",
    "1.2.3.4",
    "::",
    [],
    [[]],
    {},
    {"a": {}},
    b"x",
]


def test_damaged_types_and_senseless_values_are_refused(there: Types) -> None:
    """Nothing but ValueError and ValueRefused may come out, whatever the bytes are."""
    chance = random.Random(18)
    good = there.types._data
    outcomes = set()
    for _each in range(500):
        data = bytearray(good)
        for _byte in range(chance.randint(1, 3)):
            data[chance.randrange(24, len(data) - 400)] = chance.choice([0, 1, 2, 4, 0xFF, chance.randrange(256)])
        try:
            types = Layouts(bytes(data))
            section = types.section(".bss")
            layouts: t.List[Layout] = [each.layout for each in section.members] if section else []
            assert all(each.type_name for each in variables(types))
            for layout in chance.sample(layouts, min(4, len(layouts))):
                assert all(holes(layout))
                one = key_codec(types, layout, chance.choice(["hash", "lpm_trie"]))
                for value in (*SENSELESS, one.decode(bytes(one.size)) if one.size < 4096 else None):
                    try:
                        assert len(one.encode(value)) == one.size
                        outcomes.add("encoded")
                    except ValueRefused:
                        outcomes.add("refused")
        except ValueError:
            outcomes.add("damaged")
    assert outcomes == {"encoded", "refused", "damaged"}
