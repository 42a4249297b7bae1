# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An open map, with its BTF, by which its bytes are read."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import os
import typing as t

from ..entries.typed import Typed, typed
from ..libbpf.info import MapInfo
from ..libbpf.layouts import Layout, Layouts
from ..libbpf.library import Libbpf
from ..libbpf.loaded_btf import loaded_btf
from ..state.places import Place, unescape


class Slot(t.NamedTuple):
    """A slot of an open map of maps; `text`: its key for people to read.

    `pinned`: the pin of the map in it, if the source puts it there. obstacle: why it cannot be restored after a reboot,
    "" if it can.
    """

    fd: int
    key: bytes
    text: str
    pin: str
    pinned: str = ""
    obstacle: str = ""

    @property
    def kept_as(self) -> str:
        """The name of the list that is restored into the map which is in the slot."""
        return self.pinned or self.pin


class Named(t.NamedTuple):
    """An open map. `interface` and `place` None: it was not named by its program. `path`: its pin, "" of an id.

    With `slot`, `path` is that of the map of maps; fd -1 and the id 0: the slot is empty, and takes such a map.
    """

    interface: t.Optional[str]
    place: t.Optional[Place]
    path: str
    fd: int
    info: MapInfo
    types: t.Optional[Layouts]
    slot: t.Optional[Slot] = None

    def __str__(self) -> str:
        name = self.slot_name or self.name
        return f"{name} on {self.interface}" if self.interface else name

    @property
    def slot_name(self) -> str:
        return f"slot {self.slot.text} of {self.name}" if self.slot else ""

    @property
    def name(self) -> str:
        return unescape(os.path.basename(self.path)) or self.info.name

    @property
    def is_restored(self) -> bool:
        """Whether its program is restored after a reboot."""
        return bool(self.place and os.path.exists(self.place.manifest))

    @property
    def section(self) -> t.Optional[Layout]:
        """The type of its one value, if it is a map of global data."""
        layout = self.types.layout(self.info.value_type) if self.types and self.info.value_type else None
        return layout if layout and layout.kind == "datasec" else None

    def typed(self, formats: t.Optional[t.Mapping[str, str]]) -> Typed:
        """Raises FleetError if formats cannot be used."""
        return typed(self.types, self.info.shape, self.info.key_type, self.info.value_type, formats)


def types_of(lib: Libbpf, btf_id: int) -> t.Optional[Layouts]:
    """None without BTF, and if it has kinds of types that are newer than this collection."""
    if btf_id:
        with contextlib.suppress(ValueError):
            return Layouts(loaded_btf(lib, btf_id))
    return None
