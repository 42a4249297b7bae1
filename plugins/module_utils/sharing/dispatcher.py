# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dispatcher on an interface, and the programs in it: from its configuration, and from the pins of libxdp.

libxdp pins each program and its link below /sys/fs/bpf/xdp/dispatch-IFINDEX-ID, where ID is that of the dispatcher.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import os
import typing as t

from ..libbpf import info, maps
from ..libbpf.info import ProgramInfo
from ..libbpf.library import BpfError, Libbpf
from ..state.places import BPFFS
from .code import MAIN
from .config import Config, Slot, Unreadable, unpack

FOLDER = f"{BPFFS}/xdp"  # libxdp's, and what it locks
BPFMAN = "/run/bpfman"


class Component(t.NamedTuple):
    """A program in a dispatcher."""

    slot: Slot
    program: ProgramInfo

    @property
    def order(self) -> t.Any:
        """Programs of the same priority have an order too: cmp_xdp_programs() of libxdp."""
        program = self.program
        return self.slot.priority, program.name.encode(), bytes.fromhex(program.tag), program.load_time

    def data(self, number: int) -> t.Dict[str, t.Any]:
        """`number`: of its slot, from 0 on."""
        return {
            "slot": number,
            "program_id": self.program.id,
            "name": self.program.name,
            "tag": self.program.tag,
            "priority": self.slot.priority,
            "chain_call_actions": list(self.slot.actions),
        }

    def __str__(self) -> str:
        return f"{self.program.id} '{self.program.name}' (tag {self.program.tag}, priority {self.slot.priority})"


class Dispatcher(t.NamedTuple):
    """`trouble`: why its programs are not known, or nothing can be added to it; then it is nobody's to change.

    `version` 0: it is not known.
    """

    id: int
    version: int = 0
    frags: bool = False
    components: t.Tuple[Component, ...] = ()
    trouble: str = ""

    def slot_of(self, program_ids: t.Container[int]) -> t.Optional[int]:
        """The number of the slot with one of these programs."""
        every = enumerate(self.components)
        return next((number for number, each in every if each.program.id in program_ids), None)

    def data(self) -> t.List[t.Dict[str, t.Any]]:
        return [each.data(number) for number, each in enumerate(self.components)]


def folder_of(ifindex: int, dispatcher: int) -> str:
    return f"{FOLDER}/dispatch-{ifindex}-{dispatcher}"


def program_pin(ifindex: int, dispatcher: int, slot: int) -> str:
    return f"{folder_of(ifindex, dispatcher)}/prog{slot}-prog"


def read_dispatcher(lib: Libbpf, ifindex: int, program: ProgramInfo, by_link: bool) -> t.Optional[Dispatcher]:
    """What a program on an interface is, if it is a dispatcher; else None. by_link: a BPF link holds it."""
    if program.name != MAIN:
        return None
    found = Dispatcher(program.id)
    try:
        config = _config(lib, program)
    except Unreadable as error:
        return found._replace(trouble=str(error))
    if config is None:  # it disappeared meanwhile, or is a program of that name
        return found._replace(trouble="its map does not have the configuration of a libxdp dispatcher")
    found = found._replace(version=config.version, frags=config.frags)
    if by_link:
        return found._replace(trouble=_of_a_link())
    components = []
    for number, slot in enumerate(config.slots):
        about = info.read_pin(lib, program_pin(ifindex, program.id, number), "prog", info.program_info)
        if about is None:
            pinned = folder_of(ifindex, program.id)
            return found._replace(trouble=f"the program in its slot {number} is not pinned in {pinned}, as libxdp does")
        components.append(Component(slot, about))
    return found._replace(components=tuple(components), trouble=_too_old(config.version))


def _config(lib: Libbpf, program: ProgramInfo) -> t.Optional[Config]:
    if len(program.map_ids) != 1:
        return None
    try:
        with lib.map_by_id(program.map_ids[0]) as fd:
            shape = info.map_info(lib, fd).shape
            if (shape.type, shape.max_entries) != ("array", 1):
                return None
            return unpack(maps.lookup(lib, fd, bytes(4), shape.value_size))
    except BpfError:
        return None


def _of_a_link() -> str:
    whose = "bpfman's" if os.path.isdir(BPFMAN) else "one such as bpfman's"
    return f"it is {whose}, attached by a link, which only its owner can add programs to"


def _too_old(version: int) -> str:
    return "it is of version 1, of libxdp before 1.3, to which nothing can be added" if version == 1 else ""
