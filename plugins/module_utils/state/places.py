# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths on a host: pins in PIN_ROOT/NAME/INTERFACE/{link,program,maps/MAP}, records in /run, manifests in /var."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import os
import re
import typing as t

from ..errors import FleetError

BPFFS = "/sys/fs/bpf"
RECORDS = "/run/ebpf_fleet"
MANIFESTS = "/var/lib/ebpf_fleet"  # what is restored after a reboot
RUNNER = f"{MANIFESTS}/boot.pyz"  # the program that restores it: boot.py
PROVISIONAL = f"{RECORDS}/provisional"  # a socket for each change that is not confirmed yet
MARKS = f"{RECORDS}/lifted"  # a file for each program that is detached for a moment: attach/stacked.py
DISPATCHERS = f"{RECORDS}/dispatchers"  # a file for each folder of pins of a dispatcher: sharing/folders.py
UNREAD = f"{RECORDS}/unread"  # a file for each interface whose units changed and systemd has not read again yet
PULL = "/var/lib/ebpf_fleet_pull"  # all that a host has that keeps itself as declared: pulling/
PULLED = f"{PULL}/last.json"  # what its last run came to
PULLING = "/run/ebpf_fleet_pull"  # is there during a run; a change that was rolled back then leaves its reason in it
NEW = "%new"  # suffix of a pin that is about to replace the one without it; no escaped name can end in it

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def escape(name: str) -> str:
    """A name without dots, which bpffs forbids: eth0.10 becomes eth0%2E10."""
    return name.replace("%", "%25").replace(".", "%2E").replace("/", "%2F")


def unescape(name: str) -> str:
    return name.replace("%2F", "/").replace("%2E", ".").replace("%25", "%")


def check_name(name: str) -> str:
    """Returns `name`. Raises FleetError if a program cannot be pinned under it."""
    if not _NAME.fullmatch(name):
        raise FleetError(
            f"name {shortened(name)} cannot be used: it becomes a folder in bpffs,"
            " so give 1 to 64 letters, digits, underscores or dashes"
        )
    return name


def shortened(name: str) -> str:
    """A name of unknown length, quoted, for a message."""
    return repr(name if len(name) <= 40 else name[:40] + "…")


def scan(folder: str) -> "t.List[os.DirEntry[str]]":
    """What is in a folder, sorted by name; nothing if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


class Place(t.NamedTuple):
    """The pins of one program on one interface."""

    root: str
    name: str
    interface: str

    @property
    def folder(self) -> str:
        return f"{self.root}/{self.name}/{escape(self.interface)}"

    @property
    def link(self) -> str:
        return f"{self.folder}/link"

    @property
    def program(self) -> str:
        return f"{self.folder}/program"

    def map(self, pin: str) -> str:
        return f"{self.folder}/maps/{pin}"

    @property
    def record(self) -> str:
        return f"{RECORDS}/{self._file}"

    @property
    def manifest(self) -> str:
        return f"{MANIFESTS}/{self._file}"

    @property
    def lists(self) -> str:
        """The folder of the entries that are restored after a reboot: for each map or slot a file named as its pin."""
        return f"{self.manifest[: -len('.json')]}.maps"

    @property
    def _file(self) -> str:
        return f"{escape(self.root)}/{self.name}/{escape(self.interface)}.json"

    def pins(self) -> t.List[str]:
        """The paths that exist below the folder, with escaped names."""
        return [entry.path for entry in scan(self.folder) if not entry.is_dir()] + [
            entry.path for entry in scan(f"{self.folder}/maps")
        ]

    def owns(self, path: str) -> bool:
        """Whether a path below the folder has one of our names, and so is not a foreign pin."""
        return path.endswith(NEW) or path in (self.link, self.program) or path.startswith(self.map(""))

    def has_traces(self, paths: t.Sequence[str]) -> bool:
        """Whether there is a record, or a folder without foreign pins (`paths`: the result of pins())."""
        if os.path.exists(self.record) or os.path.exists(self.record + NEW):
            return True
        return os.path.isdir(self.folder) and all(self.owns(path) for path in paths)


def places_of(root: str, name: str) -> t.List[Place]:
    """The places of `name` on all interfaces that have a pin, a record, a manifest or a leftover of it."""
    any_place = Place(root, name, "")
    names = {entry.name for entry in scan(f"{root}/{name}")}
    for path in (any_place.record, any_place.manifest):
        names |= {entry.name.partition(".")[0] for entry in scan(os.path.dirname(path))}
    return [Place(root, name, unescape(each)) for each in sorted(names)]


def pinned_names(root: str) -> t.List[str]:
    """All names under which something is pinned."""
    return [entry.name for entry in scan(root)]


def slot_pin(outer: str, key: bytes) -> str:
    """What stands for the map in a slot, which has none, where maps are named by pins. No other has an @ in it."""
    return f"{outer}@{key.hex()}"


def outer_pin(pin: str) -> str:
    """Of what slot_pin() makes, the pin of the map of maps; all others are that of their map."""
    return pin.partition("@")[0]


def slot_key(pin: str) -> t.Optional[bytes]:
    """None if it is no slot's. Raises ValueError for a name that slot_pin() does not make."""
    return bytes.fromhex(pin.partition("@")[2]) if "@" in pin else None


def map_text(pin: str) -> str:
    """The map of a pin, or of what slot_pin() makes, for people to read."""
    outer, at, key = pin.partition("@")
    return f"slot 0x{key} of {unescape(outer)}" if at else unescape(outer)


def is_file_name(pin: str) -> bool:
    """Whether a file can have this name: the keys of slots may be long."""
    return len(pin + NEW) <= 255


def map_pin(map_name: str) -> str:
    """The pin of a map: its name; for global data (packet_c.bss) only the section."""
    return escape(map_name[map_name.find(".") :] if "." in map_name else map_name)
