# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks, so that one run at a time changes what they are about.

A lock is an empty file of mode 0600 in a folder that only the running user can write to: root's are in /run. flock(2)
needs no more than a file that is open for reading, so whoever may open a lock can block those who need it.

The order, from first to last: the files in a folder (OBJECTS), the XDP programs of the host (CHANGE), the dispatchers
of the host (DISPATCHERS), the switch of a trace (TRACE), the list of tracefs instances (INSTANCES), one of these
(INSTANCE), the metrics of the host (METRICS). What a run needs together it takes together, all or none, so that nobody
waits for one lock while holding another that others need. An undo takes none: it has those of what it undoes, and a
holder (deploy/provisional.py) inherits them.

The previous release locked the folders themselves, bpffs too, and others can open most of these. Such a lock is taken
as well, but only that of root, or of the running user, is waited for. libxdp locks its own folder in bpffs, for single
steps; so DISPATCHERS is held only while a dispatcher is made and put on an interface. An undo of that takes it too, but
goes on without it: whatever others do, the kernel replaces only what the undo has seen.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import fcntl
import os
import time
import typing as t

from ..errors import FleetError
from .files import make_folders
from .places import BPFFS, RECORDS, escape

LOCK_SECONDS = 120  # longer than a provisional change lasts, unless the user asks for longer
LOCKS = f"{RECORDS}/locks"
OBJECTS, CHANGE, DISPATCHERS, TRACE, INSTANCES, INSTANCE, METRICS = range(7)

_POLL_SECONDS = 0.02
_LOOK_SECONDS = 1.0  # how often it is asked who holds a lock on a folder
_UNSEEN_SECONDS = 5.0  # how long a lock on a folder is waited for if no process can be seen that holds it
_NAME_BYTES = 200


class Lock(t.NamedTuple):
    """`path`: a file of ours, or, if `shared`, a folder that others may be able to open. `about`: for messages."""

    rank: int
    path: str
    about: str
    shared: bool = False


def of_objects(*folders: str) -> t.List[Lock]:
    """For the object files in these folders, and what they are built from."""
    found = []
    for folder in sorted({os.path.realpath(each) for each in folders}):
        about = f"the object files in {folder}"
        path = _file(folder) if os.geteuid() == 0 else f"{folder}/.ebpf_fleet.lock"
        found += [Lock(OBJECTS, path, about), Lock(OBJECTS, folder, about, shared=True)]
    return found


def of_changes() -> t.List[Lock]:
    """For any change of this host's XDP programs."""
    about = "the XDP programs of this host"
    return [Lock(CHANGE, f"{LOCKS}/change", about), Lock(CHANGE, BPFFS, about, shared=True)]


def of_dispatchers() -> t.List[Lock]:
    """For making and replacing a dispatcher: libxdp's lock. The folder must exist."""
    return [Lock(DISPATCHERS, f"{BPFFS}/xdp", "the dispatchers of this host, which libxdp has too", shared=True)]


def of_trace(folder: str) -> t.List[Lock]:
    """For the switch of a trace, which is in the maps below this folder."""
    about = f"the trace of {folder}"
    return [Lock(TRACE, _file(folder), about), Lock(TRACE, folder, about, shared=True)]


def of_instances(folder: str) -> t.List[Lock]:
    """For making and removing tracefs instances in this folder."""
    return [Lock(INSTANCES, folder, "the tracefs instances", shared=True)]


def of_instance(folder: str) -> t.List[Lock]:
    """For reading this tracefs instance."""
    return [Lock(INSTANCE, folder, f"the tracefs instance {folder}", shared=True)]


def of_metrics() -> t.List[Lock]:
    """For what writes the metrics of this host, and for its settings."""
    return [Lock(METRICS, f"{LOCKS}/metrics", "the metrics of this host")]


def of_pulling() -> t.List[Lock]:
    """For the settings of what keeps this host as declared."""
    return [Lock(METRICS, f"{LOCKS}/pull", "the settings of xdp_pull")]


