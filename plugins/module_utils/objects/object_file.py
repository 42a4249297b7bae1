# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check and inspect an object file that was read once on the target. Loads nothing."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import os
import signal
import typing as t

from ..errors import FleetError
from ..libbpf.library import BpfError, Libbpf
from ..libbpf.objects import ObjectMap, ObjectProgram, open_object
from ..state.files import sha256
from ..state.records import records
from .elf import Elf, check_byte_order, read_elf
from .image import Image, ObjectFacts

_SHOWN = ("type", "key_size", "value_size", "max_entries")  # of a map's shape


class Inspected(t.NamedTuple):
    image: Image
    elf: Elf
    has_btf: bool

    def facts(self) -> t.Dict[str, t.Any]:
        """As the modules return them. Sizes in bytes. Without libbpf, programs and maps are not known."""
        found = self.image.facts
        return {
            "checksum": found.checksum,
            "file_type": self.elf.file_type,
            "license": self.elf.license,
            "has_btf": self.has_btf,
            "programs": [_program(each) for each in found.programs] if self.elf.native else None,
            "maps": [_map(each) for each in found.maps] if self.elf.native else None,
        }


def _program(program: ObjectProgram) -> t.Dict[str, t.Any]:
    return {"name": program.name, "section": program.section, "instructions": program.instructions}


def _map(found: ObjectMap) -> t.Dict[str, t.Any]:
    return {"name": found.name, **{key: getattr(found.shape, key) for key in _SHOWN}}


def inspect(lib: Libbpf, path: str, content: bytes) -> Inspected:
    """Raises FleetError if `content`, read from `path`, is not a BPF object that libbpf can open."""
    elf = read_elf(content, path)
    check_byte_order(elf, path)
    facts = ObjectFacts(path, sha256(content))
    if not any(record.deployed.checksum == facts.checksum for record in records()):  # else it was opened here before
        _open_in_child(lib, path, content)
    try:
        with open_object(lib, content, facts.name) as opened:
            facts = facts._replace(programs=opened.programs, maps=opened.maps)
            return Inspected(Image(facts, content), elf, opened.has_btf)
    except BpfError as error:
        words = error.log or error.strerror
        raise FleetError(
            f"{path} cannot be opened as a BPF object: libbpf says: {words}; build or copy it again"
        ) from error


def inspect_to_load(lib: Libbpf, path: str, content: bytes) -> Inspected:
    """Raises FleetError as inspect() does, and if the kernel of this host lacks what the object needs."""
    found = inspect(lib, path, content)
    check_kernel(found.elf, path)
    return found


def check_kernel(elf: Elf, path: str) -> None:
    """Raises FleetError if the kernel of this host lacks what libbpf needs to load the object."""
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        from .kernel_btf import check_kernel_btf  # here: a target compiles what it imports, and few hosts need this

        check_kernel_btf(elf, path)


def inspect_other(path: str, content: bytes) -> Inspected:
    """An object for hosts of the other byte order, which libbpf before 1.6 does not open. Raises FleetError."""
    elf = read_elf(content, path)
    return Inspected(Image(ObjectFacts(path, sha256(content)), content), elf, ".BTF" in elf.sections)


def _open_in_child(lib: Libbpf, path: str, content: bytes) -> None:
    """Open it in a child process: some damaged objects crash libbpf (1.1, for one)."""
    child = os.fork()
    if child == 0:
        try:
            with open_object(lib, content, "trial") as opened:
                _everything = opened.programs, opened.maps, opened.has_btf
        finally:
            os._exit(0)  # libbpf reports any error again, to the parent
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        raise FleetError(
            f"{path} is damaged: libbpf {lib.version} crashes when opening it"
            f" ({signal.Signals(os.WTERMSIG(status)).name}); build or copy it again"
        )
