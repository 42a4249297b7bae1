# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first step: what the kernel has on an interface, and what is pinned for it. Changes nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import typing as t

from .libbpf import BPF_LINK_TYPE_XDP, BpfError, Libbpf, LinkInfo, MapInfo, ProgramInfo
from .pins import NEW, Place, Record, read_record


class Hook(t.NamedTuple):
    """A program in place on an interface; link_id is None where it was attached by netlink."""

    mode: str
    program: ProgramInfo
    link_id: t.Optional[int]

    def __str__(self) -> str:
        how = "by netlink" if self.link_id is None else f"by link {self.link_id}"
        text = (
            f"XDP program {self.program.id} '{self.program.name}' (tag {self.program.tag}), attached {how}, {self.mode}"
        )
        return text + (", a libxdp dispatcher" if self.program.name == "xdp_dispatcher" else "")


class Seen(t.NamedTuple):
    """What there is on one interface. ifindex 0: there is no such interface.

    `link` is the pinned one, alive or dead; `mode` the mode in force, None if it is not attached;
    `running` the program in a live link, else the pinned one; `held` the maps of that program by id;
    `maps` the pinned ones by pin; `others` what is in place and not by our link.
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

    @property
    def interface(self) -> str:
        return self.place.interface

    @property
    def attached(self) -> bool:
        return self.mode is not None

    @property
    def exists(self) -> bool:
        """Whether there is anything of ours, or a trace of it."""
        return bool(self.link or self.pinned or self.maps or self.leftovers or self.place.exists)

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


def mtu_of(name: str) -> int:
    """In bytes, 0 if there is no such interface. ioctl SIOCGIFMTU, netdevice(7)."""
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, 0x8921, struct.pack("16si12x", name.encode(), 0))
        except OSError:
            return 0
    return t.cast(int, struct.unpack_from("16si", answer)[1])


def hooks(lib: Libbpf, ifindex: int, links: t.Optional[t.Sequence[LinkInfo]] = None) -> t.Tuple[Hook, ...]:
    """All programs in place on an interface of this network namespace."""
    found = []
    for mode, number in sorted(lib.xdp_programs(ifindex).items()):
        try:
            with lib.program_by_id(number) as fd:
                program = lib.program_info(fd)
        except BpfError as error:
            if error.errno == errno.ENOENT:  # taken off meanwhile
                continue
            raise
        if links is None:
            links = list(lib.links())
        link = next(
            (x.id for x in links if x.type == BPF_LINK_TYPE_XDP and (x.ifindex, x.program_id) == (ifindex, number)),
            None,
        )
        found.append(Hook(mode, program, link))
    return tuple(found)


T = t.TypeVar("T")


def _pinned(lib: Libbpf, path: str, read: t.Callable[[int], T]) -> t.Optional[T]:
    try:
        with lib.get(path) as fd:
            return read(fd)
    except BpfError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def observe(lib: Libbpf, place: Place) -> Seen:
    """Ask the kernel about one interface. Raises BpfError where it will not say."""
    ifindex = find_interface(place.interface)[1]
    link = _pinned(lib, place.link, lib.link_info)
    pinned = _pinned(lib, place.program, lib.program_info)
    paths = place.pins()
    maps = {}
    for path in paths:
        if path.startswith(place.map("")) and not path.endswith(NEW):
            info = _pinned(lib, path, lib.map_info)
            if info:
                maps[os.path.basename(path)] = info

    here = hooks(lib, ifindex) if ifindex else ()
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
    return Seen(
        place=place,
        ifindex=ifindex,
        mtu=mtu_of(place.interface),
        link=link,
        mode=mode,
        pinned=pinned,
        running=running,
        held=held,
        maps=maps,
        leftovers=tuple(path for path in paths if path.endswith(NEW)),
        record=read_record(place),
        others=tuple(hook for hook in here if not (link and mode == hook.mode and hook.program.id == link.program_id)),
    )
