# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpffs, the file system that contains pins: whether a folder is, or can be, in it, and how long its pins live.

Each `mount -t bpf` makes a new, empty file system, which lives as long as it is mounted somewhere.
"""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from ..errors import FleetError
from ..kernel.mounts import borrow, is_namespace_of_pid_1, mount, mounts
from .locks import lock, of_changes
from .places import BPFFS


def check_root(root: str) -> None:
    """Raises FleetError if there can be no pins below `root`, or only hidden ones. A missing bpffs is fine."""
    if not os.path.isabs(root) or os.path.normpath(root) != root:
        raise FleetError(f"pin_root {root} must be an absolute path without '.', '..' and '//'; give one below {BPFFS}")
    if "." in root.replace("%2E", ""):
        raise FleetError(f"pin_root {root} contains a dot, which bpffs does not allow; give a path without dots")
    if not _is_below_bpffs(root) and not is_mounted(root):
        raise FleetError(
            f"pin_root {root} is in a file system of type {_kind(root)}, which cannot contain pins;"
            f" give a path below {BPFFS}, or mount a bpffs there: mount -t bpf bpf FOLDER"
        )
    covered = _covered(root)
    if covered and not os.path.isdir(root):
        raise FleetError(covered)


def is_mounted(root: str) -> bool:
    """Whether `root` is, or would be, in a bpffs that is mounted now."""
    device = _device(root)
    return any(each.device == device for each in mounts(kind="bpf"))


def trouble_with(root: str) -> t.Optional[str]:
    """What prevents pins in the bpffs in which `root` is, or is to be: a sentence with its remedy."""
    try:
        reach(root, lasting=True, make=False)
    except FleetError as error:
        return str(error)
    return _covered(root)


def open_to_others(root: str) -> t.Optional[str]:
    """A sentence if users other than root may enter the bpffs in which `root` is, or even write to it."""
    device = _device(root)
    found = [each.point for each in mounts(kind="bpf") if each.device == device]
    points = [each for each in found if f"{root}/".startswith(f"{each}/")]
    if not points:
        return None
    point = max(points, key=len)
    mode = stat.S_IMODE(os.stat(point).st_mode)
    if not mode & 0o077:
        return None
    can, stops = "lock", "the release of this collection before this one"
    if mode & 0o022:
        can, stops = (
            "create folders where pins are to be, and lock",
            f"libxdp, {stops}, and deployments to such folders",
        )
    return (
        f"users other than root can {can} the bpffs on {point} (mode {mode:04o}), which stops {stops}:"
        f" close it with `chmod 0700 {point}` (a remount does not change the mode),"
        " and have it mounted with mode=0700, as systemd does"
    )


def _is_below_bpffs(root: str) -> bool:
    return (root + "/").startswith(BPFFS + "/")


def _covered(root: str) -> t.Optional[str]:
    """A sentence if something is mounted over the bpffs in which `root` is, or is to be, which hides its pins."""
    if not _is_below_bpffs(root):
        return None
    device, here = _device(BPFFS), mounts(kind="bpf")
    if all(each.point != BPFFS or each.device == device for each in here):
        return None
    if any(each.device == device for each in here):
        above = BPFFS
    elif is_namespace_of_pid_1():
        every = mounts()
        over = [each.point for each in every if each.device == device]
        over = over or [each.point for each in every if f"{BPFFS}/".startswith(each.point.rstrip("/") + "/")]
        above = over[-1]
    else:
        return None  # reach() has that of pid 1
    return (
        f"something is mounted over the bpffs on {BPFFS}: its pins are hidden, but their programs run on;"
        f" unmount what hides it with `umount {above}` (what is pinned there, and not below it, ends with that)"
    )


def reach(root: str, lasting: bool, make: bool) -> bool:
    """Have the bpffs of pid 1's mount namespace here. Returns whether there is none, although one is needed.

    In a mount namespace of its own, as `ip netns exec` and systemd's PrivateTmp make, what a task mounts ends with it,
    and with the mount its pins, links and programs. `lasting`: pins are to be made. `make`: mount it if it is missing.
    Raises FleetError if pins would not last.
    """
    if is_mounted(root):
        if lasting:
            _check_lasting(root)
        return False
    if is_namespace_of_pid_1():
        if make:
            _mount()
        elif lasting:
            _check_folder()
        return lasting
    exists = _is_mounted_for_pid_1()
    if exists or lasting:
        _check_reachable()
    if exists or make:
        try:
            borrow(BPFFS, _mount if make else lambda: None)
        except OSError as error:
            raise FleetError(_UNREACHABLE.format(error.strerror)) from error
    return lasting and not exists


_UNREACHABLE = (
    f"bpffs is not mounted on {BPFFS} in the mount namespace of this task (as `ip netns exec` and systemd's PrivateTmp"
    " make one); mounted here it would end with the task, and that of pid 1 cannot be used: {}. Run the task outside of"
    " that namespace, for a network namespace with the connection ebpf.fleet.netns or `nsenter --net=/run/netns/NAME`"
)


def _check_reachable() -> None:
    try:
        os.close(os.open("/proc/1/ns/mnt", os.O_RDONLY))
    except OSError as error:
        raise FleetError(_UNREACHABLE.format(f"/proc/1/ns/mnt: {error.strerror}")) from error


def _check_folder() -> None:
    if not os.path.isdir(BPFFS):
        raise FleetError(
            f"cannot mount bpffs on {BPFFS}: there is no such folder, which the kernel makes in sysfs; mount that with"
            " `mount -t sysfs sysfs /sys`, or, if it is mounted, use a kernel with CONFIG_BPF_SYSCALL"
        )


def _mount() -> None:
    _check_folder()
    with lock(of_changes()):
        # A different run may have done it meanwhile. One mounted over a bpffs would hide all pins.
        if not is_mounted(BPFFS):
            mount("bpf", BPFFS)


def _is_mounted_for_pid_1() -> bool:
    with contextlib.suppress(OSError):
        return any(each.point == BPFFS for each in mounts("1", "bpf"))
    return False


def _check_lasting(root: str) -> None:
    """Raises FleetError if the bpffs of `root` ends with this mount namespace."""
    if is_namespace_of_pid_1():
        return
    with contextlib.suppress(OSError):
        device = _device(root)
        if all(each.device != device for each in mounts("1", "bpf")):
            raise FleetError(
                f"the bpffs of {root} is mounted only in the mount namespace of this task: it ends with that, and with"
                f" it all pins, links and programs. Unmount it (umount {BPFFS}), so that the bpffs of pid 1 is used, or"
                " run the task outside of that namespace"
            )


def _device(path: str) -> int:
    """That of the file system that contains path, or its nearest parent that exists."""
    return os.stat(_existing(path)).st_dev


def _kind(path: str) -> str:
    """The type of that file system."""
    every, device = mounts(), _device(path)
    for each in every:
        if each.device == device:
            return each.kind
    # btrfs and others have several devices.
    above = [each for each in every if (path + "/").startswith(each.point.rstrip("/") + "/")]
    return max(above, key=lambda each: len(each.point)).kind if above else "unknown"


def _existing(path: str) -> str:
    while not os.path.lexists(path) and path not in ("", "/"):
        path = os.path.dirname(path)
    return path or "/"
