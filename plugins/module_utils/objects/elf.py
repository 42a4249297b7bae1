# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the ELF headers of an object file before libbpf opens it. Layout: elf(5)."""

from __future__ import annotations

import os
import struct
import sys
import typing as t

from ..errors import FleetError

EM_BPF = 247
SHT_SYMTAB = 2
SHT_NOBITS = 8

# In the byte order of this host, which the kernel needs.
_HEADER = struct.Struct("=16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("=IIQQQQIIQQ")
_ORDERS = {"little": (b"\x02\x01", "LSB", "bpfel"), "big": (b"\x02\x02", "MSB", "bpfeb")}
_TYPES = {1: "relocatable", 2: "executable", 3: "shared object"}


class Elf(t.NamedTuple):
    """`file_type` is worded as by file(1); `sections` has the contents by name."""

    file_type: str
    sections: t.Dict[str, bytes]

    @property
    def license(self) -> t.Optional[str]:
        text = self.sections.get("license")
        return text.rstrip(b"\0").decode(errors="replace") if text else None


def read_elf(image: bytes, path: str) -> Elf:
    """Raises FleetError if `image`, read from `path`, is not a complete BPF object in the byte order of this host."""
    if image[:4] != b"\x7fELF":
        raise FleetError(f"{path} is not an ELF file; give the object that clang -target bpf -c wrote")
    if len(image) < _HEADER.size:
        raise FleetError(
            f"{path} is truncated: {len(image)} bytes are too few for an ELF header; build or copy it again"
        )
    wanted, order, target = _ORDERS[sys.byteorder]
    if image[4:6] != wanted:
        raise FleetError(
            f"{path} is not a 64-bit {sys.byteorder}-endian ELF file, as this host ({os.uname().machine}) needs it;"
            f" build it on a host of that kind, or with clang -target {target}"
        )
    ident, kind, machine, version, _e, _p, offset, _f, _s, _ps, _pn, size, count, names = _HEADER.unpack_from(image)
    if machine != EM_BPF:
        raise FleetError(
            f"{path} is not a BPF object: it is an ELF file for machine {machine}, not {EM_BPF} (BPF);"
            " build it with clang -target bpf"
        )
    headers = []
    if size == _SECTION.size and offset + count * size <= len(image):
        headers = [_SECTION.unpack_from(image, offset + i * size) for i in range(count)]
    if not headers or names >= count or any(h[1] != SHT_NOBITS and h[4] + h[5] > len(image) for h in headers):
        raise FleetError(f"{path} is truncated or damaged: its ELF sections reach past its end; build or copy it again")

    def content(header: t.Tuple[int, ...]) -> bytes:
        return b"" if header[1] == SHT_NOBITS else image[header[4] : header[4] + header[5]]

    strings = content(headers[names])
    sections = {strings[h[0] : strings.find(b"\0", h[0])].decode(errors="replace"): content(h) for h in headers}
    words = [
        f"ELF 64-bit {order} {_TYPES.get(kind, 'object')}",
        "eBPF",
        f"version {version} ({'SYSV' if ident[7] == 0 else f'OS ABI {ident[7]}'})",
    ]
    if ".debug_info" in sections:
        words.append("with debug_info")
    stripped = not any(h[1] == SHT_SYMTAB for h in headers)
    words.append("stripped" if stripped else "not stripped")
    return Elf(", ".join(words), sections)
