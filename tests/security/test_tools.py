# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a local user of a developer's or CI's machine can do while root runs `make demo`, `make docs` or `make test`."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
from paths import ROOT
from user import User

Path = pathlib.Path

# What root runs on such a machine.
TOOLS = (
    "Makefile",
    "demo",
    "docs/walkthrough/",
    "molecule",
    "tools",
    "tests/bench",
    "tests/kernels",
    "tests/reboot",
    "tests/reliability",
)
# What each script calls: instead of locking, the first tells what it would lock; the others what they are given.
STANDING_IN = {
    "flock": 'readlink "/proc/self/fd/9" >"$SAID/lock"; [ -n "$GO_ON" ]',
    "podman": '[ "$1" != image ]',
    "mmdebstrap": 'echo "$TMPDIR" >"$SAID/work"; stat -c %u "$TMPDIR/init" >"$SAID/owner"',
}
SCRIPTS: t.Dict[str, t.List[t.Any]] = {
    "demo": [ROOT / "demo/run.sh"],
    "molecule": [ROOT / "tools/molecule.sh", "default"],
    "image": [ROOT / "molecule/shared/image.sh", "trixie", "plain"],
}
# The names that were predictable.
PLANTED = ("/run/lock/ebpf-demo.lock", "/var/tmp/ebpf-fleet-molecule-trixie-plain.lock")


def run(script: str, folder: Path, go_on: bool = False) -> t.Dict[str, str]:
    """Run it under umask 0 up to its lock, or to its end; returns what it said."""
    said, names = folder / "said", folder / "bin"
    said.mkdir()
    names.mkdir()
    for name, code in STANDING_IN.items():
        (names / name).write_text(f"#!/bin/sh\n{code}\n")
        (names / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{names}:{os.environ['PATH']}", "SAID": str(said), "GO_ON": "1" if go_on else ""}
    words = ["sh", "-c", 'umask 0; exec "$@"', "sh", *map(str, SCRIPTS[script])]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode == 0) == go_on, done.stderr
    return {path.name: path.read_text().strip() for path in said.iterdir()}


def check_others_cannot_write(folder: Path) -> None:
    """Not even where it is sticky. Where the checkout is, and whose, is the developer's choice."""
    owners = {0, ROOT.stat().st_uid}
    for each in (folder, *folder.parents):
        if each == ROOT.parent:
            break
        found = each.stat()
        assert found.st_uid in owners and not found.st_mode & 0o002, f"{folder}: {each} has mode {found.st_mode:o}"


@pytest.fixture
def victim(user: User) -> t.Iterator[Path]:
    """A file of root's, to which the user has planted links under predictable names, and which they hold locked."""
    victim = user.home.parent / "victim"
    victim.write_text("precious")
    planted = [Path(path) for path in PLANTED if not os.path.lexists(path)]
    for path in planted:
        assert user.run("ln", "-s", victim, path).returncode == 0
    with user.running("flock", "--no-fork", "--exclusive", victim, "sleep", "60"):
        try:
            yield victim
        finally:
            for path in planted:
                path.unlink(missing_ok=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_locks_are_out_of_reach(victim: Path, tmp_path: Path, script: str) -> None:
    lock = Path(run(script, tmp_path)["lock"])
    try:
        assert victim.read_text() == "precious"
        assert lock.stat().st_mode & 0o777 == 0o600, "who can open it can lock it"
        check_others_cannot_write(lock.parent)
    finally:
        if lock.parent == Path("/run"):
            lock.unlink()


def test_an_image_is_made_where_nobody_else_can_write(user: User, victim: Path, tmp_path: Path) -> None:
    """The user makes the folder in which it used to be made, again and again."""
    code = "import os, sys\nwhile True:\n try: os.mkdir(sys.argv[1], 0o777)\n except OSError: pass"
    folder = Path(PLANTED[1]).with_suffix("")
    with user.running(sys.executable, "-c", code, folder):
        said = run("image", tmp_path, go_on=True)
    if folder.exists():
        folder.rmdir()
    Path(said["lock"]).unlink()
    assert said["owner"] == "0"
    work = Path(said["work"])
    check_others_cannot_write(work.parent)
    assert not work.exists() and re.fullmatch(r"image-trixie-plain\.\w{8}", work.name), "it cannot be predicted"
    assert victim.read_text() == "precious"


def test_the_walkthrough_has_the_lock_of_the_demo(victim: Path) -> None:
    code = """
import os, stat, sys
sys.path.insert(0, sys.argv[1])
import session
os.umask(0)
session.PIN = type("Pin", (), {"exists": lambda self: sys.exit(oct(stat.S_IMODE(os.stat(session.LOCK).st_mode)))})()
session.begin()
"""
    words = [sys.executable, "-c", code, str(ROOT / "docs/walkthrough")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.strip() == "0o600"
    assert victim.read_text() == "precious"
    os.unlink("/run/ebpf-demo.lock")


def test_no_predictable_name_below_a_folder_of_everyone() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    shell = re.compile(r"(?<![\w$}])/(?:var/tmp|tmp|dev/shm|run/lock)/[\w.$-]")
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in listed.split("\0")
        if name.startswith(TOOLS)
        for number, line in enumerate((ROOT / name).read_text(errors="replace").splitlines(), 1)
        if shell.search(line)
    ]
    assert found == []
