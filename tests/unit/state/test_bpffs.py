# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bpffs a pin root is in, from what is mounted, without mounting anything."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel.mounts import Mount
from ansible_collections.ebpf.fleet.plugins.module_utils.state import bpffs

Mounts = t.List[Mount]


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where bpffs is to be mounted; the tests say what is."""
    monkeypatch.setattr(bpffs, "BPFFS", str(tmp_path))
    return str(tmp_path)


def mounted(monkeypatch: pytest.MonkeyPatch, here: Mounts, pid_1: t.Optional[Mounts] = None) -> None:
    """`pid_1`: what its mount namespace has, if that is a different one."""

    def mounts(process: str = "self", kind: str = "") -> Mounts:
        return [each for each in (here if process == "self" else pid_1 or []) if kind in ("", each.kind)]

    monkeypatch.setattr(bpffs, "mounts", mounts)
    monkeypatch.setattr(bpffs, "is_namespace_of_pid_1", lambda: pid_1 is None)


def test_one_bpffs(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = os.stat(folder).st_dev
    mounted(monkeypatch, [Mount(1, device, folder, "bpf")])
    bpffs.check_root(f"{folder}/pins")
    assert bpffs.is_mounted(f"{folder}/pins")
    assert bpffs.trouble_with(f"{folder}/pins") is bpffs.open_to_others(f"{folder}/pins") is None
    assert bpffs.reach(f"{folder}/pins", lasting=True, make=False) is False


def test_a_bpffs_below(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = os.stat(folder).st_dev
    mounted(monkeypatch, [Mount(1, device + 1, folder, "bpf"), Mount(2, device, folder, "bpf")])
    with pytest.raises(FleetError, match=f"umount {folder}"):
        bpffs.check_root(f"{folder}/pins")
    assert "mounted over the bpffs" in (bpffs.trouble_with(f"{folder}/pins") or "")
    os.mkdir(f"{folder}/pins")
    bpffs.check_root(f"{folder}/pins")  # what was deployed above it can still be changed


@pytest.mark.parametrize("point", ["", "/.."])
def test_what_hides_a_bpffs_is_named(folder: str, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """On its own folder, or on one above it."""
    device, over = os.stat(folder).st_dev, os.path.normpath(folder + point)
    mounted(
        monkeypatch,
        [Mount(1, device + 2, "/", "ext4"), Mount(2, device + 1, folder, "bpf"), Mount(3, device, over, "tmpfs")],
    )
    with pytest.raises(FleetError, match=rf"with `umount {over}` "):
        bpffs.check_root(f"{folder}/pins")


def test_a_bpffs_elsewhere_is_not_hidden(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    covered, other = str(tmp_path / "covered"), str(tmp_path / "other")
    for each in (covered, other):
        os.mkdir(each, 0o700)
    monkeypatch.setattr(bpffs, "BPFFS", covered)
    device = os.stat(other).st_dev
    two = [Mount(1, device + 1, covered, "bpf"), Mount(2, device, covered, "bpf")]
    mounted(monkeypatch, [*two, Mount(3, device, other, "bpf")])
    for root in (f"{other}/pins", f"{covered}_2/pins"):
        bpffs.check_root(root)
        assert bpffs.trouble_with(root) is None
    with pytest.raises(FleetError, match=f"umount {covered}"):
        bpffs.check_root(f"{covered}/pins")


def test_the_same_bpffs_twice_hides_nothing(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = os.stat(folder).st_dev
    mounted(monkeypatch, [Mount(1, device, folder, "bpf"), Mount(2, device, folder, "bpf")])
    bpffs.check_root(f"{folder}/pins")
    assert bpffs.trouble_with(f"{folder}/pins") is None


def test_a_bpffs_that_pid_1_does_not_have(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Mount(5, os.stat(folder).st_dev, folder, "bpf")
    for elsewhere in ([], [here._replace(id=1, device=here.device + 1)]):
        mounted(monkeypatch, [here], elsewhere)
        with pytest.raises(FleetError, match="only in the mount namespace of this task"):
            bpffs.reach(f"{folder}/pins", lasting=True, make=True)
        assert bpffs.reach(f"{folder}/pins", lasting=False, make=False) is False
    mounted(monkeypatch, [here], [here._replace(id=1, point="/host/sys/fs/bpf")])
    assert bpffs.reach(f"{folder}/pins", lasting=True, make=True) is False


def test_check_mode_predicts_a_mount(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, [Mount(1, os.stat(folder).st_dev, "/", "ext4")])
    assert bpffs.reach(f"{folder}/pins", lasting=True, make=False) is True
    assert bpffs.reach(f"{folder}/pins", lasting=False, make=False) is False
    with pytest.raises(FleetError, match="file system of type ext4, which cannot contain pins"):
        bpffs.check_root("/nowhere")


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (0o1777, "create folders where pins are to be, and lock the bpffs on {}"),
        (
            0o1777,
            "which stops libxdp, the release of this collection before this one, and deployments to such folders:",
        ),
        (0o755, "can lock the bpffs on {} (mode 0755), which stops the release of this collection before this one:"),
        (0o710, "can lock"),
    ],
)
def test_one_that_others_may_enter(folder: str, monkeypatch: pytest.MonkeyPatch, mode: int, words: str) -> None:
    mounted(monkeypatch, [Mount(1, os.stat(folder).st_dev, folder, "bpf")])
    os.chmod(folder, mode)
    trouble = bpffs.open_to_others(f"{folder}/pins/below") or ""
    assert words.format(folder) in trouble and f"(mode {mode:04o})" in trouble and f"`chmod 0700 {folder}`" in trouble
    os.chmod(folder, 0o700)
    assert bpffs.open_to_others(f"{folder}/pins/below") is None


def test_a_missing_folder_is_named_as_what_it_is(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where sysfs is not mounted. Check mode says the same."""
    mounted(monkeypatch, [])
    monkeypatch.setattr(bpffs, "BPFFS", f"{folder}/none")
    for make in (True, False):
        with pytest.raises(FleetError, match="there is no such folder, which the kernel makes in sysfs"):
            bpffs.reach(f"{folder}/none/pins", lasting=True, make=make)
    assert bpffs.reach(f"{folder}/none/pins", lasting=False, make=False) is False
