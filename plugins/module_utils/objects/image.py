# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of an object file, and the facts about it."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import os
import typing as t

from ..errors import FleetError
from ..libbpf.kinds import RDONLY_PROG
from ..libbpf.objects import ObjectMap, ObjectProgram
from ..state.places import map_pin, unescape
from .elf import read_elf


class ObjectFacts(t.NamedTuple):
    """What an object file contains. checksum None: it does not exist yet (check mode), and nothing else is known."""

    path: str
    checksum: t.Optional[str]
    programs: t.Tuple[ObjectProgram, ...] = ()
    maps: t.Tuple[ObjectMap, ...] = ()

    @property
    def name(self) -> str:
        """The name that libbpf gets for it, and uses in the names of the maps of global data."""
        return os.path.basename(self.path).split(".")[0] or "object"

    def xdp_program(self, name: t.Optional[str]) -> str:
        """The program of that name, or else the only one. Raises FleetError if an interface cannot run it."""
        usable = [p for p in self.programs if p.xdp and p.attachable]
        found = [p.name for p in usable if (p.name == name if name else p.autoload)]
        if len(found) == 1:
            return found[0]
        listed = ", ".join(p.name for p in usable)
        named = next((p for p in self.programs if p.xdp and p.name == name), None)
        if named:
            raise FleetError(
                f"{self.path}: program {named.name} is in section {named.section}: it is for the entries of a map, and"
                f" the kernel does not attach it to an interface. Programs for an interface: {listed or 'none'}"
            )
        if not usable:
            others = ", ".join(f"{p.name} (section {p.section})" for p in self.programs) or "none"
            raise FleetError(
                f'{self.path} has no XDP program for an interface; its programs: {others}. Put it into section "xdp"'
                f' with SEC("xdp")'
            )
        if name:
            raise FleetError(f"{self.path} has no XDP program {name[:40]!r}; it has {listed}")
        if not found:
            raise FleetError(f"{self.path} has only XDP programs that must be selected by name: {listed}; set program")
        raise FleetError(f"{self.path} has several XDP programs: {listed}; say which one with program: NAME")

    @property
    def all_maps(self) -> t.Dict[str, ObjectMap]:
        """By the pin that they have or would have."""
        return {map_pin(each.name): each for each in self.maps}

    @property
    def shared_maps(self) -> t.Dict[str, ObjectMap]:
        """The maps that outlive the program, by pin."""
        # .rodata and .kconfig are frozen, and never shared between two loads.
        return {pin: m for pin, m in self.all_maps.items() if not (m.internal and m.shape.flags & RDONLY_PROG)}

    def takes_frags(self, program: str) -> bool:
        """Whether it takes packets of several buffers."""
        return any(each.name == program and each.section.startswith("xdp.frags") for each in self.programs)

    def loaded_with(self, program: str) -> t.Set[str]:
        """The programs to load: only this one; if there is a map for tail calls, also all that they may call."""
        if not any(m.shape.type == "prog_array" for m in self.maps):
            return {program}
        return {program} | {p.name for p in self.programs if p.xdp and p.autoload}


class Image(t.NamedTuple):
    """An object: `content` is what is loaded; the checksum in `facts` is of exactly this content."""

    facts: ObjectFacts = ObjectFacts("", None)
    content: bytes = b""

    def first_value(self, pin: str) -> bytes:
        """What the section of global data with that pin begins with, also of constants; empty for all other maps."""
        found = self.facts.all_maps[pin]
        if not found.internal:
            return b""
        section = read_elf(self.content, self.facts.path).sections.get(unescape(pin), b"")
        return section.ljust(found.shape.value_size, b"\0")  # that of .bss is empty
