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
from ansible_collections.ebpf.fleet.plugins.module_utils.state import trusted
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place
from ansible_collections.ebpf.fleet.plugins.module_utils.state.trusted import (
    check_for_later,
    check_pins,
    check_trusted,
    is_trusted,
    read_trusted,
    reader,
)


def make(path: pathlib.Path, mode: int = 0o644) -> pathlib.Path:
    path.touch()
    path.chmod(mode)
    return path


def make_folder(path: pathlib.Path, mode: int = 0o755) -> pathlib.Path:
    path.mkdir(parents=True)
    path.chmod(mode)
    return path


def give_away(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a file to a different user. If not root, make check_trusted() see a different user instead."""
    if os.geteuid() == 0:
        os.chown(path, 65534, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 65534)


def refused(path: pathlib.Path, culprit: pathlib.Path) -> None:
    with pytest.raises(FleetError) as caught:
        check_trusted(str(path))
    assert str(caught.value).startswith(f"{path} is not safe to load: {culprit} (owner ")


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755, 0o444])
def test_a_file_that_only_its_owner_can_write(tmp_path: pathlib.Path, mode: int) -> None:
    check_trusted(str(make(tmp_path / "a.o", mode)))


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
    check_trusted(str(make(sticky / "a.o")))
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
    with pytest.raises(FleetError, match=f"cannot open {tmp_path}/loop: Too many levels of symbolic links"):
        check_trusted(str(tmp_path / "loop"))


def test_a_symlinks_owner_counts_but_its_mode_does_not(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link.o"
    link.symlink_to(make(tmp_path / "a.o"))
    assert link.lstat().st_mode & 0o777 == 0o777
    check_trusted(str(link))
    give_away(link, monkeypatch)
    refused(link, link)


def test_a_file_that_does_not_exist_yet(tmp_path: pathlib.Path) -> None:
    check_trusted(str(tmp_path / "missing/a.o"))
    opened = make_folder(tmp_path / "open", 0o777)
    refused(opened / "missing/a.o", opened)
    make(tmp_path / "file")
    check_trusted(str(tmp_path / "file/a.o"))  # not a folder: reading it fails


def test_a_relative_path_starts_at_the_working_directory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = make_folder(tmp_path / "open", 0o777)
    make(opened / "a.o")
    monkeypatch.chdir(opened)
    with pytest.raises(FleetError, match=f"a.o is not safe for this: {opened} "):
        check_trusted("a.o", "for this")


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
    check_trusted(str(tmp_path / "x/link/file.o"))


def test_a_link_of_another_user_in_the_middle_of_a_chain(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the path nor what it leads to in the end shows it."""
    make(make_folder(tmp_path / "release") / "a.o")
    middle = make_folder(tmp_path / "home") / "current"
    middle.symlink_to(tmp_path / "release")
    (tmp_path / "current").symlink_to(middle)
    check_trusted(str(tmp_path / "current/a.o"))
    give_away(middle, monkeypatch)
    refused(tmp_path / "current/a.o", middle)


def test_what_is_read_is_what_was_checked(tmp_path: pathlib.Path) -> None:
    path = make(tmp_path / "a.o")
    path.write_bytes(b"content")
    (tmp_path / "link.o").symlink_to("a.o")
    for each in (path, tmp_path / "link.o", tmp_path / "../" / tmp_path.name / "a.o"):
        assert read_trusted(str(each)) == b"content"
    assert read_trusted(str(tmp_path / "none.o")) is None
    assert read_trusted(f"{path}/none.o") is None
    path.chmod(0o666)
    with pytest.raises(FleetError, match=f"{path} is not safe to test: {path} "):
        reader(False, "to test")(str(path))
    assert reader(True, "to test")(str(path)) == b"content"


def test_only_regular_files_are_opened(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), str(tmp_path), "/"):
        with pytest.raises(FleetError, match=f"{path} is not a regular file"):
            read_trusted(path)


def test_nothing_stays_open(tmp_path: pathlib.Path) -> None:
    make(tmp_path / "a.o")
    (tmp_path / "link.o").symlink_to(tmp_path / "a.o")
    (tmp_path / "loop").symlink_to("loop")
    before = os.listdir("/proc/self/fd")
    for name in ("a.o", "link.o", "none/none", "loop", "a.o/.."):
        is_trusted(str(tmp_path / name))
    assert os.listdir("/proc/self/fd") == before


def test_the_user_who_runs_it_is_trusted(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the builder on a controller, who need not be root."""
    folder = make_folder(tmp_path / "home")
    make(folder / "a.o")
    for each in (folder, folder / "a.o"):
        if os.geteuid() == 0:
            os.chown(each, 65534, -1)
    if os.geteuid() == 0:
        assert not is_trusted(str(folder / "a.o"))
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert is_trusted(str(folder / "a.o"))


def test_what_a_program_opens_later_must_not_be_for_others_to_create(tmp_path: pathlib.Path) -> None:
    sticky = make_folder(tmp_path / "sticky", 0o1777)
    check_trusted(str(sticky / "none/a.h"))
    check_for_later(str(tmp_path / "none/a.h"), "to compile")
    check_for_later(str(make(sticky / "a.h")), "to compile")
    with pytest.raises(
        FleetError, match=f"is not safe to compile: there is no {sticky}/none, and users other than root"
    ):
        check_for_later(str(sticky / "none/a.h"), "to compile")


def test_pins(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(str(tmp_path / "pins"), "name", "eth0.10")
    check_pins([place], "to read")
    make_folder(pathlib.Path(place.folder) / "maps", 0o700)
    pins = [make(pathlib.Path(path), 0o600) for path in (place.link, place.program, place.map("counters"))]
    check_pins([place], "to read")
    for pin in pins:
        pin.chmod(0o622)
        with pytest.raises(FleetError, match=f"{pin} is not safe to read: {pin} "):
            check_pins([place], "to read")
        pin.chmod(0o600)
    elsewhere = make(tmp_path / "elsewhere", 0o666)
    pins[2].unlink()
    pins[2].symlink_to(elsewhere)
    with pytest.raises(FleetError, match=f"{pins[2]} is not safe to read: {elsewhere} "):
        check_pins([place], "to read")
    for folder in (place.folder, os.path.dirname(place.folder), place.root):
        os.chmod(folder, 0o777)
        with pytest.raises(FleetError, match=f"is not safe to read: {folder} "):
            check_pins([place], "to read")


def test_as_many_links_as_the_kernel_follows(tmp_path: pathlib.Path) -> None:
    make(tmp_path / "0")
    for number in range(1, trusted.MAX_LINKS + 2):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    for number in (trusted.MAX_LINKS, trusted.MAX_LINKS + 1):
        assert is_trusted(str(tmp_path / str(number))) == (tmp_path / str(number)).exists() == (number == 40)
