# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie: pins, PIN_ROOT/NAME/INTERFACE/{link,program,maps/MAP}; the record in /run, the manifest in /var."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import time
import typing as t

from .errors import FleetError

BPFFS = "/sys/fs/bpf"
RECORDS = "/run/ebpf_fleet"
MANIFESTS = "/var/lib/ebpf_fleet"  # what is brought back after a reboot: boot.py
SYSTEMD_RUNS = "/run/systemd/system"  # sd_booted(3)
PROVISIONAL = f"{RECORDS}/provisional"  # a socket for each change that is not confirmed yet
NEW = "%new"  # ends the name of a pin that is about to take its place; no escaped name can
LOCK_SECONDS = 120  # longer than a provisional change lasts, if it is not asked to last longer

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def escape(name: str) -> str:
    """A name as bpffs allows it, which forbids dots: eth0.10 is eth0%2E10."""
    return name.replace("%", "%25").replace(".", "%2E").replace("/", "%2F")


def unescape(name: str) -> str:
    return name.replace("%2F", "/").replace("%2E", ".").replace("%25", "%")


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise FleetError(
            f"name {_short(name)} cannot be used: it becomes a folder of bpffs,"
            " so give 1 to 64 letters, digits, underscores or dashes"
        )
    return name


def check_interface_name(name: str) -> str:
    """The kernel's own rule, dev_valid_name() in net/core/dev.c."""
    if not 0 < len(name.encode()) < 16 or name in (".", "..") or re.search(r"[/:\s%]", name):
        raise FleetError(
            f"interface {_short(name)} cannot exist: Linux allows 1 to 15 characters,"
            " no slash, colon, percent sign or space; see `ip link`"
        )
    return name


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:40] + "…")


def root_of_namespace(pin_root: str) -> str:
    """pin_root, and in another network namespace than the machine's own, PIN_ROOT@NAMESPACE.

    Namespaces of one machine share bpffs, and each may have an eth0.
    """
    pin_root = pin_root.rstrip("/")
    here = os.stat("/proc/self/ns/net")
    unnamed = pin_root  # where pid 1 may not be asked, a namespace without a name is taken for the machine's own
    with contextlib.suppress(OSError):
        if os.path.samestat(here, os.stat("/proc/1/ns/net")):
            return pin_root
        unnamed = f"{pin_root}@{here.st_ino}"
    for entry in _scan("/run/netns"):
        with contextlib.suppress(OSError):
            if os.path.samestat(here, entry.stat()):
                return f"{pin_root}@{escape(entry.name)}"
    return unnamed


def _scan(folder: str) -> t.List[os.DirEntry[str]]:
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
    def _file(self) -> str:
        return f"{escape(self.root)}/{self.name}/{escape(self.interface)}.json"

    def pins(self) -> t.List[str]:
        """Paths below the folder that exist, as bpffs has them."""
        return [entry.path for entry in _scan(self.folder) if not entry.is_dir()] + [
            entry.path for entry in _scan(f"{self.folder}/maps")
        ]

    def remove_folders(self) -> None:
        """Remove what is empty, upwards to the root."""
        remove_empty(f"{self.folder}/maps", self.folder, f"{self.root}/{self.name}", self.root)

    def owns(self, path: str) -> bool:
        """Whether a path below the folder has one of our names, and not one that somebody else has put there."""
        return path.endswith(NEW) or path in (self.link, self.program) or path.startswith(self.map(""))

    def has_traces(self, paths: t.Sequence[str]) -> bool:
        """Whether there is a record, or a folder in which nobody else has pinned anything (`paths`, of pins())."""
        if os.path.exists(self.record) or os.path.exists(self.record + NEW):
            return True
        return os.path.isdir(self.folder) and all(self.owns(path) for path in paths)


def places(root: str, name: str) -> t.List[Place]:
    """All interfaces that `name` is on, or that a record, a manifest or a leftover says so of."""
    any_place = Place(root, name, "")
    names = {entry.name for entry in _scan(f"{root}/{name}")}
    for path in (any_place.record, any_place.manifest):
        names |= {entry.name.split(".json")[0] for entry in _scan(os.path.dirname(path))}
    return [Place(root, name, unescape(each)) for each in sorted(names)]


def remove_empty_folders(root: str, name: str) -> None:
    """Those that a run which was killed has left, of a name that is on no interface."""
    any_place = Place(root, name, "")
    any_place.remove_folders()
    for path in (any_place.record, any_place.manifest):
        _remove_folders_of(path)


def make_folder(path: str) -> None:
    """With those that are missing above it, for root alone."""
    umask = os.umask(0o077)
    try:
        os.makedirs(path, exist_ok=True)
    finally:
        os.umask(umask)


