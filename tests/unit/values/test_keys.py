# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys: prefixes of LPM tries against Python's ipaddress, and padding. The BTF is clang's."""

from __future__ import annotations

import ipaddress
import struct
import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layout, Layouts
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf
from ansible_collections.ebpf.fleet.plugins.module_utils.values.keys import holes, key_codec
from ansible_collections.ebpf.fleet.plugins.module_utils.values.refused import ValueRefused
from ansible_collections.ebpf.fleet.plugins.module_utils.values.scalars import Codec
from hypothesis import given, settings
from hypothesis import strategies as some

SOURCE = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
struct in6_addr { u8 bytes[16]; };
struct { u32 prefixlen; u32 addr; } v4;
struct { u32 bits; u8 data[4]; } v4_bytes;
struct { u32 prefixlen; u8 data[16]; } v6;
struct { u32 prefixlen; struct in6_addr addr; } v6_struct;
struct { u32 prefixlen; u32 interface; u8 addr[4]; } both;
struct { u32 prefixlen; u16 a, b; } halves;
struct { u32 prefixlen; char host[16]; } host;
u32 number;
struct { u32 a; u16 b; u8 c; } __attribute__((aligned(4))) tail;
struct { u8 a; u64 b; } middle;
struct { u32 a; u16 b; u16 c; } full;
struct { u32 a; u16 b; u8 c; } __attribute__((packed)) packed;
struct { u8 a : 3; u8 b : 4; } fields;
struct { u32 a; struct { u8 b; u16 c; } in; union { u16 d; u8 e; }; } nested;
struct { u8 a; u16 b; } list[2];
"""


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Layouts:
    made = tmp_path_factory.mktemp("keys") / "it.o"
    subprocess.run(f"clang -target bpf -g -O2 -c -x c - -o {made}".split(), input=SOURCE, text=True, check=True)
    return Layouts(read_elf(made.read_bytes(), "it.o").sections[".BTF"])


def layout_of(types: Layouts, name: str) -> Layout:
    section = types.section(".bss")
    assert section
    return next(each.layout for each in section.members if each.name == name)


def key(types: Layouts, name: str, order: str = "little") -> Codec:
    return key_codec(types, layout_of(types, name), "lpm_trie", order=order)


@pytest.mark.parametrize(
    ("name", "text", "data", "read"),
    [
        ("v4", "192.0.2.0/24", "18000000c0000200", None),
        ("v4", "192.0.2.77/24", "18000000c0000200", "192.0.2.0/24"),
        ("v4", "192.0.2.77", "20000000c000024d", "192.0.2.77/32"),
        ("v4", "255.255.255.255/0", "0000000000000000", "0.0.0.0/0"),
        ("v4", "255.255.255.255/1", "0100000080000000", "128.0.0.0/1"),
        ("v4_bytes", "192.0.2.0/24", "18000000c0000200", None),
        ("v6", "2001:db8::/32", f"2000000020010db8{'00' * 12}", None),
        ("v6", "::1", f"80000000{'00' * 15}01", "::1/128"),
        ("v6_struct", "2001:db8::1/32", f"2000000020010db8{'00' * 12}", "2001:db8::/32"),
    ],
)
def test_prefixes(types: Layouts, name: str, text: str, data: str, read: t.Optional[str]) -> None:
    one = key(types, name)
    assert one.encode(text).hex() == data
    assert one.part(text) == (one.encode(text), b"\xff" * one.size)
    assert one.decode(one.encode(text)) == (read or text)
    big = key(types, name, "big")
    assert big.encode(text)[:4] == one.encode(text)[:4][::-1] and big.encode(text)[4:] == one.encode(text)[4:]


@settings(deadline=None)
@given(address=some.integers(0, 2**32 - 1), bits=some.integers(0, 32))
def test_prefixes_are_those_of_ipaddress(types: Layouts, address: int, bits: int) -> None:
    one = key(types, "v4")
    given_ = f"{ipaddress.IPv4Address(address)}/{bits}"
    wanted = ipaddress.IPv4Network(given_, strict=False)
    assert one.encode(given_) == struct.pack("<I", bits) + wanted.network_address.packed
    assert one.decode(one.encode(given_)) == str(wanted)
    dirty = struct.pack("<I", bits) + address.to_bytes(4, "big")  # as the trie gives it back
    assert one.canonical(dirty) == one.encode(given_)
    assert one.encode({"prefixlen": bits, "addr": str(ipaddress.IPv4Address(address))}) == one.encode(given_)


@settings(deadline=None)
@given(address=some.integers(0, 2**128 - 1), bits=some.integers(0, 128))
def test_ipv6_prefixes_are_those_of_ipaddress(types: Layouts, address: int, bits: int) -> None:
    one = key(types, "v6")
    given_ = f"{ipaddress.IPv6Address(address)}/{bits}"
    wanted = ipaddress.IPv6Network(given_, strict=False)
    assert one.encode(given_) == struct.pack("<I", bits) + wanted.network_address.packed
    assert ipaddress.IPv6Network(one.decode(one.encode(given_))) == wanted


@pytest.mark.parametrize(
    "value",
    [
        *("", "x", "/24", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/ 24", "192.0.2.0/024"),
        *("192.0.2/24", "192.0.2.0/24/24", "2001:db8::/32", "1.2.3.4\0", "\udc80"),
    ],
)
def test_what_is_no_prefix_is_refused(types: Layouts, value: str) -> None:
    with pytest.raises(ValueRefused, match=r"^key: '.*' is not a prefix, such as 192.0.2.0/24$"):
        key(types, "v4").encode(value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("v4", 5, "key: 5 is not a mapping with members of struct {…}: prefixlen, addr"),
        ("v4", {"addr": "192.0.2.1"}, "key: {'addr': '192.0.2.1'} lacks prefixlen: all members of a key must be given"),
        ("v4", {"prefixlen": 33, "addr": 0}, "has a prefix length of 33, and its address 32 bits"),
        ("both", "192.0.2.0/24", "is not a mapping with members of struct {…}: prefixlen, interface, addr"),
        ("halves", "192.0.2.0/24", "is not a mapping"),
        ("host", "192.0.2.0/24", "is not a mapping"),
    ],
)
def test_other_keys_of_tries_are_given_by_member(types: Layouts, name: str, value: t.Any, says: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        key(types, name).encode(value)
    assert says in str(caught.value)


def test_host_bits_behind_other_members_are_zeroed_too(types: Layouts) -> None:
    one = key(types, "both")
    data = one.encode({"prefixlen": 56, "interface": 3, "addr": "192.0.2.77"})
    assert data == struct.pack("<II", 56, 3) + b"\xc0\0\2\0"
    assert one.canonical(struct.pack("<II", 56, 3) + b"\xc0\0\2\x77") == data
    assert one.decode(data) == {"prefixlen": 56, "interface": 3, "addr": [192, 0, 2, 0]}


def test_only_tries_have_prefixes(types: Layouts) -> None:
    one = key_codec(types, layout_of(types, "v4"), "hash", order="little")
    assert one.decode(one.encode({"prefixlen": 1, "addr": "192.0.2.1"})) == {"prefixlen": 1, "addr": 0x010200C0}
    assert key_codec(types, layout_of(types, "number"), "lpm_trie", order="little").encode(1) == b"\1\0\0\0"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("number", []),
        ("full", []),
        ("packed", []),
        ("tail", ["1 B from byte 7, after c"]),
        ("middle", ["7 B from byte 1, after a"]),
        ("fields", ["1 bit(s) from bit 7 of byte 0, after b"]),
        ("nested", ["2 B from byte 10, after d", "in: 1 B from byte 1, after b"]),
        ("list", ["in each element: 1 B from byte 1, after a"]),
    ],
)
def test_holes(types: Layouts, name: str, says: t.List[str]) -> None:
    assert list(holes(layout_of(types, name))) == says
