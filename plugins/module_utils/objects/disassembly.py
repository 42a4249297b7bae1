# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of an object file as text, with the source lines that the object itself contains.

llvm-objdump -S reads them from the files that the object's line table names, whichever those are: run as root, it would
quote /etc/shadow for whoever made the object. Clang also writes them into the object: .BTF.ext in the kernel's btf.rst.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
import typing as t

from ..errors import FleetError
from ..libbpf.btf import read_btf
from .elf import read_elf
from .toolchain import Run

_HEADER = struct.Struct("=HBBIIIII")
_PAIR = struct.Struct("=II")
_LINE = struct.Struct("=IIII")  # struct bpf_line_info
_INSTRUCTION = 8  # bytes

Place = t.Tuple[str, int]  # file and line
Lines = t.Dict[str, t.Dict[int, t.Tuple[Place, str]]]  # by section and number of the instruction; 0 is no line


def disassemble(run: Run, tool: str, path: str, content: bytes) -> t.List[str]:
    """`content`, read from `path`, as llvm-objdump -S prints it. Raises FleetError with the tool's own words."""
    with tempfile.TemporaryDirectory(prefix="ebpf_fleet") as folder:
        with open(os.path.join(folder, "object"), "wb") as file:
            file.write(content)
        code, out, err = run([tool, "-d", "object"], cwd=folder, errors="replace")
    if code:
        raise FleetError(f"{tool} -d {path} failed: {(err or out).strip()}")
    heading, _colon, listing = out.strip("\n").partition(":")
    lines = f"{os.path.basename(path) if heading == 'object' else heading}:{listing}".splitlines()
    return list(with_sources(lines, sources(content, path)))


def with_sources(listing: t.Iterable[str], every: Lines) -> t.Iterator[str]:
    """Each source line before the first instruction that was made of it."""
    shown: t.Optional[Place] = None
    here: t.Dict[int, t.Tuple[Place, str]] = {}
    for line in listing:
        section = re.match(r"Disassembly of section (.*):$", line)
        number = re.match(r" *(\d+):\t", line)
        if section:
            here = every.get(section.group(1), {})
        elif number and int(number.group(1)) in here:
            place, text = here[int(number.group(1))]
            if place != shown and place[1]:
                yield f"; {text}"
            shown = place
        yield line


def sources(content: bytes, path: str) -> Lines:
    """Empty if the object does not contain them."""
    sections = read_elf(content, path).sections
    btf = read_btf(sections.get(".BTF", b""))
    found: Lines = {}
    if not btf:
        return found
    try:
        for section, (offset, file, text, line) in _records(sections.get(".BTF.ext", b"")):
            place = btf.string(file), line >> 10  # the rest is the column
            found.setdefault(btf.string(section), {})[offset // _INSTRUCTION] = place, btf.string(text)
    except struct.error:  # truncated
        pass
    return found


def _records(data: bytes) -> t.Iterator[t.Tuple[int, t.Tuple[int, ...]]]:
    """The name of the section, and a record of it."""
    _magic, _version, _flags, header, _functions, _length, lines, length = _HEADER.unpack_from(data)
    at, end = header + lines + 4, header + lines + length
    (size,) = struct.unpack_from("=I", data, at - 4)
    while at < end and size >= _LINE.size:
        section, count = _PAIR.unpack_from(data, at)
        at += _PAIR.size
        for _record in range(count):
            yield section, _LINE.unpack_from(data, at)
            at += size
