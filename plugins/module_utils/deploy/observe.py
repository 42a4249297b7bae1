# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first step: read what runs on an interface and what is pinned for it. Changes nothing."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import errno
import os
import time
import typing as t

from ..attach import ways
from ..attach.hooks import Attachment, Hook, Links, hooks
from ..attach.interfaces import find_interface
from ..kernel import rtnetlink
from ..libbpf import info
from ..libbpf.info import MapInfo, ProgramInfo
from ..libbpf.kinds import RDONLY_PROG
from ..libbpf.library import BpfError, Libbpf
from ..libbpf.maps import lookup
from ..state.files import sha256
from ..state.places import NEW, Place

if t.TYPE_CHECKING:
    from ..persist.persistence import Persistence
    from ..state.records import Record
    from .contents import Contents

PLAIN_MTU = 1500  # what a single buffer holds with every driver


class Seen(t.NamedTuple):
    """The state of one interface. ifindex 0: it does not exist.

    `ours` is our attachment as it is pinned, alive or dead; `running` the program in a live one, else the pinned one;
    `held` the maps of that program by id; `maps` the pinned ones by pin; `leftovers` paths of ours that hold nothing
    (any more); `hooks` all attached programs, `others` those that are not our attachment; `traces` whether a record or
    an empty folder is left; `persistence` None: it was not read; `former` the place in which all this is now, if
    an older release made it there; `contents` those of maps by id, as far as an upgrade needs them; `entries` those of
    maps by pin, as far as the task declares them, or they are to be copied; `constants` the sections of constants that
    the running program has.
    """

    place: Place
    ifindex: int
    mtu: int
    ours: t.Optional[Attachment]
    pinned: t.Optional[ProgramInfo]
    running: t.Optional[ProgramInfo]
    held: t.Dict[int, MapInfo]
    maps: t.Dict[str, MapInfo]
    leftovers: t.Tuple[str, ...]
    record: "t.Optional[Record]"
    others: t.Tuple[Hook, ...]
    traces: bool = False
    hooks: t.Tuple[Hook, ...] = ()
    persistence: "t.Optional[Persistence]" = None
    former: t.Optional[Place] = None
    contents: "t.Mapping[int, Contents]" = {}
    entries: t.Mapping[str, t.Mapping[bytes, bytes]] = {}
    constants: t.Tuple[bytes, ...] = ()

    @property
    def interface(self) -> str:
        return self.place.interface

    @property
    def mode(self) -> t.Optional[str]:
        """The mode in which our program runs; None if it does not run on the interface."""
        return self.ours.mode if self.ours else None

    @property
    def variables_digest(self) -> t.Optional[str]:
        """Tells programs with the same tag apart, which is the same for all values of constants; None without any."""
        return sha256(b"".join(sorted(self.constants)))[:16] if self.constants else None

    @property
    def dispatcher_facts(self) -> t.Optional[t.Dict[str, t.Any]]:
        """Where our program is among others; None if it is in no dispatcher."""
        there = self.ours and self.ours.dispatcher
        if not self.ours or not there or self.ours.slot is None:
            return None
        every = there.data()
        mine = every.pop(self.ours.slot)
        found = {key: mine[key] for key in ("slot", "priority", "chain_call_actions")}
        return {"program_id": there.id, **found, "others": every}

    @property
    def attached(self) -> bool:
        return self.mode is not None

    @property
    def exists(self) -> bool:
        """Whether this collection left anything for the interface: an attachment, a pin or a trace."""
        return bool(self.ours or self.pinned or self.maps or self.leftovers or self.traces)

    @property
    def persistent(self) -> bool:
        """Whether it is restored after a reboot."""
        return bool(self.persistence and self.persistence.manifest)

    @property
    def known(self) -> "t.Optional[Record]":
        """The record, if it describes the running program."""
        if self.record and self.running and self.record.program_id == self.running.id:
            return self.record
        return None


def observe_settled(lib: Libbpf, where: t.Iterable[Place]) -> t.List[Seen]:
    """Like observe(), without records, for callers without the lock: waits while an upgrade is half done."""
    links = Links(lib)
    return [_observe_settled(lib, place, links) for place in where]


