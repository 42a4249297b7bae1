# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first step: what the kernel has on an interface, and what is pinned for it. Changes nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
import typing as t

from . import rtnetlink
from .libbpf import BpfError, Libbpf, LinkInfo, MapInfo, ProgramInfo
from .pins import NEW, Place, places
from .records import Record, read_record

PLAIN_MTU = 1500  # what a single buffer holds with every driver


class Hook(t.NamedTuple):
    """A program in place on an interface. No link_ids: it was attached by netlink.

    Several: the same program is on an interface of the same index in another network namespace, and
    the kernel does not tell which link belongs here. pinned_as: our own, under another interface's name.
    """

    mode: str
    program: ProgramInfo
    link_ids: t.Tuple[int, ...] = ()
    pinned_as: t.Optional[str] = None

    @property
    def link_id(self) -> t.Optional[int]:
        return self.link_ids[0] if len(self.link_ids) == 1 else None

    def pinned_by(self, links: t.Mapping[int, Place]) -> t.Optional[Place]:
        """Which of the places in pinned_links() holds it."""
        return next((links[number] for number in self.link_ids if number in links), None)

    def __str__(self) -> str:
        how = f"by link {' or '.join(map(str, self.link_ids))}" if self.link_ids else "by netlink"
        text = (
            f"XDP program {self.program.id} '{self.program.name}' (tag {self.program.tag}), attached {how}, {self.mode}"
        )
        return text + (", a libxdp dispatcher" if self.program.name == "xdp_dispatcher" else "")


class Manifest(t.NamedTuple):
    """What is to be brought back on an interface after a reboot, beside the object itself.

    `program` is the one that ran: by the MTU at boot, which the network configuration has yet to set, another might be
    chosen. `generic`: the mode in force. At boot native mode may seem to do, as on a bond that has no interfaces yet,
    and would then keep those out that cannot do it.
    """

    object: str
    checksum: str
    program: str
    mode: str
    replace: bool
    generic: bool


class Persistence(t.NamedTuple):
    """Of one program on one interface. `manifest` None: there is none, or a damaged one.

    whole: all that brings it back is as it should be; traces: there is anything of it; hindrance: why this host, or
    this interface, cannot have it, or nothing.
    """

    manifest: t.Optional[Manifest]
    whole: bool
    traces: bool
    hindrance: str


class Seen(t.NamedTuple):
    """What there is on one interface. ifindex 0: there is no such interface.

    `link` is the pinned one, alive or dead; `mode` the mode in force, None if it is not attached;
    `running` the program in a live link, else the pinned one; `held` the maps of that program by id;
    `maps` the pinned ones by pin; `leftovers` paths that are no pins of ours (any more); `hooks` all that is
    in place, `others` what is not by our link; `traces` whether a record or an empty folder is left;
    `persistence` None: nobody has asked for it.
    """

    place: Place
    ifindex: int
    mtu: int
    link: t.Optional[LinkInfo]
    mode: t.Optional[str]
    pinned: t.Optional[ProgramInfo]
    running: t.Optional[ProgramInfo]
    held: t.Dict[int, MapInfo]
    maps: t.Dict[str, MapInfo]
    leftovers: t.Tuple[str, ...]
    record: t.Optional[Record]
    others: t.Tuple[Hook, ...]
    traces: bool = False
    hooks: t.Tuple[Hook, ...] = ()
    persistence: t.Optional[Persistence] = None

    @property
    def interface(self) -> str:
        return self.place.interface

    @property
    def attached(self) -> bool:
        return self.mode is not None

    @property
    def exists(self) -> bool:
        """Whether there is anything of ours, or a trace of it."""
        return bool(self.link or self.pinned or self.maps or self.leftovers or self.traces)

    @property
    def persistent(self) -> bool:
        """Whether it is to be brought back after a reboot."""
        return bool(self.persistence and self.persistence.manifest)

    @property
    def known(self) -> t.Optional[Record]:
        """The record, if it is about the program that runs."""
        if self.record and self.running and self.record.program_id == self.running.id:
            return self.record
        return None


def find_interface(name: str) -> t.Tuple[str, int]:
    """The name that the kernel gives it (an alternative name is resolved) and its index, or 0."""
    try:
        index = socket.if_nametoindex(name)
        return socket.if_indextoname(index), index
    except OSError:
        return name, 0


def all_interfaces() -> t.Dict[str, int]:
    """Index by name, of this network namespace."""
    return {name: index for index, name in socket.if_nameindex()}


