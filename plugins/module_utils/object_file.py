# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An object file on the target: read once, checked, and asked what it holds. Loads nothing."""

from __future__ import annotations

import typing as t

from .elf import Elf, read_elf
from .errors import FleetError
from .files import sha256
from .image import Image, ObjectFacts
from .libbpf import BpfError, Libbpf
from .libbpf.objects import open_object


class Inspected(t.NamedTuple):
    image: Image
    elf: Elf
    has_btf: bool

    def facts(self) -> t.Dict[str, t.Any]:
        """As the modules return them. Sizes in bytes."""
        found = self.image.facts
        return {
            "checksum": found.checksum,
            "file_type": self.elf.file_type,
            "license": self.elf.license,
            "has_btf": self.has_btf,
            "programs": [
                {"name": program.name, "section": program.section, "instructions": program.instructions}
                for program in found.programs
            ],
            "maps": [
                {key: value for key, value in {"name": each.name, **each.shape._asdict()}.items() if key != "flags"}
                for each in found.maps
            ],
        }


def inspect(lib: Libbpf, path: str, content: bytes) -> Inspected:
    """Raises FleetError where `content`, read from `path`, is no BPF object that libbpf can open."""
    elf = read_elf(content, path)
    try:
        facts = ObjectFacts(path, sha256(content))
        with open_object(lib, content, facts.name) as opened:
            facts = facts._replace(programs=opened.programs, maps=opened.maps)
            return Inspected(Image(facts, content), elf, opened.has_btf)
    except BpfError as error:
        words = error.log or error.strerror
        raise FleetError(
            f"{path} cannot be opened as a BPF object: libbpf says: {words}; build or copy it again"
        ) from error
