# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a plan. Their str() is the sentence that users read; apply.py carries them out."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..attach.hooks import Attachment, Hook
from ..entries.difference import Difference
from ..state.deployed import Deployed
from ..state.places import Place, map_text, unescape

if t.TYPE_CHECKING:
    from ..persist.manifests import Manifest
    from ..sharing.config import Slot
    from .declared import InSlot, Setting


class Move(t.NamedTuple):
    """Take over the pins and the record that an older release made in a different place."""

    former: Place

    def __str__(self) -> str:
        return f"move the pins from {self.former.folder}"


class Load(t.NamedTuple):
    """Load a program; `reuse` are map ids by pin, `fresh` the pins of new maps.

    `begin`: the content of new maps of global data, by pin, if it is not what the object has. `settings`: variables
    of such maps, and constants, that the task sets; `sizes`: max_entries of maps, by name. shared: for a dispatcher.
    """

    program: str
    reuse: t.Dict[str, int]
    fresh: t.Tuple[str, ...]
    offload: bool = False
    begin: t.Mapping[str, bytes] = {}
    settings: t.Tuple["Setting", ...] = ()
    sizes: t.Mapping[str, int] = {}
    shared: bool = False

    def __str__(self) -> str:
        set_to = f" with {', '.join(map(str, self.settings))}" if self.settings else ""
        kept = f", keeping the maps {', '.join(map(unescape, sorted(self.reuse)))}" if self.reuse else ""
        carried = (
            f", carrying over the variables in {', '.join(map(unescape, sorted(self.begin)))}" if self.begin else ""
        )
        shared = " for a dispatcher" if self.shared else ""
        return f"load {self.program}{shared}{set_to}{kept}{carried}"


class Value(t.NamedTuple):
    """A variable of global data, or a part of it: its offset in the section, its bytes before and after. `text`: the
    whole variable for people to read.
    """

    name: str
    offset: int
    before: bytes
    after: bytes
    text: str


class SetVariables(t.NamedTuple):
    """Give variables in a map of global data, which has `size` bytes, other values.

    declared: the task says so, else they are the first values of the new object.
    """

    pin: str
    map_id: int
    size: int
    values: t.Tuple[Value, ...]
    declared: bool = False

    def __str__(self) -> str:
        # Of a variable that is set in part there may be several.
        listed = ", ".join(dict.fromkeys(f"{each.name} to {each.text}" for each in self.values))
        why = "" if self.declared else ", the object's new first value"
        return f"set {listed} in {unescape(self.pin)}{why}"


class CopyEntries(t.NamedTuple):
    """Copy the entries of a map into the new one that takes its place, which has a different size."""

    pin: str
    map_id: int
    entries: int

    def __str__(self) -> str:
        return f"copy the {self.entries} entries of {unescape(self.pin)} into the new map"


class Fill(t.NamedTuple):
    """Write the declared entries of a map that is pinned by then.

    `changes`: what that means for who looks at the map, if `made` fills a new one that takes its place. fresh: the map
    is new, and goes as a whole if this is undone. `slot`: the map is in that slot, or gets there.
    """

    pin: str
    made: Difference
    changes: t.Optional[Difference] = None
    fresh: bool = False
    slot: t.Optional["InSlot"] = None

    @property
    def seen(self) -> Difference:
        return self.changes or self.made

    def __str__(self) -> str:
        verbs = ("add", "update", "remove")
        words = ", ".join(f"{verb} {len(rows)}" for verb, rows in zip(verbs, self.seen) if rows)
        return f"{words} of the entries of {self.slot or unescape(self.pin)}{', in a new map' if self.changes else ''}"


class PinProgram(t.NamedTuple):
    program_id: int

    def __str__(self) -> str:
        return "pin the running program again"


class PinMap(t.NamedTuple):
    pin: str
    map_id: int

    def __str__(self) -> str:
        return f"pin the map {unescape(self.pin)} again"


