# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import stat
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.state import holders, locks
from ansible_collections.ebpf.fleet.plugins.module_utils.state.locks import lock, of_changes, of_objects, of_trace

Path = pathlib.Path


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in the place of /run/ebpf_fleet/locks."""
    monkeypatch.setattr(locks, "RECORDS", str(tmp_path / "run"))
    monkeypatch.setattr(locks, "LOCKS", str(tmp_path / "run/locks"))
    monkeypatch.setattr(locks, "BPFFS", str(tmp_path / "bpf"))
    monkeypatch.setattr(holders, "BPFFS", str(tmp_path / "bpf"))
    (tmp_path / "bpf").mkdir(mode=0o755)
    return tmp_path / "run/locks"


@contextlib.contextmanager
def flocked(path: Path) -> t.Iterator[subprocess.Popen[str]]:
    """A lock of a different process."""
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(); input()"
    words = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline()
        yield process
        process.kill()


def is_free(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_only_the_running_user_can_open_a_lock(run: Path, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with lock([*of_objects(str(tmp_path)), *of_changes()]):
            own = [Path(each.path) for each in locks._held.values() if not each.shared]
            assert len(own) == 2
            assert {stat.S_IMODE(path.stat().st_mode) for path in own} == {0o600}
            assert {stat.S_IMODE(path.stat().st_mode) for path in (run, run.parent)} == {0o700}
    finally:
        os.umask(before)
    assert not run.parent.exists() and not any(path.exists() for path in own)


def test_a_long_name_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["ü" * 90] * 9)
    folder.mkdir(parents=True)
    for wanted in (of_objects(str(folder)), of_trace(str(folder))):
        with lock(wanted, 0):
            pass


def test_a_folder_that_is_to_be_made(run: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:  # bpf_object makes the folder first, and others than root use nothing else
        with lock(of_objects(str(tmp_path / "new/folder")), 0):
            assert [path.name.endswith("new%2Ffolder") for path in run.iterdir()] == [True]


def test_the_order() -> None:
    with lock(of_changes()):
        with pytest.raises(RuntimeError, match=r"object files .* must be taken before that on the XDP programs"):
            with lock(of_objects("/")):
                pass
        with pytest.raises(RuntimeError):
            with lock(of_changes()):
                pass


def test_all_or_none(tmp_path: Path) -> None:
    """Who waits for one holds no other."""
    folder = tmp_path / "objects"
    folder.mkdir(mode=0o700)
    with flocked(tmp_path / "bpf"):
        with pytest.raises(FleetError, match=r"held for .* by pid"):
            with lock([*of_objects(str(folder)), *of_changes()], 0.1):
                pass
        assert locks._held == {} and is_free(folder)
        with lock(of_objects(str(folder)), 0):
            assert not is_free(folder), "for runs of the previous release"


def test_the_message_names_who_holds_it(run: Path) -> None:
    run.mkdir(parents=True)
    (run / "change").touch()
    with flocked(run / "change") as process:
        with pytest.raises(FleetError) as raised:
            with lock(of_changes(), 0.1):
                pass
    words = str(raised.value)
    assert words.startswith(f"the lock on the XDP programs of this host ({run}/change) has been held for 0.1 s by pid ")
    assert f"pid {process.pid} of uid {os.geteuid()} ('{sys.executable[:40]}" in words
    assert words.endswith(f"or end it with `kill {process.pid}`, and run again")


def test_a_holder_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    words = str(holders.Holder(1, 2, "evil\x1b[2J\n" + "x" * 99))
    assert words.isprintable() and len(words) < 80


@pytest.fixture
def of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "_uid", lambda process: 4242)


def test_a_lock_of_another_user_is_not_waited_for(of_another_user: None, tmp_path: Path) -> None:
    said: t.List[str] = []
    with flocked(tmp_path / "bpf") as process:
        with lock(of_changes(), 0, said.append):
            assert [each.shared for each in locks._held.values()] == [False]
    (words,) = said
    assert words.startswith(f"did not wait for the lock that pid {process.pid} of uid 4242 (")
    assert words.endswith(f"end it with `kill {process.pid}`, and let only root enter: chmod 0700 {tmp_path}/bpf")


def test_a_lock_where_only_root_can_have_it_is_waited_for(of_another_user: None, tmp_path: Path) -> None:
    """Such as that of a process in a different container, whatever its uid is here."""
    (tmp_path / "bpf").chmod(0o700)
    with flocked(tmp_path / "bpf"), pytest.raises(FleetError):
        with lock(of_changes(), 0.1):
            pass


def test_a_lock_of_nobody_is_waited_for_a_moment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its file descriptor may be on its way through a socket."""
    monkeypatch.setattr(holders, "holders", lambda path: [])
    monkeypatch.setattr(locks, "_UNSEEN_SECONDS", 0.1)
    monkeypatch.setattr(locks, "_LOOK_SECONDS", 0.01)
    said: t.List[str] = []
    with flocked(tmp_path / "bpf"), lock(of_changes(), 10, said.append):
        pass
    assert "of a process in hiding" in said[0]


def test_a_child_keeps_what_it_inherits(run: Path) -> None:
    go = os.pipe()
    with lock(of_changes()):
        child = os.fork()
        if not child:
            os.read(go[0], 1)
            locks.let_go()
            os._exit(0)
    assert (run / "change").exists()
    with pytest.raises(FleetError):
        with lock(of_changes(), 0.05):
            pass
    os.write(go[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    assert not run.parent.exists()
    for fd in go:
        os.close(fd)


_COUNT = """
import sys
from ansible_collections.ebpf.fleet.plugins.module_utils.state import locks
locks.RECORDS, locks.LOCKS, file = sys.argv[1:]
for _ in range(50):
    with locks.lock([locks.Lock(0, f"{locks.LOCKS}/it", "it")]):
        number = int(open(file).read())
        with open(file, "w") as writing:
            writing.write(str(number + 1))
"""


def test_one_at_a_time(run: Path, tmp_path: Path) -> None:
    """Although each removes the file of the lock, and the folder, as soon as it is done."""
    file = tmp_path / "count"
    file.write_text("0")
    words = [sys.executable, "-W", "ignore", "-c", _COUNT, str(run.parent), str(run), str(file)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen(words, env=env) for _process in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert file.read_text() == "200"
    assert not run.parent.exists()
