# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local user locks what they can open: flock(2) needs no more than a file descriptor for reading."""

from __future__ import annotations

import base64
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
import typing as t

import pytest
from commands import sh
from host import Host
from paths import BPF
from user import User

Path = pathlib.Path
Compile = t.Callable[..., str]
Options = t.Dict[str, t.Any]

LIBRARY = Path("/usr/local/lib/ebpf_fleet")
HOLDERS = Path("/run/ebpf_fleet/provisional")
SOON = 10  # seconds within which a task is done: locks are waited for for two minutes
ROLLBACK = 3

# Locks what it is given, as soon as it is there, and tells so by a line for each.
_LOCK = """
import fcntl, os, sys, time
held = {}
while True:
    for path in set(sys.argv[1:]) - set(held):
        try:
            fd = os.open(path, os.O_RDONLY)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        held[path] = fd
        print(path, flush=True)
    time.sleep(0.001)
"""


@pytest.fixture
def folder(host: Host) -> t.Iterator[Path]:
    """The folder of an object, as the role has it: root's, and others may enter it."""
    missing = not LIBRARY.exists()
    made = LIBRARY / host.name
    made.mkdir(parents=True)
    try:
        yield made
    finally:
        shutil.rmtree(made)
        if missing:
            LIBRARY.rmdir()


@pytest.fixture
def blocked(user: User, folder: Path) -> t.Iterator[Path]:
    """The folder, while the user holds a lock on it and on the one above."""
    above = folder.parent
    with user.running(sys.executable, "-c", _LOCK, folder, above) as locking:
        assert locking.stdout
        assert {locking.stdout.readline().strip() for _line in range(2)} == {str(folder), str(above)}
        yield folder


def options(folder: Path, compiled: Compile, version: int) -> Options:
    content = base64.b64encode(Path(compiled("counter", VERSION=version)).read_bytes()).decode()
    return {"object": f"{folder}/counter.bpf.o", "content": content, "interfaces": ["eth0"], "name": "packet_count"}


def deploy(host: Host, task: Options, **more: t.Any) -> Options:
    began = time.monotonic()
    done = host.ok("xdp_program", **task, **more)
    assert time.monotonic() - began < SOON
    return done


def wait_until_rolled_back() -> None:
    deadline = time.monotonic() + ROLLBACK + SOON
    while HOLDERS.exists():
        assert time.monotonic() < deadline, "the holder is still running"
        time.sleep(0.05)


def test_deploy_upgrade_and_rollback_wait_for_no_user(host: Host, compiled: Compile, blocked: Path) -> None:
    old, new = (options(blocked, compiled, version) for version in (1, 2))
    done = deploy(host, old)
    (words,) = map(str, done["warnings"])
    assert "did not wait for the lock that pid" in words and f"on {blocked}; end it with `kill" in words
    deploy(host, new)
    deploy(host, old)
    before = Path(old["object"]).read_bytes()
    host.send("eth0", 5)

    deploy(host, new, rollback_after=ROLLBACK)
    assert Path(old["object"]).read_bytes() != before
    wait_until_rolled_back()
    assert Path(old["object"]).read_bytes() == before, "the old object is back too"
    assert deploy(host, old)["changed"] is False
    host.send("eth0", 5)
    assert host.counts() == (10, 640)


def test_a_lock_that_comes_during_the_change_does_not_stop_the_rollback(
    host: Host, user: User, compiled: Compile, folder: Path
) -> None:
    old, new = (options(folder, compiled, version) for version in (1, 2))
    deploy(host, old)
    before = Path(old["object"]).read_bytes()
    deploy(host, new, rollback_after=ROLLBACK)
    with user.running(sys.executable, "-c", _LOCK, folder, folder.parent):
        wait_until_rolled_back()
    assert Path(old["object"]).read_bytes() == before


def test_compiling_waits_for_no_user(host: Host, blocked: Path) -> None:
    source = {"src": f"{blocked}/counter.bpf.c", "content": (BPF / "counter.bpf.c").read_text()}
    began = time.monotonic()
    done = host.ok("bpf_object", dest=f"{blocked}/counter.bpf.o", **source)
    assert done["changed"] and time.monotonic() - began < SOON
    done = host.ok("xdp_program", object=f"{blocked}/x.bpf.o", build=source, interfaces=["eth0"])
    assert done["changed"] and time.monotonic() - began < 2 * SOON


