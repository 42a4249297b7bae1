# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Once in a run: by how many processes it is asked for, after what changes, and if it fails."""

from __future__ import annotations

import json
import multiprocessing
import pathlib
import time
import typing as t

import pytest
from ansible import constants
from ansible_collections.ebpf.fleet.plugins.plugin_utils import compiled_once
from ansible_collections.ebpf.fleet.plugins.plugin_utils.compiled_once import CannotCompile, Wanted, compiled, known


class Compiler:
    """Writes what bpf_object leaves, and notes in a file that it ran."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.log, self.header, self.clang = (folder / name for name in ("log", "a.h", "clang"))
        for path in (self.log, self.header, self.clang):
            path.write_text("")
        self.fails = ""

    def __call__(self, options: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
        with self.log.open("a") as file:
            file.write(f"{options['byte_order']}\n")
        if self.fails:
            return {"failed": True, "msg": self.fails}
        dest = pathlib.Path(options["dest"])
        dest.parent.mkdir(parents=True, exist_ok=True)
        time.sleep(0.1)  # so that the others come meanwhile
        dest.write_text(f"{options['content']} {options['defines']}")
        pathlib.Path(options["src"]).write_text(options["content"])
        inputs = {options["src"]: "", str(self.header): ""}
        record = {"compiler": [str(self.clang), 0, 0], "inputs": inputs}
        (dest.parent / f".{dest.name}.build.json").write_text(json.dumps(record))
        return {"checksum": f"sum of {dest.read_text()}"}

    @property
    def ran(self) -> t.List[str]:
        return self.log.read_text().split()


@pytest.fixture
def compiler(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "run"))
    return Compiler(tmp_path)


@pytest.fixture
def wanted(tmp_path: pathlib.Path) -> Wanted:
    return Wanted("/play/a.bpf.c", "int a;", "a", {"A": 1}, ["-O1"], "clang", str(tmp_path / "cache"))


def test_many_processes_compile_once(compiler: Compiler, wanted: Wanted) -> None:
    fork = multiprocessing.get_context("fork")
    asking = [fork.Process(target=compiled, args=(wanted, "little", compiler)) for _each in range(8)]
    for process in asking:
        process.start()
    for process in asking:
        process.join()
    assert [process.exitcode for process in asking] == [0] * 8 and compiler.ran == ["little"]
    assert compiled(wanted, "little", compiler).checksum == "sum of int a; {'A': 1}"
    assert compiler.ran == ["little"]


def test_what_is_the_same_is_compiled_once(compiler: Compiler, wanted: Wanted) -> None:
    others = [
        wanted._replace(path="/play/b/a.bpf.c"),
        wanted._replace(text="int b;"),
        wanted._replace(stem="b"),
        wanted._replace(defines={"A": 2}),
        wanted._replace(cflags="-O2"),
        wanted._replace(clang="clang-19"),
        wanted._replace(folder=f"{wanted.folder}2"),
    ]
    paths = {compiled(each, order, compiler).path for each in [wanted, *others] for order in ("little", "big")}
    assert len(compiler.ran) == 16
    assert len(paths) == 14, "a source that has changed is compiled in its place"
    for each in others[1:]:
        assert known(each, "big") and known(each, "little")
    assert len(compiler.ran) == 16


@pytest.mark.parametrize("what", ["header", "clang", "object", "source beside it", "gone"])
def test_what_has_changed_is_looked_at_again(compiler: Compiler, wanted: Wanted, what: str) -> None:
    found = pathlib.Path(compiled(wanted, "little", compiler).path)
    paths = {"header": compiler.header, "clang": compiler.clang, "source beside it": found.with_suffix(".c")}
    path = paths.get(what, found)
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes())
    assert known(wanted, "little") is None
    compiled(wanted, "little", compiler)
    assert compiler.ran == ["little", "little"]
    assert known(wanted, "little")


def test_what_was_not_needed_is_not_known(compiler: Compiler, wanted: Wanted) -> None:
    compiled(wanted, "little", compiler)
    assert known(wanted, "big") is None and compiler.ran == ["little"]


def test_what_fails_fails_once(compiler: Compiler, wanted: Wanted) -> None:
    compiler.fails = "/x/a.bpf.c does not compile"
    for _host in range(3):
        with pytest.raises(CannotCompile, match=r"a\.bpf\.c does not compile"):
            compiled(wanted, "little", compiler)
    assert compiler.ran == ["little"] and known(wanted, "little") is None


def test_the_module_is_run_as_it_is(compiler: Compiler, wanted: Wanted, tmp_path: pathlib.Path) -> None:
    """It needs a clang; one that does not exist shows that the module ran, and what it says."""
    with pytest.raises(CannotCompile, match=r"/no-clang is not on this host: install the package clang"):
        compiled(wanted._replace(clang=f"{tmp_path}/no-clang"), "little")
    assert compiled_once.COLLECTIONS.endswith("build/collections")
