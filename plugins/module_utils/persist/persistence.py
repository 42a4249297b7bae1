# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host restores after a reboot: looked at for all interfaces at once, and written for each.

The program that restores it is `runner`, the bytes of boot.pyz: who calls this gives it, as it packs the code above.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import os
import typing as t

from ..errors import FleetError
from ..state.files import read_file
from ..state.places import MANIFESTS, NEW, RUNNER, Place
from ..state.private_files import remove, remove_empty, remove_unfinished, write_private
from . import systemd
from .manifests import Manifest, all_places, read_manifest

Runner = t.Callable[[], bytes]


class Persistence(t.NamedTuple):
    """Of one program on one interface. `manifest` None: there is none, or `damage` says why it cannot be read.

    whole: all that restores it is as it should be; traces: there is anything of it; obstacle: why this host, or this
    interface, cannot have it, "" if it can.
    """

    manifest: t.Optional[Manifest] = None
    whole: bool = False
    traces: bool = False
    obstacle: str = ""
    damage: str = ""


def observe(where: t.Iterable[t.Tuple[Place, int]], runner: Runner) -> t.List[Persistence]:
    """Of places and the indexes of their interfaces. All at once, as runner, unit and the list are the same for all."""
    every = all_places()
    kept = {each.interface for each in every}
    works = bool(every) and read_file(RUNNER) == runner() and read_file(systemd.UNIT) == systemd.unit_file()
    left_over = not every and (os.path.exists(RUNNER) or os.path.exists(systemd.UNIT))

    def one(place: Place, ifindex: int) -> Persistence:
        manifest, damage = None, ""
        exists = os.path.exists(place.manifest)
        if exists:
            try:
                manifest = read_manifest(place)[0]
            except FleetError as error:
                damage = str(error)
        enabled = os.path.lexists(systemd.enabled(place.interface))
        traces = exists or os.path.exists(place.manifest + NEW) or left_over
        traces = traces or (enabled and place.interface not in kept)
        return Persistence(manifest, enabled and works, traces, _obstacle(place, ifindex), damage)

    return [one(place, ifindex) for place, ifindex in where]


def _obstacle(place: Place, ifindex: int) -> str:
    if not os.path.isdir(systemd.RUNS):
        return "this host does not run systemd"
    if "@" in place.root:
        return "it is in a network namespace of its own, which a reboot ends"
    for folder in (systemd.FOLDER, os.path.dirname(MANIFESTS)):
        if not os.access(folder, os.W_OK):  # as on an image that is never written
            return f"{folder} is not there, or cannot be written"
    device = read_file(f"/run/udev/data/n{ifindex}")
    if device is None or b"\nG:systemd\n" not in device:
        return "systemd does not know of this interface as a device (in a container it knows none, and never lo)"
    return ""


def write_manifest(place: Place, content: t.Optional[bytes], runner: Runner) -> None:
    """Have exactly this restored, or nothing; systemd.reload_units() is to follow. Raises OSError."""
    enabled = systemd.enabled(place.interface)
    if content is not None:
        for path, wanted, mode in ((RUNNER, runner(), 0o600), (systemd.UNIT, systemd.unit_file(), 0o644)):
            if read_file(path) != wanted:
                write_private(path, wanted, mode)
        write_private(place.manifest, content)
        if not os.path.lexists(enabled):
            os.makedirs(os.path.dirname(enabled), exist_ok=True)
            os.symlink(systemd.UNIT, enabled)
        return
    others = [each for each in all_places() if each != place]
    if place.interface not in {each.interface for each in others}:
        remove(enabled)
        remove_empty(os.path.dirname(enabled))
    if not others:
        for path in (systemd.UNIT, systemd.UNIT + NEW, RUNNER, RUNNER + NEW):
            remove(path)
    remove(place.manifest)  # last: with it, the next run still finds what a killed one left behind
    remove_unfinished(place.manifest)
