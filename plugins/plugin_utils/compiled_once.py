# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects that the controller compiles: once in a run of Ansible, whatever the number of hosts.

Each host has processes of its own on the controller. The first that needs an object has bpf_object look whether it is
up to date, and notes in the temporary folder of the run what came of it; the others find the note, and ask only whether
the files that the object was made of are still the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import typing as t

from ansible import constants

COLLECTIONS = __file__.rsplit("/", 6)[0]  # the folder that has ansible_collections

# As Ansible starts a module, but in a process of its own user, without a connection.
MODULE = """
import sys
from ansible.module_utils import basic
from ansible_collections.ebpf.fleet.plugins.modules import bpf_object
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.stdin.buffer.read(), "legacy"
bpf_object.main()
"""


class CannotCompile(Exception):
    """With the words of bpf_object."""


class Wanted(t.NamedTuple):
    """`path`: of the C file, to tell files of the same name apart; `text` is what is in it. `defines` and `cflags` are
    as the user gave them: bpf_object reads them. `folder`: where the controller keeps what it builds.
    """

    path: str
    text: str
    stem: str
    defines: t.Any
    cflags: t.Any
    clang: str
    folder: str


class Compiled(t.NamedTuple):
    path: str
    checksum: str


Run = t.Callable[[t.Mapping[str, t.Any]], t.Mapping[str, t.Any]]


def compiled(wanted: Wanted, byte_order: str, run: t.Optional[Run] = None) -> Compiled:
    """An object of that byte order which is up to date. `run` runs bpf_object. Raises CannotCompile."""
    note = _note(wanted, byte_order)
    found = _read(note)
    if found is None:
        with open(f"{note}.lock", "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            found = _read(note)  # the one that had the lock has just written it
            if found is None:
                found = _compile(wanted, byte_order, run or run_module)
                _write(note, found)
    if "failed" in found:
        raise CannotCompile(found["failed"])
    return Compiled(found["path"], found["checksum"])


def known(wanted: Wanted, byte_order: str) -> t.Optional[Compiled]:
    """The same, if it was compiled in this run. Compiles nothing."""
    found = _read(_note(wanted, byte_order))
    return None if found is None or "failed" in found else Compiled(found["path"], found["checksum"])


def _note(wanted: Wanted, byte_order: str) -> str:
    folder = os.path.join(str(constants.DEFAULT_LOCAL_TMP), "ebpf.fleet")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return os.path.join(folder, _digest([*wanted, byte_order]))


def _digest(values: t.Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _read(note: str) -> t.Optional[t.Dict[str, t.Any]]:
    try:
        with open(note, encoding="utf-8") as file:
            found: t.Dict[str, t.Any] = json.load(file)
    except FileNotFoundError:
        return None
    return found if all(_mark(path) == mark for path, mark in found["made_of"].items()) else None


def _write(note: str, found: t.Mapping[str, t.Any]) -> None:
    with open(f"{note}.new", "w", encoding="utf-8") as file:
        json.dump(found, file)
    os.rename(f"{note}.new", note)


def _mark(path: str) -> t.Optional[t.List[int]]:
    """Of a file, which changes with it. No user can set the last number."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_ino, found.st_size, found.st_ctime_ns]


def _compile(wanted: Wanted, byte_order: str, run: Run) -> t.Dict[str, t.Any]:
    settings = [wanted.path, wanted.defines, wanted.cflags, wanted.clang, byte_order]
    folder = os.path.join(wanted.folder, _digest(settings)[:12])
    dest = f"{folder}/{wanted.stem}.bpf.o"
    answer = run(
        {
            "src": f"{folder}/{wanted.stem}.bpf.c",
            "content": wanted.text,
            "dest": dest,
            "defines": wanted.defines,
            "cflags": wanted.cflags,
            "clang": wanted.clang,
            "byte_order": byte_order,
        }
    )
    if answer.get("failed"):
        return {"failed": str(answer.get("msg", "bpf_object has failed")), "made_of": {}}
    with open(f"{folder}/.{wanted.stem}.bpf.o.build.json", encoding="utf-8") as file:
        record = json.load(file)
    files = [dest, record["compiler"][0], *record["inputs"]]
    return {"path": dest, "checksum": answer["checksum"], "made_of": {path: _mark(path) for path in files}}


def run_module(options: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """bpf_object on the controller, as the user who runs Ansible, with Ansible's own Python."""
    given = {
        "ANSIBLE_MODULE_ARGS": {
            **options,
            "_ansible_check_mode": False,
            "_ansible_remote_tmp": str(constants.DEFAULT_LOCAL_TMP),
        }
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MODULE],
        input=json.dumps(given).encode(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([COLLECTIONS, *filter(None, sys.path)])},
        capture_output=True,
        check=False,
    )
    try:
        return t.cast("dict[str, t.Any]", json.loads(done.stdout))
    except ValueError:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        return {"failed": True, "msg": f"bpf_object on the controller ended with status {done.returncode}: {said}"}