def _observe_settled(lib: Libbpf, place: Place, links: Links, tries: int = 50) -> Seen:
    while True:
        tries -= 1
        try:
            seen = _observe(lib, place, links)
        except BpfError as error:
            if error.errno != errno.ENOENT or not tries:
                raise
        else:
            between = seen.ours and seen.ifindex and seen.ours.ifindex == seen.ifindex and not seen.attached
            if not between or not tries:
                return seen
        time.sleep(0.005)
        links = Links(lib)


def observe(lib: Libbpf, where: t.Iterable[Place], former: t.Optional[t.Mapping[Place, Place]] = None) -> t.List[Seen]:
    """Read the state of interfaces from the kernel. Raises BpfError or OSError if it cannot be read.

    `former`: the places in which older releases made what belongs to those in `where`.
    """
    from ..state.records import read_record  # here: a target compiles what it imports, and readers need no records

    links = Links(lib)
    found = []
    for place in where:
        there = former.get(place, place) if former else place
        seen = _observe(lib, there, links)._replace(record=read_record(there))
        if there != place:
            if not seen.record:
                seen = seen._replace(record=read_record(place))  # the move was killed half way
            moved = tuple(place.folder + path[len(there.folder) :] for path in seen.leftovers)
            seen = seen._replace(place=place, leftovers=moved, former=there)
        found.append(seen)
    return found


def _observe(lib: Libbpf, place: Place, links: Links) -> Seen:
    ifindex = find_interface(place.interface)[1]
    interface = rtnetlink.interface(ifindex) if ifindex else None
    ifindex = interface.ifindex if interface else 0
    here = hooks(lib, interface, links)
    ours = ways.observe(lib, place, ifindex, here)
    pinned = info.read_pin(lib, place.program, "prog", info.program_info)
    paths = place.pins()
    maps = {}
    for path in paths:
        if path.startswith(place.map("")) and not path.endswith(NEW):
            found = info.read_pin(lib, path, "map", info.map_info)
            if found:
                maps[os.path.basename(path)] = found

    running = pinned
    if ours and ours.alive and ours.program_id != (pinned and pinned.id):
        with lib.program_by_id(ours.program_id) as fd:
            running = info.program_info(lib, fd)
    held, constants = {}, []
    for number in running.map_ids if running else ():
        with _unless_gone(), lib.map_by_id(number) as fd:
            held[number] = info.map_info(lib, fd)
            shape = held[number].shape
            # .kconfig is what libbpf found on this host, such as the kernel's version: not the program's.
            constant = shape.type == "array" and shape.flags & RDONLY_PROG
            if constant and not held[number].name.endswith(".kconfig"):
                constants.append(lookup(lib, fd, bytes(4), shape.value_size))
    known = {path for path, found in ((place.link, ours and ours.link_id), (place.program, pinned)) if found}
    known |= {place.map(pin) for pin in maps}
    others = tuple(
        hook
        for hook in here
        if not (ours and ours.mode == hook.mode and hook.program.id in (ours.program_id, ours.holder))
    )
    return Seen(
        place=place,
        ifindex=ifindex,
        mtu=interface.mtu if interface else 0,
        ours=ours,
        pinned=pinned,
        running=running,
        held=held,
        maps=maps,
        leftovers=tuple(path for path in paths if path not in known and place.owns(path)),
        record=None,
        others=_with_owners(lib, place, others) if others else (),
        traces=place.has_traces(paths),
        constants=tuple(constants),
        hooks=here,
    )


@contextlib.contextmanager
def _unless_gone() -> t.Iterator[None]:
    """A map that cannot be read is passed over. One that is not there any more was taken away with its program."""
    try:
        yield
    except BpfError as error:
        if error.errno == errno.ENOENT:
            raise


def _with_owners(lib: Libbpf, place: Place, others: t.Tuple[Hook, ...]) -> t.Tuple[Hook, ...]:
    from ..attach.owners import with_owners  # here: a target compiles what it imports, and foreign programs are rare

    return with_owners(lib, place, others)
