# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local user tries to have root load, run, pin or read what is theirs."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import stat
import sys
import types
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils import boot
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.objects import build, obtain
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import Image
from commands import bpftool, sh
from host import Host
from paths import ROOT
from user import UID, User

Compiled = t.Callable[..., str]

TRIES = 10_000  # of each race
UNSAFE = "can be changed by users other than root"
GOOD, EVIL = b"what root wrote", b"what the user wrote"
COUNTER = (ROOT / "files/bpf/packet_count.bpf.c").read_text()


class FakeModule:
    """As much of AnsibleModule as an object needs on its way to libbpf; `run_command` is the compiler."""

    check_mode = False
    tmpdir: t.Optional[str] = None

    def __init__(self, path: pathlib.Path, **options: t.Any) -> None:
        self.params: t.Dict[str, t.Any] = {
            "object": str(path),
            "content": None,
            "checksum": None,
            "build": None,
            "content_checksums": None,
        }
        self.params.update(options)
        self.params.setdefault("allow_unsafe_paths", False)

    def warn(self, message: str) -> None:
        raise AssertionError(message)

    @staticmethod
    def run_command(words: t.Sequence[str], **_how: t.Any) -> t.Tuple[int, str, str]:
        """Includes the one header that the source names, as clang does, by its path."""
        if "-c" not in words:
            return 0, "", "clang version 99\n"
        include = next(word[2:] for word in words if word.startswith("-I"))
        header = f"{include}/a.h"
        try:
            with open(header, "rb") as file:
                content = file.read()
        except OSError as error:
            return 1, "", f"{header}: {error.strerror}"
        depends = next(word[3:] for word in words if word.startswith("-MF"))
        pathlib.Path(depends).write_text(f"object: {words[words.index('-c') + 1]} {header}\n")
        pathlib.Path(words[words.index("-o") + 1]).write_bytes(content)
        return 0, "", ""


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> t.List[bytes]:
    """What would be given to libbpf."""
    found: t.List[bytes] = []

    def inspect(_lib: t.Any, _path: str, content: bytes) -> t.Any:
        found.append(content)
        return types.SimpleNamespace(image=Image(content=content), facts=dict, elf=None)

    monkeypatch.setattr(obtain, "inspect_to_load", inspect)
    monkeypatch.setattr(build, "_inspect", lambda lib, wanted, content: inspect(lib, wanted.dest, content))
    return found


def obtained(module: FakeModule) -> str:
    """ "" or the refusal."""
    try:
        obtain.obtain(t.cast(t.Any, module), t.cast(t.Any, None))
    except FleetError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def flipping(user: User, code: str, *arguments: t.Any) -> t.Iterator[None]:
    """The user repeats this as fast as possible. `lay(TARGET, LINK)` makes a link, or replaces it."""
    script = f"""
import contextlib, os, sys
def lay(target, link):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.environ["HOME"] + "/new")
    os.symlink(target, os.environ["HOME"] + "/new")
    os.rename(os.environ["HOME"] + "/new", link)
a = sys.argv[1:]
print("ready", flush=True)
while True:
    with contextlib.suppress(OSError):
        {code}
"""
    words = ["env", f"HOME={user.home}", "/usr/bin/python3", "-c", script, *map(str, arguments)]
    with user.running(*words) as started:
        assert started.stdout
        assert started.stdout.readline() == "ready\n"
        yield
        assert started.poll() is None, "the attack ended early"


@pytest.fixture
def sticky(user: User) -> pathlib.Path:
    """A folder like /tmp."""
    folder = user.home.parent / "sticky"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def evil(user: User) -> pathlib.Path:
    path = user.home / "evil"
    path.write_bytes(EVIL)
    os.chown(path, UID, UID)
    return path


def a_build(user: User, includes: pathlib.Path) -> FakeModule:
    folder = user.home.parent / "build"
    folder.mkdir()
    options = {"src": str(folder / "a.bpf.c"), "content": "", "defines": {}, "cflags": [], "cpu": "v3"}
    module = FakeModule(folder / "a.bpf.o", build={**options, "include_dirs": [str(includes)], "clang": "/bin/true"})
    module.tmpdir = str(folder)
    return module


# Races


