# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files root does not load, because others can write to them.

pytest creates tmp_path in the sticky /tmp, with access only for the user who runs the tests. So a refusal here is
caused by the test and not by a folder above.
"""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.state.safe_path import check_safe


def make(path: pathlib.Path, mode: int = 0o644) -> pathlib.Path:
    path.touch()
    path.chmod(mode)
    return path


def make_folder(path: pathlib.Path, mode: int = 0o755) -> pathlib.Path:
    path.mkdir(parents=True)
    path.chmod(mode)
    return path


def give_away(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a file to a different user. If not root, make check_safe() see a different user instead."""
    if os.geteuid() == 0:
        os.chown(path, 65534, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 65534)


def refused(path: pathlib.Path, culprit: pathlib.Path) -> None:
    with pytest.raises(FleetError) as caught:
        check_safe(str(path))
    assert str(caught.value).startswith(f"{path} is not safe to load: {culprit} (owner ")


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755, 0o444])
def test_a_file_that_only_its_owner_can_write(tmp_path: pathlib.Path, mode: int) -> None:
    check_safe(str(make(tmp_path / "a.o", mode)))


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620, 0o602])
def test_a_file_that_others_can_write(tmp_path: pathlib.Path, mode: int) -> None:
    refused(make(tmp_path / "a.o", mode), tmp_path / "a.o")


def test_a_file_of_another_user(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.o")
    give_away(path, monkeypatch)
    refused(path, path)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_a_folder_above_that_others_can_write(tmp_path: pathlib.Path, mode: int) -> None:
    opened = make_folder(tmp_path / "open", mode)
    path = make(make_folder(opened / "closed") / "a.o")
    refused(path, opened)


def test_a_sticky_folder_protects_what_is_in_it(tmp_path: pathlib.Path) -> None:
    sticky = make_folder(tmp_path / "sticky", 0o1777)
    check_safe(str(make(sticky / "a.o")))
    refused(make(sticky / "b.o", 0o666), sticky / "b.o")


def test_a_sticky_file_is_not_protected(tmp_path: pathlib.Path) -> None:
    refused(make(tmp_path / "a.o", 0o1666), tmp_path / "a.o")


def test_a_link_to_a_file_that_others_can_write(tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link.o"
    link.symlink_to(make(tmp_path / "a.o", 0o666))
    refused(link, tmp_path / "a.o")


def test_a_link_into_a_folder_that_others_can_write(tmp_path: pathlib.Path) -> None:
    opened = make_folder(tmp_path / "open", 0o777)
    (tmp_path / "link").symlink_to(opened)
    make(opened / "a.o")
    refused(tmp_path / "link/a.o", opened)


def test_a_link_in_a_folder_that_others_can_write(tmp_path: pathlib.Path) -> None:
    opened = make_folder(tmp_path / "open", 0o777)
    (opened / "link.o").symlink_to(make(tmp_path / "a.o"))
    refused(opened / "link.o", opened)


def test_a_chain_of_links_through_a_folder_that_others_can_write(tmp_path: pathlib.Path) -> None:
    opened = make_folder(tmp_path / "open", 0o777)
    (opened / "second.o").symlink_to(make(tmp_path / "a.o"))
    (tmp_path / "first.o").symlink_to(opened / "second.o")
    refused(tmp_path / "first.o", opened)


def test_a_link_that_leads_to_itself_ends(tmp_path: pathlib.Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop/again")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        check_safe(str(tmp_path / "loop"))


def test_a_symlinks_owner_counts_but_its_mode_does_not(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link.o"
    link.symlink_to(make(tmp_path / "a.o"))
    assert link.lstat().st_mode & 0o777 == 0o777
    check_safe(str(link))
    give_away(link, monkeypatch)
    refused(link, link)


def test_a_file_that_does_not_exist_yet(tmp_path: pathlib.Path) -> None:
    check_safe(str(tmp_path / "missing/a.o"))
    opened = make_folder(tmp_path / "open", 0o777)
    refused(opened / "missing/a.o", opened)
    make(tmp_path / "file")
    check_safe(str(tmp_path / "file/a.o"))  # not a folder: reading it fails


def test_a_relative_path_starts_at_the_working_directory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = make_folder(tmp_path / "open", 0o777)
    make(opened / "a.o")
    monkeypatch.chdir(opened)
    with pytest.raises(FleetError, match=f"a.o is not safe for this: {opened} "):
        check_safe("a.o", "for this")


@pytest.mark.parametrize("way", ["user", "absolute", "relative"])
def test_a_link_before_dots_is_followed_as_the_kernel_does(tmp_path: pathlib.Path, way: str) -> None:
    """A path that takes `..` back out of a link's target: the link decides where that is."""
    opened = make_folder(tmp_path / "open", 0o777)
    make_folder(tmp_path / "good/deep", 0o755)
    (opened / "evil").symlink_to(tmp_path / "good/deep")
    make(tmp_path / "good/x.o")
    path = tmp_path / "open/evil/../x.o"
    if way != "user":
        target = path if way == "absolute" else "open/evil/../x.o"
        path = tmp_path / "link.o"
        path.symlink_to(target)
    assert path.exists()
    refused(path, opened)


def test_what_the_kernel_does_not_visit_does_not_matter(tmp_path: pathlib.Path) -> None:
    make_folder(tmp_path / "y/z", 0o755)
    make_folder(tmp_path / "x", 0o755)
    make(tmp_path / "y/secret.o")
    make(tmp_path / "x/secret.o").chmod(0o666)
    (tmp_path / "y/z/file.o").symlink_to("../secret.o")
    (tmp_path / "x/link").symlink_to(tmp_path / "y/z")
    check_safe(str(tmp_path / "x/link/file.o"))
