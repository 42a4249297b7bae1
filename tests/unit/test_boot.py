# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restoring programs after a reboot: the names of units, and the file that they run."""

from __future__ import annotations

import gc
import io
import os
import pathlib
import subprocess
import sys
import typing as t
import zipfile

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils import boot
from ansible_collections.ebpf.fleet.plugins.module_utils.persist import interpreter, systemd
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

PLUGINS = pathlib.Path(__file__).parents[2] / "plugins"


@pytest.mark.parametrize(
    ("interface", "instance"),  # as from systemd-escape(1)
    [("eth0", "eth0"), ("eth0.10", "eth0.10"), ("br-lan", r"br\x2dlan"), ("ä", r"\xc3\xa4"), (".a", r"\x2ea")],
)
def test_units_are_named_as_systemd_escapes_them(interface: str, instance: str) -> None:
    assert systemd.unit_of(interface) == f"ebpf-fleet@{instance}.service"


def test_the_file_has_the_sources_of_the_modules() -> None:
    with zipfile.ZipFile(io.BytesIO(boot.runner())) as archive:
        names = archive.namelist()
        for name in ("boot", "deploy/change", "deploy/plan", "deploy/apply", "libbpf/__init__", "libbpf/objects"):
            assert archive.read(f"ebpf_fleet/{name}.py") == (PLUGINS / f"module_utils/{name}.py").read_bytes()
    assert "__main__.py" in names and len(names) == len(set(names))


def test_it_does_not_look_for_garbage_among_a_million_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def restore(_lib: object, _place: object) -> t.Iterator[str]:
        seen.append(gc.isenabled())
        yield "restored"

    place = Place("/sys/fs/bpf/ebpf_fleet", "it", "eth0")
    monkeypatch.setattr(boot, "all_places", lambda: [place])
    monkeypatch.setattr(boot, "root_of_namespace", lambda root: root)
    monkeypatch.setattr(boot, "require_libbpf", lambda: None)
    monkeypatch.setattr(boot, "restore", restore)
    assert boot.main(["eth0"]) == 0
    assert (seen, gc.isenabled()) == ([False], True)


OLD = "#!/bin/sh\nexit 1\n"  # what it answers when it is asked whether it is new enough
GOOD = '#!/bin/sh\n[ "$3" = -c ] || echo "$0 $@"\n'


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    ("pythons", "found"),
    [
        ({"bin/python3": GOOD, "bin/python3.11": GOOD}, "bin/python3"),
        ({"bin/python3.13": GOOD}, "bin/python3.13"),
        ({"bin/python3": OLD, "libexec/platform-python": OLD, "bin/python3.11": GOOD}, "bin/python3.11"),
        ({"bin/python3.11-config": OLD, "libexec/platform-python": GOOD}, "libexec/platform-python"),
        ({"local/bin/python3": GOOD}, "local/bin/python3"),
        ({"local/bin/python3.9": GOOD}, "local/bin/python3.9"),
        ({"bin/python3": OLD}, ""),
        ({}, ""),
    ],
)
def test_the_file_looks_for_a_python(tmp_path: pathlib.Path, shell: str, pythons: t.Dict[str, str], found: str) -> None:
    usr = tmp_path / "usr"
    for name, script in pythons.items():
        (usr / name).parent.mkdir(parents=True, exist_ok=True)
        (usr / name).write_text(script)
        (usr / name).chmod(0o755)
    file = tmp_path / "boot.pyz"
    file.write_bytes(runner_of("/usr/bin/python3.11").replace(b"/usr/", f"{usr}/".encode()))
    done = subprocess.run([shell, file, "eth 0"], capture_output=True, text=True, check=False)
    assert done.stdout == (f"{usr}/{found} -I -B {file} eth 0\n" if found else "")
    assert (done.returncode, done.stderr[:30]) == ((0, "") if found else (1, "there is no Python 3.8 or late"))


def test_a_python_that_works_is_asked_only_once(tmp_path: pathlib.Path) -> None:
    """What it could not do is not tried by another one, and its exit code is kept."""
    usr, tried = tmp_path / "usr", tmp_path / "tried"
    (usr / "bin").mkdir(parents=True)
    for name in ("python3", "python3.11"):
        (usr / "bin" / name).write_text(f'#!/bin/sh\necho {name} $3 >> {tried}\n[ "$3" = -c ] || exit 3\n')
        (usr / "bin" / name).chmod(0o755)
    file = tmp_path / "boot.pyz"
    file.write_bytes(runner_of("/usr/bin/python3.11").replace(b"/usr/", f"{usr}/".encode()))
    assert subprocess.run(["sh", file], check=False).returncode == 3
    assert tried.read_text() == f"python3 {file}\npython3 -c\n"


@pytest.mark.parametrize("without", ["import ctypes", "sys.version_info < (3, 8)"])
def test_the_zip_is_silent_in_a_python_that_cannot_run_it(tmp_path: pathlib.Path, without: str) -> None:
    """So that the next one is tried without a word in the journal."""
    with zipfile.ZipFile(io.BytesIO(boot.runner())) as archive:
        source = archive.read("__main__.py").decode()
    assert without in source
    other = {"import ctypes": "import ctypes_", "sys.version_info < (3, 8)": "sys.version_info < (4, 8)"}[without]
    file = tmp_path / "__main__.py"
    file.write_text(source.replace(without, other))
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def runner_of(executable: t.Optional[str]) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", executable)
        return boot.runner.__wrapped__()


def test_the_file_is_the_same_for_all_pythons_of_the_distribution() -> None:
    """Else hosts would change with each controller that finds a different one."""
    assert (
        runner_of("/usr/bin/python3.11") == runner_of("/usr/libexec/platform-python") == runner_of("/usr/bin/python3")
    )
    assert b"python3.1" not in systemd.unit_file()


def test_one_from_elsewhere_is_tried_first(tmp_path: pathlib.Path) -> None:
    python = tmp_path / "a b" / "python"
    python.parent.mkdir()
    python.symlink_to("/usr/bin/python3")
    assert f"\nfor python in '{python}' /usr/bin/python3 ".encode() in runner_of(str(python))


def test_one_that_others_can_change_is_never_tried(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.symlink_to("/usr/bin/python3")
    os.chmod(tmp_path, 0o777)
    assert runner_of(str(python)) == runner_of("/usr/bin/python3")
    monkeypatch.setattr(sys, "executable", str(python))
    assert interpreter.obstacle() == ""
    monkeypatch.setattr(interpreter, "_SEARCHED", (str(tmp_path / "python3*"), "/nowhere/python3"))
    (tmp_path / "python3").touch()
    assert interpreter.interpreters() == ["/nowhere/python3"]
    assert interpreter.obstacle().startswith(f"users other than root can change its Python, {python}")


@pytest.mark.parametrize("unknown", [None, ""])
def test_a_python_that_does_not_know_where_it_is(unknown: t.Optional[str]) -> None:
    assert runner_of(unknown) == runner_of("/usr/bin/python3")