def test_an_object_that_comes_and_goes(user: User, sticky: pathlib.Path, loaded: t.List[bytes]) -> None:
    """The task names an object that is not there yet, in a folder like /tmp."""
    path, theirs = sticky / "a.bpf.o", evil(user)
    with flipping(user, "os.link(a[0], a[1]); os.unlink(a[1])", theirs, path):
        answers = [obtained(FakeModule(path)) for _try in range(TRIES)]
    assert loaded == []
    assert any(UNSAFE in each for each in answers) and any("there is no object" in each for each in answers)


def test_a_link_in_the_middle_that_flips(user: User, loaded: t.List[bytes]) -> None:
    """root's link leads to one of the user's, who has it lead to root's folder, and sometimes not."""
    above = user.home.parent
    for folder, content in ((above / "release", GOOD), (user.home / "release", EVIL)):
        folder.mkdir()
        (folder / "a.bpf.o").write_bytes(content)
    sh("chown", "-R", f"{UID}:{UID}", user.home)
    (above / "current").symlink_to(user.home / "current")
    with flipping(
        user, "lay(a[0], a[2]); lay(a[1], a[2])", above / "release", user.home / "release", user.home / "current"
    ):
        answers = [obtained(FakeModule(above / "current" / "a.bpf.o")) for _try in range(TRIES)]
    assert loaded == []
    assert all(UNSAFE in each or "there is no object" in each for each in answers)


def test_a_header_that_comes_and_goes(user: User, sticky: pathlib.Path, loaded: t.List[bytes]) -> None:
    module = a_build(user, sticky)
    with flipping(user, "os.link(a[0], a[1]); os.unlink(a[1])", evil(user), sticky / "a.h"):
        answers = {obtained(module) for _try in range(TRIES)}
    assert loaded == []
    assert any(UNSAFE in each for each in answers) and any("was changed while" in each for each in answers), answers