def _file(folder: str) -> str:
    return f"{LOCKS}/{os.fsdecode(os.fsencode(escape(folder))[-_NAME_BYTES:])}"


_held: t.Dict[int, Lock] = {}


def held() -> t.Tuple[int, ...]:
    """The file descriptors of the locks that this process has. A child that keeps them open has the locks too."""
    return tuple(_held)


def let_go() -> None:
    """Release all locks, in a child that has inherited them."""
    for fd in held():
        _release(fd)


@contextlib.contextmanager
def lock(
    wanted: t.Sequence[Lock], seconds: float = LOCK_SECONDS, warn: t.Optional[t.Callable[[str], None]] = None
) -> t.Iterator[None]:
    """All of these locks. Raises FleetError if others have one of them for too long."""
    _check_order(wanted)
    patience = _Patience(seconds, warn)
    while True:
        with contextlib.ExitStack() as taken:
            busy = _take(taken, [each for each in wanted if each not in patience.given_up])
            if not busy:
                yield
                return
        patience.wait(busy)


def _check_order(wanted: t.Sequence[Lock]) -> None:
    for have in _held.values():
        for each in wanted:
            if each.rank <= have.rank:
                raise RuntimeError(f"the lock on {each.about} must be taken before that on {have.about}")


def _take(taken: contextlib.ExitStack, wanted: t.Sequence[Lock]) -> t.Optional[Lock]:
    """Take all of them, without waiting; or return the one that is busy."""
    for each in wanted:
        if each.shared and each.rank == OBJECTS and not os.path.isdir(each.path):
            continue  # the previous release makes the folder before it locks it
        fd = _open(each)
        if fd is None:
            return each
        _held[fd] = each
        taken.callback(_release, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return each
        if not each.shared and not _is_at(fd, each.path):
            return each  # it was removed before it was ours
    return None


def _open(each: Lock) -> t.Optional[int]:
    """None: a different run has just removed the folder, as it was empty."""
    if each.shared:
        return os.open(each.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    ours = each.path.startswith(LOCKS)
    try:
        if ours:
            make_folders(LOCKS, forbidden=0o077)
        return os.open(each.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, FileExistsError):
        if ours:
            return None
        raise


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _release(fd: int) -> None:
    each = _held.pop(fd)
    os.close(fd)
    if each.shared:
        return
    with contextlib.suppress(OSError):
        again = os.open(each.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a child may still have it, or others have it now
            if _is_at(again, each.path):
                os.unlink(each.path)
        finally:
            os.close(again)
    if each.path.startswith(LOCKS):
        for folder in (LOCKS, RECORDS):
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(folder)


class _Patience:
    """Waits for locks, but not for those that others than root hold: `given_up`."""

    def __init__(self, seconds: float, warn: t.Optional[t.Callable[[str], None]]) -> None:
        self.given_up: t.Set[Lock] = set()
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._warn = warn
        self._since: t.Dict[Lock, float] = {}
        self._next_look = 0.0

    def wait(self, busy: Lock) -> None:
        """Wait a moment. Raises FleetError if it has been long enough."""
        now = time.monotonic()
        unseen = now - self._since.setdefault(busy, now) > _UNSEEN_SECONDS
        if busy.shared and now >= self._next_look and _others_can_open(busy.path):
            from .holders import ignored  # here: a target compiles what it imports, and rarely needs this

            self._next_look = now + _LOOK_SECONDS
            words = ignored(busy.path, unseen)
            if words:
                self.given_up.add(busy)
                if self._warn:
                    self._warn(words)
                return
        if now > self._deadline:
            from .holders import held_too_long

            raise FleetError(held_too_long(busy.about, busy.path, self._seconds))
        time.sleep(_POLL_SECONDS)


def _others_can_open(folder: str) -> bool:
    found = os.stat(folder)
    return found.st_uid not in (0, os.geteuid()) or bool(found.st_mode & 0o044)
