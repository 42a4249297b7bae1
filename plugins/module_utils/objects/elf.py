# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the ELF headers of an object file before libbpf opens it. Layout: elf(5)."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import os
import struct
import sys
import typing as t

from ..errors import FleetError

EM_BPF = 247
SHT_SYMTAB = 2
SHT_NOBITS = 8

_HEADER = "16sHHIQQQIHHHHHH"
_HEADER_SIZE = struct.calcsize(f"={_HEADER}")
_SECTION = "IIQQQQIIQQ"
_SECTION_SIZE = struct.calcsize(f"={_SECTION}")
_64_BIT = 2
# By the header's number: the byte order as Python names it, as file(1) does, and as struct does.
_ORDERS = {1: ("little", "LSB", "<"), 2: ("big", "MSB", ">")}
TARGETS = {"little": "bpfel", "big": "bpfeb"}  # clang's
_TYPES = {1: "relocatable", 2: "executable", 3: "shared object"}


class Elf(t.NamedTuple):
    """`file_type` is worded as by file(1); `sections` has the contents by name. `byte_order`: little or big."""

    file_type: str
    sections: t.Dict[str, bytes]
    byte_order: str

    @property
    def native(self) -> bool:
        """It is in the byte order of this host, which the kernel and libbpf need."""
        return self.byte_order == sys.byteorder

    @property
    def license(self) -> t.Optional[str]:
        text = self.sections.get("license")
        return text.rstrip(b"\0").decode(errors="replace") if text else None


def read_elf(image: bytes, path: str) -> Elf:
    """Raises FleetError if `image`, read from `path`, is not a complete BPF object, in whichever byte order."""
    if image[:4] != b"\x7fELF":
        raise FleetError(f"{path} is not an ELF file; give the object that clang -target bpf -c wrote")
    if len(image) < _HEADER_SIZE:
        raise FleetError(
            f"{path} is truncated: {len(image)} bytes are too few for an ELF header; build or copy it again"
        )
    if image[4] != _64_BIT or image[5] not in _ORDERS:
        raise FleetError(f"{path} is not a 64-bit ELF file, as BPF objects are; build it with clang -target bpf")
    byte_order, shown, prefix = _ORDERS[image[5]]
    ident, kind, machine, version, _e, _p, offset, _f, _s, _ps, _pn, size, count, names = struct.unpack_from(
        prefix + _HEADER, image
    )
    if machine != EM_BPF:
        raise FleetError(
            f"{path} is not a BPF object: it is an ELF file for machine {machine}, not {EM_BPF} (BPF);"
            " build it with clang -target bpf"
        )
    headers = []
    if size == _SECTION_SIZE and offset + count * size <= len(image):
        headers = [struct.unpack_from(prefix + _SECTION, image, offset + i * size) for i in range(count)]
    if not headers or names >= count or any(h[1] != SHT_NOBITS and h[4] + h[5] > len(image) for h in headers):
        raise FleetError(f"{path} is truncated or damaged: its ELF sections reach past its end; build or copy it again")

    def content(header: t.Tuple[int, ...]) -> bytes:
        return b"" if header[1] == SHT_NOBITS else image[header[4] : header[4] + header[5]]

    strings = content(headers[names])
    sections = {strings[h[0] : strings.find(b"\0", h[0])].decode(errors="replace"): content(h) for h in headers}
    words = [
        f"ELF 64-bit {shown} {_TYPES.get(kind, 'object')}",
        "eBPF",
        f"version {version} ({'SYSV' if ident[7] == 0 else f'OS ABI {ident[7]}'})",
    ]
    if ".debug_info" in sections:
        words.append("with debug_info")
    stripped = not any(h[1] == SHT_SYMTAB for h in headers)
    words.append("stripped" if stripped else "not stripped")
    return Elf(", ".join(words), sections, byte_order)


def check_byte_order(elf: Elf, path: str) -> None:
    """Raises FleetError if the kernel of this host cannot run the object, as it is for the other byte order."""
    if not elf.native:
        raise FleetError(
            f"{path} is {elf.byte_order}-endian eBPF, and this host ({os.uname().machine}) is {sys.byteorder}-endian:"
            f" give it an object compiled with clang -target {TARGETS[sys.byteorder]}, as ebpf.fleet.bpf_object does"
            f" with byte_order: {sys.byteorder}, and the roles xdp and xdp_counter with xdp_build or"
            " xdp_counter_build: controller or target"
        )