def remove_empty(*folders: str) -> None:
    """Remove those of them, in this order, that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def names(root: str) -> t.List[str]:
    """All names under which something is pinned."""
    return [entry.name for entry in _scan(root)]


def map_pin(map_name: str) -> str:
    """The pin of a map: its name, and of global data (packet_c.bss) the section alone."""
    return escape(map_name[map_name.find(".") :] if "." in map_name else map_name)


def is_mounted(root: str) -> bool:
    """Whether `root` lies, or would lie, in a bpffs. Raises FleetError where it never could."""
    if not os.path.isabs(root) or os.path.normpath(root) != root:
        raise FleetError(f"pin_root {root} is not an absolute, plain path; give one below {BPFFS}")
    if "." in root.replace("%2E", ""):
        raise FleetError(f"pin_root {root} has a dot in it, which bpffs does not allow; give a path without")
    kind = _filesystem(root)
    if kind == "bpf":
        return True
    if (root + "/").startswith(BPFFS + "/"):
        return False
    raise FleetError(
        f"pin_root {root} lies in a file system of type {kind}, which cannot hold BPF objects;"
        f" give a path below {BPFFS}, or mount one there: mount -t bpf bpf FOLDER"
    )


def _filesystem(path: str) -> str:
    """The type of the file system that holds path or its nearest parent."""
    above = [(len(point), kind) for point, kind in mounts() if (path + "/").startswith(point.rstrip("/") + "/")]
    longest = max(length for length, _kind in above)
    return [kind for length, kind in above if length == longest][-1]


def mounts() -> t.List[t.Tuple[str, str]]:
    """Mount point and type of file system, in order. proc(5), mountinfo."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split()
            point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal.group(1), 8)), fields[4])
            found.append((point, fields[fields.index("-") + 1]))
    return found


def mount(kind: str, folder: str) -> None:
    """mount -t KIND KIND FOLDER, as bpftool does where bpffs or tracefs is missing."""
    libc = ctypes.CDLL(None, use_errno=True)
    no_suid_dev_exec = 2 | 4 | 8
    if libc.mount(kind.encode(), folder.encode(), kind.encode(), ctypes.c_ulong(no_suid_dev_exec), b"mode=0700"):
        number = ctypes.get_errno()
        raise FleetError(f"cannot mount {kind} on {folder}: {os.strerror(number)}; mount it by hand, or in /etc/fstab")


@contextlib.contextmanager
def lock(folder: str = BPFFS, seconds: float = LOCK_SECONDS) -> t.Iterator[None]:
    """flock(2) on a folder. That of bpffs itself: one change of a host's XDP programs at a time, libxdp's included."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise FleetError(
                        f"another process has held the lock on {folder} for {seconds:g} s;"
                        f" see who with `fuser -v {folder}`, and run again"
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)


class Record(t.NamedTuple):
    """What the kernel cannot tell of what is pinned; gone at reboot, as the pins are."""

    object: str
    checksum: str
    program: str
    mode: str
    program_id: int


def read_record(place: Place) -> t.Optional[Record]:
    """None where there is none, or none that can be read: then the object counts as unknown."""
    return _read_record(place.record)


def _read_record(path: str) -> t.Optional[Record]:
    try:
        with open(path, encoding="utf-8") as file:
            return Record(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def records() -> t.Iterator[Record]:
    """Those of all names and interfaces of this host, in all its network namespaces."""
    for root in _scan(RECORDS):
        for name in _scan(root.path):
            for entry in _scan(name.path):
                found = _read_record(entry.path)
                if found:
                    yield found


def write_record(place: Place, record: t.Optional[Record]) -> None:
    """Write it whole or not at all, for root alone; None removes it and folders that it leaves empty."""
    if record is None:
        remove(place.record)
        remove_unfinished(place.record)
    else:
        write_private(place.record, json.dumps(record._asdict()).encode())


def write_private(path: str, content: bytes, mode: int = 0o600) -> None:
    """Whole or not at all; with folders above it, for root alone."""
    make_folder(os.path.dirname(path))
    with open(os.open(path + NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + NEW, path)


def remove(path: str) -> None:
    """A file that may not be there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_unfinished(path: str) -> None:
    """What a run that was killed has left of write_private(); and what is empty then, of a record or a manifest."""
    remove(path + NEW)
    _remove_folders_of(path)


def _remove_folders_of(path: str) -> None:
    """Of a record or a manifest, where they are empty."""
    folder = os.path.dirname(path)
    above = os.path.dirname(folder)
    remove_empty(folder, above, os.path.dirname(above))