class Links:
    """All links of the kernel. Listed once, when first asked for: there may be one for each of thousands of VLANs."""

    def __init__(self, lib: Libbpf) -> None:
        self._lib = lib
        self._every: t.Optional[t.List[LinkInfo]] = None
        self._on: t.Dict[t.Tuple[int, int], t.Tuple[int, ...]] = {}

    def every(self) -> t.List[LinkInfo]:
        if self._every is None:
            self._every = list(self._lib.links())
            for link in self._every:
                if link.type == "xdp":
                    hook = link.ifindex, link.program_id
                    self._on[hook] = (*self._on.get(hook, ()), link.id)
        return self._every

    def on(self, ifindex: int, program_id: int) -> t.Tuple[int, ...]:
        """The ids of those that hold a program on interfaces of this index."""
        self.every()
        return self._on.get((ifindex, program_id), ())


def hooks(lib: Libbpf, interface: t.Optional[rtnetlink.Interface], links: Links) -> t.Tuple[Hook, ...]:
    """All programs in place on an interface of this network namespace."""
    found: t.List[Hook] = []
    if not interface:
        return ()
    for mode, number in sorted(interface.xdp.items()):
        try:
            with lib.program_by_id(number) as fd:
                program = lib.program_info(fd)
        except BpfError as error:
            if error.errno == errno.ENOENT:  # taken off meanwhile
                continue
            raise
        found.append(Hook(mode, program, links.on(interface.ifindex, number)))
    return tuple(found)


T = t.TypeVar("T")


def _pinned(lib: Libbpf, path: str, kind: str, read: t.Callable[[int], T]) -> t.Optional[T]:
    """None where there is no such pin, or one of another kind."""
    try:
        with lib.get(path) as fd:
            return read(fd) if lib.kind(fd) == kind else None
    except BpfError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def observe_settled(lib: Libbpf, where: t.Iterable[Place]) -> t.List[Seen]:
    """As observe(), but none half-way through somebody's upgrade, for who does not hold the lock."""
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
            between = seen.link and seen.ifindex and seen.link.ifindex == seen.ifindex and not seen.attached
            if not between or not tries:
                return seen
        time.sleep(0.005)
        links = Links(lib)


def observe(lib: Libbpf, where: t.Iterable[Place]) -> t.List[Seen]:
    """Ask the kernel about some interfaces. Raises BpfError or OSError where it will not say."""
    links = Links(lib)
    return [_observe(lib, place, links) for place in where]


def _observe(lib: Libbpf, place: Place, links: Links) -> Seen:
    ifindex = find_interface(place.interface)[1]
    interface = rtnetlink.interface(ifindex) if ifindex else None
    ifindex = interface.ifindex if interface else 0
    link = _pinned(lib, place.link, "link", lib.link_info)
    pinned = _pinned(lib, place.program, "prog", lib.program_info)
    paths = place.pins()
    maps = {}
    for path in paths:
        if path.startswith(place.map("")) and not path.endswith(NEW):
            info = _pinned(lib, path, "map", lib.map_info)
            if info:
                maps[os.path.basename(path)] = info

    here = hooks(lib, interface, links)
    mode = None
    if link and link.ifindex == ifindex:
        mode = next((hook.mode for hook in here if hook.program.id == link.program_id), None)
    running = pinned
    if link and link.ifindex and link.program_id != (pinned and pinned.id):
        with lib.program_by_id(link.program_id) as fd:
            running = lib.program_info(fd)
    held = {}
    for number in running.map_ids if running else ():
        with contextlib.suppress(BpfError), lib.map_by_id(number) as fd:
            held[number] = lib.map_info(fd)
    ours = {path for path, found in ((place.link, link), (place.program, pinned)) if found}
    ours |= {place.map(pin) for pin in maps}
    others = tuple(hook for hook in here if not (link and mode == hook.mode and hook.program.id == link.program_id))
    return Seen(
        place=place,
        ifindex=ifindex,
        mtu=interface.mtu if interface else 0,
        link=link,
        mode=mode,
        pinned=pinned,
        running=running,
        held=held,
        maps=maps,
        leftovers=tuple(path for path in paths if path not in ours and place.owns(path)),
        record=read_record(place),
        others=_name_ours(lib, place, others),
        traces=place.has_traces(paths),
        hooks=here,
    )


def _name_ours(lib: Libbpf, place: Place, others: t.Tuple[Hook, ...]) -> t.Tuple[Hook, ...]:
    """Say which of them are held by a link of ours, pinned for another interface."""
    if not others:
        return others
    ours = pinned_links(lib, [each for each in places(place.root, place.name) if each != place])
    owners = [hook.pinned_by(ours) for hook in others]
    return tuple(hook._replace(pinned_as=owner and owner.interface) for hook, owner in zip(others, owners))


def pinned_links(lib: Libbpf, where: t.Iterable[Place]) -> t.Dict[int, Place]:
    """The links that are pinned at these places, by id."""
    found = ((_pinned(lib, place.link, "link", lib.link_info), place) for place in where)
    return {link.id: place for link, place in found if link}
