# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces above others: VLANs, macvlans, bonds, bridges and so on. dev_xdp_attach() in net/core/dev.c

The kernel attaches to an interface only while no interface directly above it has a program; it detaches, and swaps a
program in a link, in any order. So a program of ours above is detached for a moment, and attached again as it was. A
mark in /run names it meanwhile: if this is killed, the next run attaches it again.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import os
import typing as t

from ..errors import FleetError
from ..kernel import rtnetlink
from ..kernel.stacking import Device, devices
from ..kernel.symbols import kernel_has
from ..libbpf import links
from ..libbpf.library import BpfError, Libbpf
from ..state.deployed import MODES
from ..state.files import read_file
from ..state.places import MARKS, RECORDS, Place, pinned_names, places_of, scan, unescape
from ..state.private_files import remove, remove_empty, remove_unfinished, write_private
from . import ways
from .hooks import Attachment, Hook, Links, hooks
from .work import Work

_ANOTHER_MODE = {"native": "generic", "generic": "native"}


class Stack(t.NamedTuple):
    """Which interfaces of this network namespace are directly above and below each, by index."""

    devices: t.Mapping[int, Device]
    above: t.Mapping[int, t.Sequence[int]]
    below: t.Mapping[int, t.Sequence[int]]

    def depth(self, ifindex: int) -> int:
        """0 for an interface that stands on no other one here."""
        return max((1 + self.depth(low) for low in self.below.get(ifindex, ())), default=0)

    def covering(self, ifindex: int) -> t.List[int]:
        """Interfaces with programs, which must be detached before the kernel attaches to this one, the highest first.

        Those are attached again, so what is directly above them counts too.
        """
        found: t.Dict[int, int] = {}  # with their depths
        todo = [ifindex]
        while todo:
            for up in self.above.get(todo.pop(), ()):
                if self.devices[up].xdp and up not in found:
                    found[up] = self.depth(up)
                    todo.append(up)
        return sorted(found, key=found.__getitem__, reverse=True)


class Upper(t.NamedTuple):
    """A program on an interface above another one. `place` None: this collection did not pin it for that interface.

    `owner`: where it did pin it then, for a former name of the interface or in a former root.
    """

    ifindex: int
    name: str
    hooks: t.Tuple[Hook, ...]
    place: t.Optional[Place] = None
    ours: t.Optional[Attachment] = None
    owner: t.Optional[Place] = None


def read_stack() -> Stack:
    """Empty on kernels before 5.15, which attach in any order."""
    found = devices() if kernel_has("xdp_master_redirect") else []
    return stack_of(found)


def stack_of(found: t.Iterable[Device]) -> Stack:
    devices = {device.ifindex: device for device in found}
    above: t.Dict[int, t.List[int]] = {}
    below: t.Dict[int, t.List[int]] = {}
    for device in devices.values():
        pairs = [(low, device.ifindex) for low in device.stands_on] + [(device.ifindex, device.master)]
        for low, up in pairs:
            if low in devices and up in devices:
                above.setdefault(low, []).append(up)
                below.setdefault(up, []).append(low)
    return Stack(devices, above, below)


def read_upper(lib: Libbpf, root: str, device: Device, links_: Links, former: t.Sequence[str] = ()) -> Upper:
    """What runs on an interface, and whose it is. `former`: roots in which an older release may have pinned it."""
    here = hooks(lib, rtnetlink.interface(device.ifindex), links_)
    for place in (Place(root, name, device.name) for name in pinned_names(root)):
        ours = ways.observe(lib, place, device.ifindex, here)
        if ours and ours.by == "link" and ours.mode and len(here) == 1:
            return Upper(device.ifindex, device.name, here, place, ours)
    return Upper(device.ifindex, device.name, here, owner=_owner(lib, root, former, device.name, here))


def _owner(
    lib: Libbpf, root: str, former: t.Sequence[str], interface: str, here: t.Iterable[Hook]
) -> t.Optional[Place]:
    from .owners import pinned_links  # here: a target compiles what it imports, and rarely needs this

    every = (place for one in (root, *former) for name in pinned_names(one) for place in places_of(one, name))
    ours = pinned_links(lib, [place for place in every if (place.root, place.interface) != (root, interface)])
    return next(filter(None, (hook.pinned_by(ours) for hook in here)), None)


def foreign_words(name: str, interface: str, upper: Upper) -> str:
    """Why a program cannot be attached to an interface: one runs above it that is not pinned for that interface."""
    return (
        f"cannot attach {name} to {interface}: {upper.name}, which is above it, runs"
        f" {' and '.join(map(str, upper.hooks))}, {_whose(upper)}, and the kernel attaches a program only while no"
        f" interface above has one; {_remedy(upper)}"
    )


