# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a plan. Their str() is the sentence that users read; apply.py carries them out."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..attach.hooks import Attachment, Hook
from ..state.deployed import Deployed
from ..state.places import Place, unescape

if t.TYPE_CHECKING:
    from ..persist.manifests import Manifest


class Move(t.NamedTuple):
    """Take over the pins and the record that an older release made in a different place."""

    former: Place

    def __str__(self) -> str:
        return f"move the pins from {self.former.folder}"


class Load(t.NamedTuple):
    """Load a program; `reuse` are map ids by pin, `fresh` the pins of new maps.

    `begin`: the content of new maps of global data, by pin, if it is not what the object has.
    """

    program: str
    reuse: t.Dict[str, int]
    fresh: t.Tuple[str, ...]
    offload: bool = False
    begin: t.Mapping[str, bytes] = {}

    def __str__(self) -> str:
        kept = f", keeping the maps {', '.join(map(unescape, sorted(self.reuse)))}" if self.reuse else ""
        carried = (
            f", carrying over the variables in {', '.join(map(unescape, sorted(self.begin)))}" if self.begin else ""
        )
        return f"load {self.program}{kept}{carried}"


class Value(t.NamedTuple):
    """A variable of global data: its offset in the section, its bytes before and after. `text`: for people to read."""

    name: str
    offset: int
    before: bytes
    after: bytes
    text: str


class SetVariables(t.NamedTuple):
    """Give variables in a map of global data, which has `size` bytes, the first values of the new object."""

    pin: str
    map_id: int
    size: int
    values: t.Tuple[Value, ...]

    def __str__(self) -> str:
        listed = ", ".join(f"{each.name} to {each.text}" for each in self.values)
        return f"set {listed} in {unescape(self.pin)}, the object's new first value"


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
    mode: str
    by: str = "link"

    def __str__(self) -> str:
        return f"attach by {self.by}, mode {self.mode}"


class Swap(t.NamedTuple):
    by: str = "link"

    def __str__(self) -> str:
        return f"swap the program in the {self.by}"


class Detach(t.NamedTuple):
    """`again`: the program is attached again right after this."""

    attachment: Attachment
    again: bool = False

    def __str__(self) -> str:
        if self.attachment.elsewhere:
            return f"detach from interface {self.attachment.ifindex} of a different network namespace"
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


class Forget(t.NamedTuple):
    def __str__(self) -> str:
        return "stop restoring it after a reboot"


Step = t.Union[
    Move,
    Load,
    SetVariables,
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
    Forget,
]


def changes_what_runs(step: Step) -> bool:
    """Whether a different program, or none, runs on the interface afterwards."""
    if isinstance(step, Detach):
        return step.attachment.alive
    return isinstance(step, (Evict, Attach, Swap))
