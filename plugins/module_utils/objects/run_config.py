# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a program wants to stand in a dispatcher, as its source says: XDP_RUN_CONFIG of libxdp's xdp_helpers.h. Pure.

A struct named as the program, with a _ before it, in the section .xdp_run_config: its members are pointers to arrays,
and the length of an array is the value.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..libbpf.btf import Btf, read_btf
from ..sharing.config import ACTIONS, DEFAULT_ACTIONS, DEFAULT_PRIORITY
from .elf import read_elf
from .image import Image

_SECTION = ".xdp_run_config"


class RunConfig(t.NamedTuple):
    priority: int = DEFAULT_PRIORITY
    actions: t.Tuple[str, ...] = DEFAULT_ACTIONS


def has_btf(image: Image) -> bool:
    return ".BTF" in read_elf(image.content, image.facts.path).sections


def run_config(image: Image, program: str) -> RunConfig:
    """What the object says of a program; libxdp's defaults where it says nothing."""
    elf = read_elf(image.content, image.facts.path)
    btf = read_btf(elf.sections.get(".BTF", b"")) if _SECTION in elf.sections else None
    if btf is None:
        return RunConfig()
    try:
        members = dict(_members(btf, f"_{program}"))
    except ValueError:  # damaged: the loading says so
        return RunConfig()
    actions = tuple(each for each in ACTIONS if members.get(f"XDP_{each.upper()}"))
    return RunConfig(members.get("priority", DEFAULT_PRIORITY), actions or DEFAULT_ACTIONS)


def _members(btf: Btf, name: str) -> t.Iterator[t.Tuple[str, int]]:
    """The values in a variable of that kind, by name: those of __uint()."""
    target = next((each.target for each in btf.types if (each.kind, each.name) == ("var", name)), 0)
    found = btf.types[target]
    for number in range(found.members if found.kind == "struct" else 0):
        text, kind, _offset = btf.words(found.rest + 12 * number, 3)
        pointer = btf.types[kind]
        array = btf.types[pointer.target]
        if (pointer.kind, array.kind) == ("ptr", "array"):
            yield btf.string(text), btf.words(array.rest, 3)[2]
