# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task declares of a program beside its object: variables, and entries of maps; encoded, as values."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import json
import typing as t

from ..entries.difference import Declared, masked
from ..errors import FleetError
from ..libbpf.info import MapInfo
from ..libbpf.kinds import MMAPABLE
from ..state.places import slot_pin, unescape

if t.TYPE_CHECKING:
    from ..entries.typed import Typed


class Setting(t.NamedTuple):
    """A variable in the section of global data with that pin, its offset there, and its bytes.

    `mask`: the bits that the task names. `value`: as data; where only a part is named, with the object's other members.
    `decode` makes such data of bytes.
    """

    name: str
    pin: str
    offset: int
    data: bytes
    mask: bytes
    value: t.Any
    constant: bool
    decode: t.Callable[[bytes], t.Any]

    def __str__(self) -> str:
        return f"{self.name}={self.text}"

    @property
    def text(self) -> str:
        return json.dumps(self.value)

    def on(self, before: bytes) -> bytes:
        return masked(before, self.data, self.mask)

    def changes(self, section: bytes) -> t.Iterator[t.Tuple[int, bytes, bytes]]:
        """What has to be written into the section: offset, bytes before and after; none that the task does not name."""
        end = 0
        while end < len(self.mask):
            begin = next((at for at in range(end, len(self.mask)) if self.mask[at]), len(self.mask))
            end = next((at for at in range(begin, len(self.mask)) if not self.mask[at]), len(self.mask))
            before = section[self.offset + begin : self.offset + end]
            after = masked(before, self.data[begin:end], self.mask[begin:end])
            if after != before:
                yield self.offset + begin, before, after

    def put(self, section: bytes) -> bytes:
        """The section, with this variable set."""
        end = self.offset + len(self.data)
        return section[: self.offset] + self.on(section[self.offset : end]) + section[end:]

    def check_known(self, section: bytes) -> None:
        """Raises FleetError if what its section has now could not be read; then it is empty."""
        if self.offset + len(self.data) > len(section):
            raise FleetError(
                f"{self.name} cannot be set while the program runs: what is in its section {unescape(self.pin)} is not"
                " known, as its map has no BTF, or more than 1 MiB. Set maps: reset in a task that loads the program"
                " again"
            )

    def check_writable(self, info: MapInfo) -> None:
        """Raises FleetError if the variable cannot be written while programs use its section."""
        if not info.shape.flags & MMAPABLE:
            raise FleetError(
                f"{self.name} cannot be set while the program runs: its section {unescape(self.pin)} cannot be mapped"
                " into memory, as the libbpf that loaded it saw no variable in it. Set maps: reset to load it anew"
            )


class InSlot(t.NamedTuple):
    """A slot of the map of maps with the pin `outer`; `text`: its key for people to read.

    `like`: a map as the source defines it for the slots; its types are numbers in the object's BTF.
    """

    outer: str
    key: bytes
    text: str
    like: MapInfo

    def __str__(self) -> str:
        return f"slot {self.text} of {unescape(self.outer)}"

    @property
    def pin(self) -> str:
        return slot_pin(self.outer, self.key)


class Filling(t.NamedTuple):
    """The declared entries of the map with that pin. at_once: no packet sees some of the old and some of the new.

    `cpus`: how many values a key has. `how` turns bytes into what a diff shows, of at most `limit` entries. `slot`: the
    map is in that slot, and `pin` is the slot's.
    """

    pin: str
    declared: Declared
    cpus: int
    how: "Typed"
    at_once: bool = False
    limit: int = 100
    slot: t.Optional[InSlot] = None

    @property
    def name(self) -> str:
        return str(self.slot or unescape(self.pin))
