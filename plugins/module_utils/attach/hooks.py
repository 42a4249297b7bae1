# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XDP programs on the interfaces of this network namespace, our own and foreign ones."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import errno
import typing as t

from ..kernel import rtnetlink
from ..libbpf import info
from ..libbpf.info import LinkInfo, ProgramInfo
from ..libbpf.library import BpfError, Libbpf
from ..state.places import Place

if t.TYPE_CHECKING:
    from ..sharing.dispatcher import Component, Dispatcher

_DISPATCHER = "xdp_dispatcher"  # the name of its program, whoever made it


class Hook(t.NamedTuple):
    """An XDP program attached to an interface. Without link_ids it was attached by netlink.

    Several link_ids: the same program is on an interface with the same index in a different network namespace, and
    the kernel does not say which link belongs here. pinned_as: the interface for which we pinned it, if not this one.
    `dispatcher`: what is in it, if it is one. `owner`: under which other name we pinned it here.
    """

    mode: str
    program: ProgramInfo
    link_ids: t.Tuple[int, ...] = ()
    pinned_as: t.Optional[str] = None
    dispatcher: "t.Optional[Dispatcher]" = None
    owner: t.Optional[str] = None

    @property
    def link_id(self) -> t.Optional[int]:
        return self.link_ids[0] if len(self.link_ids) == 1 else None

    @property
    def by(self) -> str:
        """How it was attached: a name from the table in ways.py, or netlink."""
        return "link" if self.link_ids else "netlink"

    @property
    def components(self) -> "t.Sequence[Component]":
        """The programs in it, if it is a dispatcher and they are known."""
        return self.dispatcher.components if self.dispatcher else ()

    def pinned_by(self, links: t.Mapping[int, Place]) -> t.Optional[Place]:
        """The place whose link holds it; `links` are those of pinned_links()."""
        return next((links[number] for number in self.link_ids if number in links), None)

    def data(self) -> t.Dict[str, t.Any]:
        found = {
            "mode": self.mode,
            "program_id": self.program.id,
            "name": self.program.name,
            "tag": self.program.tag,
            "by": self.by,
            "link_ids": list(self.link_ids),
        }
        if self.dispatcher:
            found["components"] = self.dispatcher.data()
        return found

    def __str__(self) -> str:
        from .words import sentence

        return sentence(self.data())


class Attachment(t.NamedTuple):
    """Our own attachment, as it is pinned. `by` is its way (ways.py), `id` the kernel's id of the link, or of the
    program that is the dispatcher; then `slot` is the number of ours in it.

    ifindex 0: it is dead, because its interface is gone. `mode` is the current mode; None if program_id does not run
    on the interface. `elsewhere`: its interface is in a different network namespace, into which it was moved, or whose
    pins these are.
    """

    by: str
    id: int
    program_id: int
    ifindex: int
    mode: t.Optional[str]
    elsewhere: bool = False
    slot: t.Optional[int] = None
    dispatcher: "t.Optional[Dispatcher]" = None

    @property
    def component(self) -> "t.Optional[Component]":
        """Our program in the dispatcher."""
        return None if self.dispatcher is None or self.slot is None else self.dispatcher.components[self.slot]

    @property
    def holder(self) -> int:
        """The program on the interface in which ours is, a dispatcher; 0 if it is there itself."""
        return self.id if self.dispatcher else 0

    @property
    def link_id(self) -> t.Optional[int]:
        """None where a dispatcher's pins hold it."""
        return self.id if self.dispatcher is None else None

    @property
    def alive(self) -> bool:
        return self.ifindex != 0

    @property
    def where(self) -> str:
        """Words for an interface that is elsewhere."""
        return (
            f"interface {self.ifindex} of a different network namespace: the interface was moved there, or the pins are"
            " of a container that shares this bpffs"
        )


class Links:
    """All links of the kernel. Listed once, when first needed: there may be one for each of thousands of VLANs."""

    def __init__(self, lib: Libbpf) -> None:
        self._lib = lib
        self._every: t.Optional[t.List[LinkInfo]] = None
        self._on: t.Dict[t.Tuple[int, int], t.Tuple[int, ...]] = {}

    def every(self) -> t.List[LinkInfo]:
        if self._every is None:
            self._every = list(info.links(self._lib))
            for link in self._every:
                if link.type == "xdp":
                    hook = link.ifindex, link.program_id
                    self._on[hook] = (*self._on.get(hook, ()), link.id)
        return self._every

    def on(self, ifindex: int, program_id: int) -> t.Tuple[int, ...]:
        """The ids of the links that hold a program on interfaces of this index."""
        self.every()
        return self._on.get((ifindex, program_id), ())


def hooks(lib: Libbpf, interface: t.Optional[rtnetlink.Interface], links: Links) -> t.Tuple[Hook, ...]:
    """All programs attached to an interface of this network namespace."""
    found: t.List[Hook] = []
    if not interface:
        return ()
    for mode, number in sorted(interface.xdp.items()):
        try:
            with lib.program_by_id(number) as fd:
                program = info.program_info(lib, fd)
        except BpfError as error:
            if error.errno == errno.ENOENT:  # detached meanwhile
                continue
            raise
        by = links.on(interface.ifindex, number)
        found.append(Hook(mode, program, by))
    if any(hook.program.name == _DISPATCHER for hook in found):
        return _with_dispatchers(lib, interface, links, found)
    return tuple(found)


def _with_dispatchers(
    lib: Libbpf, interface: rtnetlink.Interface, links: Links, found: t.Iterable[Hook]
) -> t.Tuple[Hook, ...]:
    """With what is in them. Whoever replaces one takes away its pins afterwards: then the new one counts."""
    from ..sharing.dispatcher import read_dispatcher  # here: a target compiles what it imports, and few hosts have one

    read = tuple(
        hook._replace(dispatcher=read_dispatcher(lib, interface.ifindex, hook.program, bool(hook.link_ids)))
        for hook in found
    )
    if any(hook.dispatcher and hook.dispatcher.trouble for hook in read):
        now = rtnetlink.interface(interface.ifindex)
        if now != interface:
            return hooks(lib, now, links)
    return read