def test_a_user_of_a_controller_waits_for_no_other_user(host: Host, user: User, tmp_path: Path) -> None:
    """bpf_object as a user who is not root: here root plays the stranger's part."""
    dest = user.home / "counter.bpf.o"
    source = {"src": str(user.home / "counter.bpf.c"), "content": (BPF / "counter.bpf.c").read_text()}
    wrap = ("setpriv", "--reuid=4242", "--regid=4242", "--clear-groups")
    env = {"HOME": str(user.home), "TMPDIR": str(user.home)}
    stranger = ["setpriv", "--reuid=4343", "--regid=4343", "--clear-groups", sys.executable, "-c", _LOCK]
    with subprocess.Popen([*stranger, str(user.home)], stdout=subprocess.PIPE, text=True) as locking:
        try:
            assert locking.stdout and locking.stdout.readline()
            began = time.monotonic()
            done = host.ok("bpf_object", dest=str(dest), **source, wrap=wrap, env=env)
            assert done["changed"] and time.monotonic() - began < SOON
        finally:
            locking.kill()
    assert not [path for path in user.home.iterdir() if "lock" in path.name]


def test_where_others_can_enter_bpffs_they_cannot_stop_anybody(host: Host, user: User, compiled: Compile) -> None:
    """In a mount namespace with such a bpffs: this machine's own does not change."""
    script = 'umount /sys/fs/bpf; mount -t bpf -o mode=0755 bpf /sys/fs/bpf; exec "$@"'
    wrap = ["unshare", "--mount", "sh", "-c", script, "sh"]
    with _entered(wrap) as enter:
        locking = [*enter, "setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", sys.executable, "-c", _LOCK]
        with subprocess.Popen([*locking, "/sys/fs/bpf"], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout and process.stdout.readline()
                began = time.monotonic()
                # Such a namespace ends with the task, so that nothing is attached: a state without pins.
                done = host.ok("xdp_program", state="absent", name="packet_count", wrap=enter)
                assert time.monotonic() - began < SOON
            finally:
                process.kill()
    (words,) = map(str, done["warnings"])
    assert "on /sys/fs/bpf; end it with `kill" in words and "let only root enter: chmod 0700 /sys/fs/bpf" in words


@contextlib.contextmanager
def _entered(wrap: t.Sequence[str]) -> t.Iterator[t.List[str]]:
    """Words that enter the mount namespace which `wrap` makes."""
    with subprocess.Popen([*wrap, "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline()
            yield ["nsenter", f"--mount=/proc/{process.pid}/ns/mnt"]
        finally:
            process.kill()


def test_root_s_own_locks_are_waited_for(host: Host, compiled: Compile, folder: Path) -> None:
    """Those of the previous release, on the folder itself."""
    task = options(folder, compiled, 1)
    for path in (str(folder), "/sys/fs/bpf"):
        words = ["flock", "--exclusive", path, "sh", "-c", "echo; sleep 3"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as locking:
            assert locking.stdout and locking.stdout.readline()
            began = time.monotonic()
            done = host.ok("xdp_program", **task)
            assert not done.get("warnings") and time.monotonic() - began > 2
        task = options(folder, compiled, 2)


@pytest.mark.parametrize("umask", [0, 0o77])
def test_users_can_open_no_lock(host: Host, user: User, compiled: Compile, folder: Path, umask: int) -> None:
    """While a change is provisional, all of its locks are held."""
    before = os.umask(umask)
    try:
        deploy(host, options(folder, compiled, 1), rollback_after=ROLLBACK)
    finally:
        os.umask(before)
    locks = list(Path("/run/ebpf_fleet/locks").iterdir())
    assert {"change", str(folder).replace("/", "%2F")} <= {path.name for path in locks}
    for path in locks:
        assert path.stat().st_mode & 0o777 == 0o600
        assert user.run("flock", "--nonblock", path, "true").returncode
    assert sh("stat", "-c", "%a %u", "/run/ebpf_fleet/locks").split() == ["700", "0"]
    wait_until_rolled_back()
