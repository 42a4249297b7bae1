# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host restores after a reboot: observed for all interfaces at once, and written for each.

`runner` returns boot.pyz, the program that restores it. The caller passes it, as boot.pyz packs code of higher layers.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import os
import stat
import typing as t

from ..errors import FleetError
from ..state.files import make_folders, read_file
from ..state.places import MANIFESTS, NEW, RECORDS, RUNNER, UNREAD, Place, escape, scan, unescape
from ..state.private_files import make_folder, remove, remove_empty, remove_unfinished, write_private
from ..state.trusted import OR_ALLOW, check_trusted
from . import interpreter, systemd
from .lists import Entries, kept_lists, read_list, remove_lists
from .manifests import Manifest, all_places, read_manifest

Runner = t.Callable[[], bytes]


class Persistence(t.NamedTuple):
    """Of one program on one interface. `manifest` None: there is none, or `damage` says why it cannot be read.

    whole: everything that restores it is in order; traces: any part of it exists; obstacle: why this host or this
    interface does not support it, "" if it does. `lists`: the kept entries of maps by pin, None of those not asked for.
    """

    manifest: t.Optional[Manifest] = None
    whole: bool = False
    traces: bool = False
    obstacle: str = ""
    damage: str = ""
    lists: t.Mapping[str, t.Optional[Entries]] = {}


def observe(
    where: t.Iterable[t.Tuple[Place, int]], runner: Runner, asked: t.Container[str] = ()
) -> t.List[Persistence]:
    """Of places and the indexes of their interfaces. All at once, as they share runner, unit and list of manifests.

    `asked`: pins of the maps whose kept entries are to be read. Raises FleetError if such a file is damaged.
    """
    persistent = all_places()
    interfaces = {each.interface for each in persistent}
    works = bool(persistent) and read_file(RUNNER) == runner() and read_file(systemd.UNIT) == systemd.unit_file()
    leftovers = not persistent and (os.path.exists(RUNNER) or os.path.exists(systemd.UNIT))

    def one(place: Place, ifindex: int) -> Persistence:
        manifest, damage = None, ""
        exists = os.path.exists(place.manifest)
        if exists:
            try:
                manifest = read_manifest(place)[0]
            except FleetError as error:
                damage = str(error)
        enabled = os.path.lexists(systemd.enabled(place.interface))
        traces = exists or os.path.exists(place.manifest + NEW) or os.path.exists(place.lists) or leftovers
        lists = {pin: read_list(place, pin) if pin in asked else None for pin in kept_lists(place)}
        traces = traces or (enabled and place.interface not in interfaces)
        whole = enabled and works and not _open_to_others(os.path.dirname(systemd.enabled(place.interface)))
        return Persistence(manifest, whole, traces, _obstacle(place, ifindex), damage, lists)

    return [one(place, ifindex) for place, ifindex in where]


def reload_units(interfaces: t.Iterable[str]) -> None:
    """To be called once after write_manifest(), for all interfaces together. Raises FleetError."""
    interfaces = tuple(interfaces)
    systemd.reload_units(interfaces)
    for each in interfaces:
        remove(_unread(each))
    remove_empty(UNREAD, RECORDS)


def sweep() -> None:
    """Have systemd read what killed runs changed; their files do not show that it has not. Raises FleetError."""
    reload_units(unescape(each.name) for each in scan(UNREAD))


def _open_to_others(folder: str) -> int:
    """The mode of a folder of links to units, if others can write to it: the previous release made it by the umask."""
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    return mode if mode & 0o022 else 0


def _unread(interface: str) -> str:
    return f"{UNREAD}/{escape(interface)}"


def _obstacle(place: Place, ifindex: int) -> str:
    if not systemd.is_running():
        return "this host does not run systemd"
    if "@" in place.root:
        return "the interface is in a separate network namespace, which a reboot removes"
    for folder in (systemd.FOLDER, os.path.dirname(MANIFESTS)):
        if not os.access(folder, os.W_OK):  # as on a read-only image
            return f"{folder} does not exist or is read-only"
    try:
        check_trusted(MANIFESTS, "to restore from")
    except FleetError as error:
        return str(error).replace(OR_ALLOW, "")
    device = read_file(f"/run/udev/data/n{ifindex}")
    if device is None or b"\nG:systemd\n" not in device:
        return "systemd has no device for this interface (it never has one for lo, or in a container)"
    return interpreter.obstacle()


def write_manifest(place: Place, content: t.Optional[bytes], runner: Runner) -> None:
    """Have the host restore exactly this, or (None) nothing; call systemd.reload_units() next. Raises OSError."""
    enabled = systemd.enabled(place.interface)
    make_folder(UNREAD)
    os.close(os.open(_unread(place.interface), os.O_WRONLY | os.O_CREAT, 0o600))
    if content is not None:
        for path, wanted, mode in ((RUNNER, runner(), 0o600), (systemd.UNIT, systemd.unit_file(), 0o644)):
            if read_file(path) != wanted:
                write_private(path, wanted, mode)
        write_private(place.manifest, content)
        make_folders(os.path.dirname(enabled))
        open_to = _open_to_others(os.path.dirname(enabled))
        if open_to:
            os.chmod(os.path.dirname(enabled), open_to & ~0o022)
        if not os.path.lexists(enabled):
            os.symlink(systemd.UNIT, enabled)
        return
    others = [each for each in all_places() if each != place]
    if place.interface not in {each.interface for each in others}:
        remove(enabled)
        remove_empty(os.path.dirname(enabled))
    if not others:
        for path in (systemd.UNIT, systemd.UNIT + NEW, RUNNER, RUNNER + NEW):
            remove(path)
    # Last, so that the next run finds what a killed one left behind. The lists even later: after a reboot in between,
    # a filter would run with empty ones.
    remove(place.manifest)
    remove_lists(place)
    remove_unfinished(place.manifest)
