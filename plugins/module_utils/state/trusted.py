# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way to open what root trusts: what only root could have written. The rule is sshd's, for authorized_keys.

A path is walked by file descriptors, as the kernel walks it: each folder, link and file is checked on the descriptor
through which the walk goes on, and the content is read through the last one, so nothing can be exchanged in between.
A walk that comes to its end also shows that no other user can make the path lead elsewhere: what opens it by its name
afterwards, as a compiler or bpf() does, gets the same.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import errno
import functools
import os
import stat
import typing as t

from ..errors import FleetError
from .files import read_file

if t.TYPE_CHECKING:
    from .places import Place

OR_ALLOW = ", or set allow_unsafe_paths: true"
MAX_LINKS = 40  # as many as the kernel follows
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS = stat.S_IWGRP | stat.S_IWOTH

Read = t.Callable[[str], t.Optional[bytes]]


class _End(t.NamedTuple):
    """Of a walk. `fd` (O_PATH) is of the file or folder; None if there is no `here` in `folder`."""

    fd: t.Optional[int]
    here: str
    folder: os.stat_result


def reader(allow_unsafe: bool, purpose: str) -> Read:
    """How a task with this value of allow_unsafe_paths reads files."""
    return read_file if allow_unsafe else functools.partial(read_trusted, purpose=purpose)


def read_trusted(path: str, purpose: str = "to load") -> t.Optional[bytes]:
    """None if there is no such file. Raises FleetError if a user other than root and the current one could change it.

    That is any user who can write to it, to a folder above it, or likewise to the target of a link on the way.
    """
    with _walked(path, purpose) as end:
        if end.fd is None:
            return None
        if not stat.S_ISREG(os.fstat(end.fd).st_mode):
            raise FleetError(f"{path} is not a regular file")
        return read_file(path, f"/proc/self/fd/{end.fd}")


def check_trusted(path: str, purpose: str = "to load") -> None:
    """The same, without reading it. What is missing is not refused: check again once it was made."""
    with _walked(path, purpose):
        pass


def check_for_later(path: str, purpose: str) -> None:
    """The same for what a program opens later: what is missing is refused if other users can create it."""
    with _walked(path, purpose) as end:
        if end.fd is None and end.folder.st_mode & _OTHERS:  # a sticky folder
            raise FleetError(
                f"{path} is not safe {purpose}: there is no {end.here}, and users other than root can create it;"
                f" create it{OR_ALLOW}"
            )


def is_trusted(path: str, missing: bool = False) -> bool:
    """Whether only root and the current user can change it. `missing`: the answer if there is no such file."""
    try:
        with _walked(path, "to use") as end:
            return missing or end.fd is not None
    except FleetError:
        return False


def check_pins(places: "t.Iterable[Place]", purpose: str) -> None:
    """The folders of these places, and all pins in them. Raises FleetError."""
    for place in places:
        check_trusted(f"{place.folder}/maps", purpose)
        for path in place.pins():  # no other user can exchange one of them, as the folders have been checked
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                check_trusted(path, purpose)
            else:
                _check(path, path, found, purpose)


@contextlib.contextmanager
def _walked(path: str, purpose: str) -> t.Iterator[_End]:
    """Raises FleetError if the path leads through, or to, something that other users can change."""
    os.path.lexists(path)  # an automounter serves only who asks by name
    try:
        end = _walk(path, purpose)
    except OSError as error:
        raise FleetError(f"cannot open {path}: {error.strerror}") from error
    try:
        yield end
    finally:
        if end.fd is not None:
            os.close(end.fd)


def _walk(path: str, purpose: str) -> _End:
    """Look at what the kernel looks at: folders, links, and last the file. path_resolution(7)"""
    todo, links = _components(path if os.path.isabs(path) else os.path.join(os.getcwd(), path)), 0
    here, opened = "/", [os.open("/", _PATH)]
    try:
        folder = os.fstat(opened[0])
        _check(path, here, folder, purpose)
        while todo:
            name = todo.pop(0)
            each = os.path.dirname(here) if name == ".." else os.path.join(here, name)
            try:
                opened.append(os.open(name, _PATH, dir_fd=opened[0]))
            except (FileNotFoundError, NotADirectoryError):
                return _End(None, each, folder)
            found = os.fstat(opened[1])
            _check(path, each, found, purpose)
            if not stat.S_ISLNK(found.st_mode):
                os.close(opened.pop(0))
                here, folder = each, found
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink("", dir_fd=opened[1])
            os.close(opened.pop())
            todo = _components(target) + todo
            if target.startswith("/"):
                os.close(opened.pop())
                here, opened = "/", [os.open("/", _PATH)]
                folder = os.fstat(opened[0])
        return _End(opened.pop(), here, folder)
    finally:
        for fd in opened:
            os.close(fd)


def _check(path: str, here: str, found: os.stat_result, purpose: str) -> None:
    """Check one component of a path. Raises FleetError."""
    writable = found.st_mode & _OTHERS
    if stat.S_ISLNK(found.st_mode):
        writable = 0  # the mode of a link means nothing; its owner and its folder count
    elif stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        writable = 0  # sticky, like /tmp: other users cannot replace root's files in it
    if found.st_uid not in (0, os.geteuid()) or writable:
        raise FleetError(
            f"{path} is not safe {purpose}: {here} (owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})"
            f" can be changed by users other than root; fix that with chown and chmod{OR_ALLOW}"
        )


def _components(path: str) -> t.List[str]:
    return [each for each in path.split("/") if each not in ("", ".")]
