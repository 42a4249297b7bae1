# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the target: written completely or not at all, and restored."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
import typing as t

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.state import files
from ansible_collections.ebpf.fleet.plugins.module_utils.state.files import read_file
from ansible_collections.ebpf.fleet.plugins.module_utils.state.replacing import ReplacedFile, unfinished, write_file


class FakeModule:
    """The part of AnsibleModule that files need. `contexts`: those that were set, by path."""

    def __init__(self, selinux: bool = False) -> None:
        self.selinux = selinux
        self.contexts: t.Dict[str, str] = {}

    def selinux_enabled(self) -> bool:
        return self.selinux

    def selinux_context(self, path: str) -> str:
        return f"that of {path}"

    def selinux_default_context(self, path: str) -> str:
        return f"default of {path}"

    def set_context_if_different(self, path: str, context: str, changed: bool) -> bool:
        self.contexts[path] = context
        return True


MODULE = t.cast(AnsibleModule, FakeModule())


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> t.Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    assert os.umask(before) == request.param, "the umask was not restored"


def test_read_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    assert read_file(str(tmp_path / "a")) == b"text"
    assert read_file(str(tmp_path / "missing")) is None
    assert read_file(str(tmp_path / "a/below")) is None
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FleetError, match="is not a regular file"):
        read_file(str(tmp_path / "pipe"))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FleetError, match=f"cannot read {tmp_path}/loop: Too many levels"):
        read_file(str(tmp_path / "loop"))


def test_folders_have_their_modes_whatever_the_umask(tmp_path: pathlib.Path, umask: int) -> None:
    files.make_folders(str(tmp_path / "a/b"))
    files.make_folders(str(tmp_path / "private/b"), forbidden=0o077)
    allowed = 0o755 & ~umask
    assert (mode(tmp_path / "a"), mode(tmp_path / "a/b")) == (allowed, allowed)
    assert (mode(tmp_path / "private"), mode(tmp_path / "private/b")) == (0o700, 0o700)
    files.make_folders(str(tmp_path / "a/b"))


def test_a_new_file_has_the_requested_mode(tmp_path: pathlib.Path, umask: int) -> None:
    path = tmp_path / "folder/file"
    write_file(MODULE, str(path), b"new", 0o644)
    assert (path.read_bytes(), mode(path)) == (b"new", 0o644)
    assert os.listdir(path.parent) == ["file"]


def test_a_file_keeps_its_mode_and_owner(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    before = path.stat()
    write_file(MODULE, str(path), b"new", 0o644)
    after = path.stat()
    assert path.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino, "written in place: a reader could see half a file"


def test_what_a_killed_run_left_behind_is_replaced(tmp_path: pathlib.Path) -> None:
    path, elsewhere = tmp_path / "file", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"untouched")
    pathlib.Path(unfinished(str(path))).symlink_to(elsewhere)
    write_file(MODULE, str(path), b"new", 0o644)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "file"]
    assert (path.read_bytes(), elsewhere.read_bytes()) == (b"new", b"untouched")


def test_a_symlink_created_in_between_is_not_followed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, elsewhere = tmp_path / "file", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"untouched")

    unlink = os.unlink

    def unlink_and_lay(there: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            unlink(there)
        os.symlink(elsewhere, there)

    monkeypatch.setattr(os, "unlink", unlink_and_lay)
    with pytest.raises(FleetError, match=f"cannot write {path}: File exists"):
        write_file(MODULE, str(path), b"new", 0o644)
    assert elsewhere.read_bytes() == b"untouched" and not path.exists()


def test_unfinished_lies_beside_the_file() -> None:
    assert unfinished("/opt/ebpf/a.o") == "/opt/ebpf/.a.o.new"


def test_a_write_that_fails_leaves_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FleetError, match=f"cannot write {path}: No space left on device"):
        write_file(MODULE, str(path), b"new", 0o644)
    assert os.listdir(tmp_path) == ["file"] and path.read_bytes() == b"old"


def test_selinux_contexts(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "file")
    for context in (f"default of {path}", f"that of {path}"):  # a new file, and an existing one
        module = FakeModule(selinux=True)
        write_file(t.cast(AnsibleModule, module), path, b"new", 0o644)
        assert module.contexts == {unfinished(path): context}


def contents(folder: pathlib.Path) -> t.Dict[str, t.Any]:
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


def test_an_unchanged_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"same")
    assert not ReplacedFile(MODULE, str(tmp_path / "file"), b"same").differs()


def test_a_new_file_and_its_folders_are_rolled_back(tmp_path: pathlib.Path) -> None:
    replaced = ReplacedFile(MODULE, str(tmp_path / "a/b/file"), b"new")
    assert replaced.differs()
    replaced.write()
    assert (tmp_path / "a/b/file").read_bytes() == b"new"
    replaced.restore()
    assert contents(tmp_path) == {}


def test_a_new_folder_stays_if_it_is_no_longer_empty(tmp_path: pathlib.Path) -> None:
    replaced = ReplacedFile(MODULE, str(tmp_path / "a/b/file"), b"new")
    replaced.differs()
    replaced.write()
    (tmp_path / "a/other").write_bytes(b"other")
    replaced.restore()
    assert contents(tmp_path) == {"a": False, "a/other": b"other"}


def test_a_replaced_file_is_restored(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    replaced = ReplacedFile(MODULE, str(path), b"new")
    assert replaced.differs()
    replaced.write()
    assert path.read_bytes() == b"new"
    replaced.restore()
    assert (path.read_bytes(), mode(path)) == (b"old", 0o600)


def test_a_symlink_is_replaced_by_a_file_and_restored(tmp_path: pathlib.Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "file").symlink_to("target")
    replaced = ReplacedFile(MODULE, str(tmp_path / "file"), b"new")
    assert replaced.differs()
    replaced.write()
    assert contents(tmp_path) == {"target": b"old", "file": b"new"}
    replaced.restore()
    assert contents(tmp_path) == {"target": b"old", "file": "target"}


def test_roll_back_after_a_failed_write(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    replaced = ReplacedFile(MODULE, str(tmp_path / "a/file"), b"new")
    replaced.differs()
    with pytest.raises(FleetError):
        replaced.write()
    replaced.restore()
    assert contents(tmp_path) == {}


def test_nothing_is_taken_over_from_what_a_link_leads_to(tmp_path: pathlib.Path) -> None:
    su, path = tmp_path / "su", tmp_path / "file"
    su.touch()
    if os.geteuid() == 0:
        os.chown(su, 65534, 65534)
    su.chmod(0o6777)
    path.symlink_to(su)
    write_file(MODULE, str(path), b"new", 0o644)
    assert not path.is_symlink() and (mode(path), path.stat().st_uid) == (0o644, os.geteuid())
    assert su.read_bytes() == b""


def test_special_bits_are_not_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o7755)
    write_file(MODULE, str(path), b"new", 0o644)
    assert path.stat().st_mode & 0o7777 == 0o755


def test_what_is_restored_was_read_as_told(tmp_path: pathlib.Path) -> None:
    """Else what a user lays there between check and change would be root's file after the rollback."""

    def refuses(path: str) -> bytes:
        raise FleetError(f"{path} is not safe")

    with pytest.raises(FleetError, match="is not safe"):
        ReplacedFile(MODULE, str(tmp_path / "file"), b"new", refuses).differs()