class Adopt(t.NamedTuple):
    """Pin what holds our program, because its pin is gone. `by`: the way, as in attach/ways.py."""

    by: str
    hook: Hook

    def __str__(self) -> str:
        return f"pin the {self.by} again"


class Evict(t.NamedTuple):
    """Detach a foreign program."""

    hook: Hook

    def __str__(self) -> str:
        return f"detach foreign {self.hook}"


class Attach(t.NamedTuple):
    """`slot`: where it stands among others, if `by` shares the interface; `beside`: these, for people to read."""

    mode: str
    by: str = "link"
    slot: "t.Optional[Slot]" = None
    beside: str = ""

    def __str__(self) -> str:
        if self.slot and self.beside:
            return f"join the dispatcher beside {self.beside}: {self.slot}"
        return f"attach by {self.by}, mode {self.mode}" + (f": {self.slot}" if self.slot else "")


class Swap(t.NamedTuple):
    """`ours`: the attachment, where a dispatcher has to know what goes; `moved`: it only gets another `slot`."""

    by: str = "link"
    ours: t.Optional[Attachment] = None
    slot: "t.Optional[Slot]" = None
    moved: bool = False

    def __str__(self) -> str:
        if self.moved:
            return f"move it in the {self.by}: {self.slot}"
        return f"swap the program in the {self.by}"


class Detach(t.NamedTuple):
    """`again`: the program is attached again right after this."""

    attachment: Attachment
    again: bool = False

    def __str__(self) -> str:
        if self.attachment.elsewhere:
            return f"detach from interface {self.attachment.ifindex} of a different network namespace"
        if self.attachment.dispatcher:
            return "take it out of the dispatcher"
        return "detach" if self.attachment.alive else f"remove the dead {self.attachment.by}"


class Lift(t.NamedTuple):
    """Detach `name`, which PutBack attaches again: until then the kernel attaches to the interfaces `below`."""

    name: str
    attachment: Attachment
    below: t.Tuple[str, ...]

    def __str__(self) -> str:
        return f"detach {self.name} for a moment, as the kernel attaches to {' and '.join(self.below)} only without it"


class PutBack(t.NamedTuple):
    """Attach `name` again, in the same mode."""

    name: str
    attachment: Attachment

    def __str__(self) -> str:
        return f"attach {self.name} again by {self.attachment.by}, mode {self.attachment.mode}"


class Unpin(t.NamedTuple):
    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"


class Note(t.NamedTuple):
    """Record what the kernel does not store; None: remove the record. program_id 0: the program just loaded."""

    deployed: t.Optional[Deployed]
    program_id: int = 0

    def __str__(self) -> str:
        return "write the record" if self.deployed else "remove the record"


class Persist(t.NamedTuple):
    """The manifest as far as it is known: `generic` depends on the mode in which the program gets attached."""

    manifest: "Manifest"

    def __str__(self) -> str:
        return "restore it after a reboot"


class Keep(t.NamedTuple):
    """The entries of a map that are restored after a reboot, of a per-CPU map those of one CPU; None: none.

    `name`: of a slot, for people to read.
    """

    pin: str
    entries: t.Optional[t.Dict[bytes, bytes]]
    name: str = ""

    def __str__(self) -> str:
        return f"restore {len(self.entries or ()) or 'no'} entries of {self.name or map_text(self.pin)} after a reboot"


class Forget(t.NamedTuple):
    def __str__(self) -> str:
        return "stop restoring it after a reboot"


Step = t.Union[
    Move,
    Load,
    SetVariables,
    CopyEntries,
    Fill,
    PinProgram,
    PinMap,
    Adopt,
    Evict,
    Attach,
    Swap,
    Detach,
    Lift,
    PutBack,
    Unpin,
    Note,
    Persist,
    Keep,
    Forget,
]


def changes_what_runs(step: Step) -> bool:
    """Whether a different program, or none, or one with other settings or lists, runs on the interface afterwards."""
    if isinstance(step, Detach):
        return step.attachment.alive
    if isinstance(step, SetVariables):
        return step.declared
    return isinstance(step, (Evict, Attach, Swap, Fill))