def _whose(upper: Upper) -> str:
    owner = upper.owner
    if not owner:
        return "which this collection did not attach"
    if owner.interface == upper.name:
        return f"which an older release pinned in {owner.folder}"
    return f"which this collection pinned as {owner.name} for {owner.interface} (was the interface renamed?)"


def _remedy(upper: Upper) -> str:
    hook, owner = upper.hooks[0], upper.owner
    if owner and owner.interface == upper.name:
        return f"deploy {owner.name} on {upper.name} once more first, which moves its pins"
    if owner:
        return f"remove it there first with name: {owner.name}, state: absent and interfaces: [{owner.interface}]"
    remedy = f"bpftool link detach id {hook.link_id}" if hook.link_id else f"ip link set dev {upper.name} xdp off"
    if hook.mode != "native" and not hook.link_id:
        remedy = remedy.replace("xdp off", f"xdp{hook.mode} off")
    return f"detach it there first (`{remedy}`), and attach it again after this"


def check_uncovered(lib: Libbpf, place: Place, ifindex: int, ours: Attachment) -> None:
    """Before our program is detached, to be attached in a different mode: raises FleetError if it could not be.

    The kernel is asked, as an interface above may be in a different network namespace. It refuses a second mode in any
    case, but says first whether something above is in the way.
    """
    if ours.mode not in _ANOTHER_MODE:
        return
    mode = _ANOTHER_MODE[ours.mode]
    lib.messages.clear()
    with lib.program_by_id(ours.program_id) as program:
        try:
            links.netlink_replace(lib, ifindex, program, -1, mode)
        except BpfError:
            if "upper device" in lib.warnings():
                raise FleetError(
                    f"cannot attach {place.name} to {place.interface} in another mode: an interface above it, in"
                    f" another network namespace, has a program (`ip netns` lists them); detach that one first"
                ) from None
        else:  # somebody has detached our program meanwhile
            links.netlink_replace(lib, ifindex, -1, program, mode)


# Detached for a moment


def _mark(place: Place) -> str:
    return place.record.replace(RECORDS, MARKS, 1)


def _marks_of(root: str) -> str:
    return os.path.dirname(os.path.dirname(_mark(Place(root, "any", "any"))))


def _set_mark(place: Place, mode: str) -> None:
    write_private(_mark(place), mode.encode())


def remove_mark(place: Place) -> None:
    remove(_mark(place))
    remove_unfinished(_mark(place))


def _remove_mark_if_back(place: Place) -> None:
    """An undo is done also where the one before it has failed: then the next run must find the mark."""
    if os.path.lexists(place.link):
        remove_mark(place)


def lift(work: Work, place: Place, ifindex: int, ours: Attachment) -> None:
    mode = t.cast(str, ours.mode)
    work.undo(_remove_mark_if_back, place)
    _set_mark(place, mode)
    ways.way(ours.by).detach(work, place, ifindex, ours)


def put_back(work: Work, place: Place, ifindex: int, ours: Attachment) -> None:
    """Pinned at once, also if the change is provisional: what runs on this interface is the same as before."""
    mode = t.cast(str, ours.mode)
    with work.settled(), work.lib.program_by_id(ours.program_id) as program:
        ways.way(ours.by).attach(work, place, ifindex, program, mode, None)
    work.undo(_set_mark, place, mode)
    remove_mark(place)


@contextlib.contextmanager
def uncovered(work: Work, place: Place, ifindex: int) -> t.Iterator[None]:
    """For an undo that attaches again: within this, our programs above are detached. Raises FleetError."""
    stack = read_stack()
    found = [read_upper(work.lib, place.root, stack.devices[up], Links(work.lib)) for up in stack.covering(ifindex)]
    with Work(work.lib, work.warn, work.unsafe) as own:
        lifted: t.List[t.Tuple[Place, int, Attachment]] = []
        for upper in found:
            if not upper.place or not upper.ours:
                raise FleetError(foreign_words(place.name, place.interface, upper))
            lifted.append((upper.place, upper.ifindex, upper.ours))
        for each in lifted:
            lift(own, *each)
        try:
            yield
        finally:
            for each in reversed(lifted):
                put_back(own, *each)


def marks(root: str) -> t.List[t.Tuple[Place, str]]:
    """Programs that a killed run has detached and not attached again, with their modes ("" if it is unknown)."""
    found = []
    for name in scan(_marks_of(root)):
        for entry in scan(name.path):
            place = Place(root, name.name, unescape(entry.name.split(".json")[0]))
            mode = (read_file(_mark(place)) or b"").decode(errors="replace")
            found.append((place, mode if mode in MODES[1:] else ""))
    return found


def remove_mark_folders(root: str) -> None:
    """Remove those that a killed run left empty."""
    remove_empty(*(entry.path for entry in scan(_marks_of(root))), _marks_of(root), MARKS)
