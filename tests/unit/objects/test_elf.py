# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ELF header tells, and which files are refused. Layout: elf(5)."""

from __future__ import annotations

import struct
import sys
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import check_byte_order, read_elf

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
IDENT = {"<": b"\x7fELF\x02\x01\x01\0", ">": b"\x7fELF\x02\x02\x01\0"}
PROGBITS, SYMTAB, STRTAB, NOBITS = 1, 2, 3, 8
LICENSE: t.Mapping[str, t.Tuple[int, bytes]] = {
    "license": (PROGBITS, b"Dual BSD/GPL\0"),
    ".symtab": (SYMTAB, b"\0" * 24),
}


def elf(
    sections: t.Optional[t.Mapping[str, t.Tuple[int, bytes]]] = None,
    ident: t.Optional[bytes] = None,
    kind: int = 1,
    machine: int = 247,
    names: t.Optional[int] = None,
    order: str = "<",
) -> bytes:
    """A file of these sections (by default LICENSE), type and content by name; `names`: the index of their names.

    `order`: struct's sign for the byte order.
    """
    header, section = (struct.Struct(order + each.format[1:]) for each in (HEADER, SECTION))
    every = {"": (0, b""), **(LICENSE if sections is None else sections), ".strtab": (STRTAB, b"")}
    strings = b""
    at = {}
    for name in every:
        at[name] = len(strings)
        strings += name.encode() + b"\0"
    every[".strtab"] = (STRTAB, strings)
    body, headers = b"", b""
    for name, (section_type, content) in every.items():
        headers += section.pack(at[name], section_type, 0, 0, HEADER.size + len(body), len(content), 0, 0, 1, 0)
        body += b"" if section_type == NOBITS else content
    index = len(every) - 1 if names is None else names
    start = HEADER.size + len(body)
    counts = (HEADER.size, 0, 0, SECTION.size, len(every), index)
    return (
        header.pack((ident or IDENT[order]).ljust(16, b"\0"), kind, machine, 1, 0, 0, start, 0, *counts)
        + body
        + headers
    )


def test_a_good_object() -> None:
    found = read_elf(elf(), "count.bpf.o")
    assert found.file_type == "ELF 64-bit LSB relocatable, eBPF, version 1 (SYSV), not stripped"
    assert found.license == "Dual BSD/GPL"
    assert found.sections["license"] == b"Dual BSD/GPL\0"
    assert list(found.sections) == ["", "license", ".symtab", ".strtab"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (elf({}), "relocatable, eBPF, version 1 (SYSV), stripped"),
        (elf({".debug_info": (PROGBITS, b"x")}), "relocatable, eBPF, version 1 (SYSV), with debug_info, stripped"),
        (elf(kind=2), "executable, eBPF, version 1 (SYSV), not stripped"),
        (elf(kind=9), "object, eBPF, version 1 (SYSV), not stripped"),
        (elf(ident=b"\x7fELF\x02\x01\x01\x03"), "relocatable, eBPF, version 1 (OS ABI 3), not stripped"),
    ],
)
def test_types_are_named_as_file_names_them(image: bytes, words: str) -> None:
    assert read_elf(image, "count.bpf.o").file_type == f"ELF 64-bit LSB {words}"


def test_license() -> None:
    assert read_elf(elf({}), "count.bpf.o").license is None
    assert read_elf(elf({"license": (PROGBITS, b"")}), "count.bpf.o").license is None
    assert read_elf(elf({"license": (PROGBITS, b"G\xffL\0")}), "count.bpf.o").license == "G\ufffdL"


def test_a_section_without_content_may_be_larger_than_the_file() -> None:
    found = read_elf(elf({".bss": (NOBITS, b"\0" * 100_000)}), "count.bpf.o")
    assert found.sections[".bss"] == b""


def patched(at: int, layout: str, value: int) -> bytes:
    image = bytearray(elf())
    struct.pack_into(layout, image, at, value)
    return bytes(image)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", "is not an ELF file"),
        (b"#!/bin/sh\n" * 20, "is not an ELF file"),
        (elf()[:4], "is truncated: 4 bytes are too few for an ELF header"),
        (elf()[: HEADER.size - 1], "is truncated: 63 bytes"),
        (elf(ident=b"\x7fELF\x01\x01\x01\0"), "is not a 64-bit ELF file, as BPF objects are"),
        (elf(ident=b"\x7fELF\x02\x03\x01\0"), "is not a 64-bit ELF file, as BPF objects are"),
        (elf(machine=22, order=">"), "is not a BPF object: it is an ELF file for machine 22"),
        (elf(machine=62), "is not a BPF object: it is an ELF file for machine 62"),
        (elf()[: HEADER.size], "its ELF sections reach past its end"),
        (elf()[:-1], "its ELF sections reach past its end"),
        (elf(names=4), "its ELF sections reach past its end"),
        (patched(40, "<Q", 1 << 63), "its ELF sections reach past its end"),  # the offset of the section headers
        (patched(58, "<H", 40), "its ELF sections reach past its end"),  # the size of a section header
        (patched(58, "<H", 0), "its ELF sections reach past its end"),
        (patched(60, "<H", 0), "its ELF sections reach past its end"),  # their number
        (patched(len(elf()) - SECTION.size + 32, "<Q", 1 << 40), "its ELF sections reach past its end"),  # a size
    ],
)
def test_refused_files(image: bytes, words: str) -> None:
    with pytest.raises(FleetError) as caught:
        read_elf(image, "/opt/count.bpf.o")
    assert str(caught.value).startswith("/opt/count.bpf.o ") and words in str(caught.value)


def test_the_other_byte_order(monkeypatch: pytest.MonkeyPatch) -> None:
    big, little = (read_elf(elf(order=order), "/opt/count.bpf.o") for order in "><")
    assert big.file_type == "ELF 64-bit MSB relocatable, eBPF, version 1 (SYSV), not stripped"
    assert (big.byte_order, little.byte_order) == ("big", "little")
    assert big.sections == little.sections
    for wrong, host, target in ((big, "little", "bpfel"), (little, "big", "bpfeb")):
        monkeypatch.setattr(sys, "byteorder", host)
        with pytest.raises(FleetError) as caught:
            check_byte_order(wrong, "/opt/count.bpf.o")
        message = str(caught.value)
        assert message.startswith(f"/opt/count.bpf.o is {wrong.byte_order}-endian eBPF, and this host (")
        assert f"is {host}-endian: give it an object compiled with clang -target {target}," in message
        assert f"byte_order: {host}" in message and "xdp_counter_build: controller" in message
        check_byte_order(big if host == "big" else little, "/opt/count.bpf.o")