def test_a_header_that_is_exchanged_for_one_of_roots(
    user: User, sticky: pathlib.Path, loaded: t.List[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler reads the user's; then they move a file of root's there, which they found in a folder of theirs."""
    header, roots = sticky / "a.h", user.home / "roots.h"
    roots.write_bytes(GOOD)
    assert user.run("ln", evil(user), header).returncode == 0
    run = FakeModule.run_command

    def exchanging(words: t.Sequence[str], **how: t.Any) -> t.Tuple[int, str, str]:
        answer = run(words, **how)
        if "-c" in words:
            assert user.run("mv", "-T", roots, header).returncode == 0
        return answer

    monkeypatch.setattr(FakeModule, "run_command", staticmethod(exchanging))
    module = a_build(user, sticky)
    assert f"the header {header} was changed while" in obtained(module)
    assert header.stat().st_uid == 0 and loaded == []


def test_what_a_user_lays_there_is_not_restored_as_roots(
    user: User, sticky: pathlib.Path, loaded: t.List[bytes]
) -> None:
    """A task with `content` fails and restores the object file: to what was there before, or so the user hopes."""
    path = sticky / "a.bpf.o"
    given = FakeModule(path, content="R09PRA==")
    (file,) = obtain.obtain(t.cast(t.Any, given), t.cast(t.Any, None)).files
    assert user.run("ln", evil(user), path).returncode == 0
    with pytest.raises(FleetError, match=UNSAFE):
        file.differs()


# Compiling


@pytest.fixture
def compiling(user: User) -> t.Dict[str, t.Any]:
    """Options of bpf_object, all in a folder that only root can write to."""
    folder = user.home.parent / "build"
    folder.mkdir()
    return {"src": str(folder / "counter.bpf.c"), "content": COUNTER, "dest": str(folder / "counter.bpf.o")}


def test_a_header_of_the_users(host: Host, user: User, compiling: t.Dict[str, t.Any]) -> None:
    (user.home / "more.h").write_text("")
    os.chown(user.home / "more.h", UID, UID)
    compiling.update(content='#include "more.h"\n' + COUNTER)
    refused = host.refused("bpf_object", include_dirs=[str(user.home)], **compiling)
    assert f"{user.home} is not safe to compile and load" in refused
    (user.home.parent / "more.h").symlink_to(user.home / "more.h")
    refused = host.refused("bpf_object", include_dirs=[str(user.home.parent)], **compiling)
    assert f"{user.home.parent}/more.h is not safe to compile and load: {user.home} " in refused
    assert not os.path.exists(compiling["dest"])
    assert host.ok("bpf_object", include_dirs=[str(user.home)], allow_unsafe_paths=True, **compiling)["changed"]


def test_code_of_the_users_is_not_run(host: Host, user: User, compiling: t.Dict[str, t.Any]) -> None:
    marker = user.home.parent / "root-was-here"
    fake = user.home / "clang"
    fake.write_text(f"#!/bin/sh\ntouch {marker}\n")
    fake.chmod(0o755)
    (user.home / "flags").write_text(f"-fplugin={user.home}/plugin.so\n")
    (user.home.parent / "flags").write_text(f"-fplugin={user.home}/plugin.so\n")
    sh("chown", "-R", f"{UID}:{UID}", user.home)
    attempts: t.List[t.Dict[str, t.Any]] = [
        {"clang": str(fake)},
        *({"cflags": [flag]} for flag in (f"-fplugin={user.home}/plugin.so", f"@{user.home}/flags")),
        {"cflags": [f"@{user.home.parent}/flags"]},
        {"cflags": ["-include", f"{user.home}/flags"]},
        {"cflags": ["-Xclang", "-load", "-Xclang", f"{user.home}/plugin.so"]},
    ]
    for attempt in attempts:
        for check in (True, False):
            assert UNSAFE in host.refused("bpf_object", check=check, **compiling, **attempt)
    path = f"{user.home}:{os.environ['PATH']}"
    assert f"{fake} is not safe" in host.refused("bpf_object", env={"PATH": path}, **compiling)
    tools = host.ok("bpf_facts", env={"PATH": path})["ansible_facts"]["bpf"]
    assert tools["clang"]  # that of the system: the user's is passed over
    assert not marker.exists()


@pytest.mark.parametrize("theirs", ["object", "record", "folder"])
def test_a_planted_cache(host: Host, user: User, compiling: t.Dict[str, t.Any], theirs: str) -> None:
    """The object and its record agree, so nothing seems to need compiling."""
    host.ok("bpf_object", **compiling)
    folder = pathlib.Path(compiling["dest"]).parent
    record = folder / ".counter.bpf.o.build.json"
    os.chown({"object": compiling["dest"], "record": record, "folder": folder}[theirs], UID, UID)
    assert UNSAFE in host.refused("bpf_object", **compiling)
    building = {key: compiling[key] for key in ("src", "content")}
    assert UNSAFE in host.refused("xdp_program", object=compiling["dest"], build=building, interfaces=["eth0"])
    assert not host.ok("bpf_object", allow_unsafe_paths=True, **compiling)["changed"]


def test_a_set_user_id_program_as_a_pattern(host: Host, user: User, compiling: t.Dict[str, t.Any]) -> None:
    su = user.home.parent / "su"
    su.touch()
    su.chmod(0o4755)
    dest = user.home / "counter.bpf.o"
    dest.symlink_to(su)
    os.chown(dest, UID, UID, follow_symlinks=False)
    assert UNSAFE in host.refused("bpf_object", **{**compiling, "dest": str(dest)})
    host.ok("bpf_object", allow_unsafe_paths=True, **{**compiling, "dest": str(dest)})
    assert stat.S_IMODE(dest.lstat().st_mode) == 0o644


# Pins


@pytest.fixture
def bpffs(user: User) -> t.Iterator[pathlib.Path]:
    """One that is mounted as the kernel does it without `mode`: all users may make folders in it."""
    folder = user.home.parent / "bpf"
    folder.mkdir()
    sh("mount", "-t", "bpf", "bpf", folder)
    yield folder
    sh("umount", folder)


def test_a_pin_root_that_the_user_makes_first(host: Host, user: User, bpffs: pathlib.Path, compiled: Compiled) -> None:
    options = {"name": "packet_count", "pin_root": str(bpffs / "pins")}
    deploying = {"object": compiled("packet_count"), "interfaces": ["eth0"], **options}
    root = bpffs / f"pins@{host.name}"
    for folder in (root, root / "packet_count", root / "packet_count/eth0", root / "packet_count/eth0/maps"):
        made = user.run("mkdir", "-p", "-m", "0777", folder)
        assert made.returncode == 0, made.stderr
        assert f"is not safe to pin in: {root} (owner {UID}" in host.refused("xdp_program", **deploying)
        for module in ("xdp_counter_facts", "xdp_counter_check"):
            assert f"is not safe to read: {root} (owner {UID}" in host.refused(module, interfaces=["eth0"], **options)
    shutil.rmtree(root)
    host.ok("xdp_program", **deploying)
    assert (root.stat().st_uid, stat.S_IMODE(root.stat().st_mode)) == (0, 0o700)
    host.ok("xdp_program", state="absent", **options)


def test_folders_for_pins_that_the_user_makes_in_between(user: User, bpffs: pathlib.Path) -> None:
    """Between the check and the first pin."""
    from ansible_collections.ebpf.fleet.plugins.module_utils.attach.work import Work

    work, root = Work(t.cast(t.Any, None), print, unsafe=False), bpffs / "pins"
    folder = root / "packet_count" / "eth0"
    refused = 0
    with flipping(user, "os.mkdir(a[0], 0o777); os.rmdir(a[0])", root):
        for _try in range(1000):
            try:
                work.make_folder(str(folder))
            except (FleetError, OSError):
                refused += 1
            else:
                assert root.stat().st_uid == 0
            with contextlib.suppress(OSError):
                os.removedirs(folder)
    assert refused


def test_readers_do_not_follow_the_user(host: Host, user: User, bpffs: pathlib.Path, compiled: Compiled) -> None:
    """The user has root write the trace switch into a map of root's which happens to be as large."""
    private = bpffs / "private"
    private.mkdir(0o700)
    map_options = ["type", "array", "key", "4", "value", "16", "entries", "1", "name", "firewall"]
    sh("bpftool", "map", "create", private / "firewall", *map_options)
    sh("bpftool", "map", "update", "pinned", private / "firewall", "key", *"0000", "value", *"1" * 16)
    deploying = {"object": compiled("packet_count"), "interfaces": ["eth0"], "pin_root": str(bpffs / "mine")}
    host.ok("xdp_program", **deploying)
    ours, theirs = bpffs / f"mine@{host.name}/packet_count/eth0", bpffs / f"pins@{host.name}/packet_count/eth0"
    assert user.run("mkdir", "-p", theirs / "maps").returncode == 0
    for source, link in (
        (ours / "link", "link"),
        (ours / "program", "program"),
        (ours / "maps/counters", "maps/counters"),
        (private / "firewall", "maps/%2Edata%2Etrace"),
    ):
        assert user.run("ln", "-s", source, theirs / link).returncode == 0
    (warning,) = host.ok("bpf_program_info", pinned=[str(theirs / "link")])["warnings"]
    assert "users other than root can change what is pinned at" in str(warning)
    reading = {"pin_root": str(bpffs / "pins"), "trace_seconds": 0.1}
    assert "is not safe to read" in host.refused("xdp_counter_facts", **reading)
    host.ok("xdp_counter_facts", allow_unsafe_paths=True, **reading)
    assert set(bpftool("map", "lookup", "pinned", private / "firewall", "key", *"0000")["value"]) == {"0x01"}
    host.ok("xdp_counter_facts", pin_root=str(bpffs / "mine"), trace_seconds=0.1)
    host.ok("xdp_program", state="absent", name="packet_count", pin_root=str(bpffs / "mine"))


def test_a_bpffs_that_others_may_enter_is_reported(host: Host, bpffs: pathlib.Path) -> None:
    def problems() -> t.List[str]:
        found = host.ok("bpf_facts", pin_root=str(bpffs / "pins"))["ansible_facts"]["bpf"]["problems"]
        return [each for each in found if str(bpffs) in each]

    (problem,) = problems()
    assert problem.startswith("Users other than root can ") and f"`chmod 0700 {bpffs}`" in problem
    sh("chmod", "0700", bpffs)
    assert problems() == []


# What runs after a reboot


def test_the_users_python_does_not_run_at_boot(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    python = user.home / "venv/bin/python"
    assert user.run("mkdir", "-p", python.parent).returncode == 0
    assert user.run("ln", "-s", "/usr/bin/python3", python).returncode == 0
    monkeypatch.setattr(sys, "executable", str(python))
    script = boot.runner.__wrapped__().partition(b"PK\x03\x04")[0].decode()
    assert str(user.home) not in script and "for python in /usr/bin/python3 " in script
