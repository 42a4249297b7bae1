# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_object with the real compiler: when it builds, when it does not, and what it reports about the object."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import typing as t

import pytest
from commands import sh
from host import Host
from paths import BPF, ROOT


@pytest.fixture
def task(tmp_path: pathlib.Path) -> t.Dict[str, t.Any]:
    shutil.copy(ROOT / "files/bpf/packet_count.bpf.c", tmp_path)
    return {"src": str(tmp_path / "packet_count.bpf.c"), "dest": str(tmp_path / "out/packet_count.bpf.o")}


def test_first_run_second_run_and_check_mode(host: Host, task: t.Dict[str, t.Any]) -> None:
    predicted = host.ok("bpf_object", check=True, **task)
    assert not os.path.exists(os.path.dirname(task["dest"]))
    built = host.ok("bpf_object", **task)
    assert built["changed"] and built["reasons"] == ["there is no object yet"]
    assert (predicted["checksum"], predicted["diff"]) == (built["checksum"], built["diff"])
    assert built["checksum"] == sh("sha256sum", task["dest"]).split()[0]
    assert built["source_checksum"] == sh("sha256sum", task["src"]).split()[0]
    assert built["compiler"] == sh("clang", "--version").splitlines()[0]
    again = host.ok("bpf_object", **task)
    assert not again["changed"] and again["reasons"] == []
    assert {**again, "reasons": 0, "changed": 0, "diff": 0} == {**built, "reasons": 0, "changed": 0, "diff": 0}


def test_results_agree_with_other_tools(host: Host, task: t.Dict[str, t.Any]) -> None:
    built = host.ok("bpf_object", **task)
    assert built["file_type"] == sh("file", "--brief", task["dest"]).strip()
    assert built["license"] == "Dual BSD/GPL"
    assert built["has_btf"] is True
    assert [(p["name"], p["section"]) for p in built["programs"]] == [
        ("packet_count", "xdp"),
        ("packet_count_frags", "xdp.frags"),
    ]
    counters = {"name": "counters", "type": "percpu_array", "key_size": 4, "value_size": 16, "max_entries": 1}
    assert counters in built["maps"]


def test_disassembly_with_source_lines(host: Host, task: t.Dict[str, t.Any]) -> None:
    lines = host.ok("bpf_object", disassemble=True, **task)["disassembly"]
    assert any("return ++counter->packets;" in line for line in lines)
    assert any(line.endswith("exit") for line in lines)
    assert lines == host.ok("bpf_object", disassemble=True, **task)["disassembly"]


def test_the_makefile_builds_the_same_code(
    host: Host, task: t.Dict[str, t.Any], compiled: t.Callable[..., str]
) -> None:
    host.ok("bpf_object", **task)

    def code(path: str) -> t.List[str]:
        return sh("llvm-objdump", "-d", path).splitlines()[3:]

    assert code(task["dest"]) == code(compiled("packet_count"))


def test_the_same_bytes_in_any_folder(host: Host, task: t.Dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    other = tmp_path / "elsewhere" / "deep"
    other.mkdir(parents=True)
    shutil.copy(task["src"], other)
    first = host.ok("bpf_object", **task)
    second = host.ok("bpf_object", src=str(other / "packet_count.bpf.c"), dest=str(other / "x.bpf.o"))
    assert first["checksum"] == second["checksum"]


def test_each_reason_to_rebuild(host: Host, task: t.Dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    def again(**more: t.Any) -> t.List[str]:
        predicted = host.ok("bpf_object", check=True, **{**task, **more})
        done = host.ok("bpf_object", **{**task, **more})
        assert (predicted["changed"], predicted["reasons"], predicted["diff"]) == (
            done["changed"],
            done["reasons"],
            done["diff"],
        )
        assert not host.ok("bpf_object", **{**task, **more})["reasons"] or more.get("force")
        return t.cast("list[str]", done["reasons"])

    header = tmp_path / "own.h"
    header.write_text("#define OWN 1\n")
    source = pathlib.Path(task["src"])
    source.write_text(source.read_text() + '#include "own.h"\nint own = OWN;\n')
    assert again() == ["there is no object yet"]
    source.write_text(source.read_text() + "int more = 2;\n")
    assert again() == ["the source has changed"]
    header.write_text("#define OWN 2\n")
    assert again() == [f"the header {header} has changed"]
    with open(task["dest"], "ab") as file:
        file.write(b"\n")
    assert again() == ["the object was changed after it was built"]
    os.unlink(task["dest"])
    assert again() == ["there is no object yet"]
    assert again(defines={"OWN_TOO": 3}) == ["the flags have changed"]
    assert again(defines={"OWN_TOO": 3}, force=True) == ["force is set"]
    clang = tmp_path / "clang"
    clang.write_text('#!/bin/sh\nexec clang "$@"\n')
    clang.chmod(0o755)
    assert again(clang=str(clang), defines={"OWN_TOO": 3}) == ["the compiler has changed"]


def test_defines_and_include_dirs_reach_the_compiler(host: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include/size.h").write_text("#define SIZE (TIMES * 2)\n")
    source = (BPF / "counter.bpf.c").read_text()
    result = host.ok(
        "bpf_object",
        src=str(tmp_path / "a b.bpf.c"),
        content=source + '#include <size.h>\nchar sized[SIZE] = "x";\n',
        dest=str(tmp_path / "a b.bpf.o"),
        defines={"TIMES": 21, "MORE": True},
        include_dirs=[str(tmp_path / "include")],
    )
    assert "a_map_with_a_long_name" in [each["name"] for each in result["maps"]]
    assert [each["value_size"] for each in result["maps"] if each["name"].endswith(".data")] == [42]
    assert (tmp_path / "a b.bpf.c").read_text().startswith(source)


def test_compile_error_quotes_the_compiler_and_keeps_the_old_object(host: Host, task: t.Dict[str, t.Any]) -> None:
    host.ok("bpf_object", **task)
    before = pathlib.Path(task["dest"]).read_bytes()
    source = pathlib.Path(task["src"])
    source.write_text(source.read_text() + "int broken(\n")
    for check in (True, False):
        message = host.refused("bpf_object", check=check, **task)
        assert "does not compile" in message and "error:" in message
        assert f"{source}:" in message, "the user's path, not that of a temporary copy"
    assert pathlib.Path(task["dest"]).read_bytes() == before


def test_missing_clang_header_and_source(host: Host, task: t.Dict[str, t.Any]) -> None:
    message = host.refused("bpf_object", clang="clang-99", **task)
    assert "clang-99 is not on this host: install the package clang" in message
    assert "xdp_counter_build: controller" in message
    lost = host.refused("bpf_object", cflags=["-nostdinc", "-nostdlibinc"], content="#include <bpf/gone.h>\n", **task)
    assert "is in the package libbpf-dev on Debian and Ubuntu, libbpf-devel on Fedora" in lost
    message = host.refused("bpf_object", src=task["src"] + "x", dest=task["dest"])
    assert "there is no source" in message


def test_impossible_paths(host: Host, task: t.Dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    before = pathlib.Path(task["src"]).read_text()
    assert "overwrite its source" not in host.refused("bpf_object", src="x.c", dest=task["dest"])
    assert "overwrite its source" in host.refused("bpf_object", src=task["src"], dest=task["src"])
    assert pathlib.Path(task["src"]).read_text() == before
    other = shutil.copy(task["src"], tmp_path / "no_c_file")
    assert "wrote no object" in host.refused("bpf_object", src=str(other), dest=task["dest"])
    assert "wrote no object" in host.refused("bpf_object", clang="/bin/true", **task)
    assert "is not an absolute path" in host.refused("bpf_object", include_dirs=["include"], **task)


def test_sources_that_are_not_utf8(host: Host, task: t.Dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    (tmp_path / "odd#$ name.h").write_text("#define ODD 1\n")
    source = pathlib.Path(task["src"])
    source.write_bytes(
        source.read_bytes().replace(b"+= bytes;", b"+= bytes; /* na\xefve */") + b'#include "odd#$ name.h"\n'
    )
    lines = host.ok("bpf_object", disassemble=True, **task)["disassembly"]
    assert any("+= bytes;" in line for line in lines)
    assert host.ok("bpf_object", **task)["reasons"] == []


@pytest.mark.parametrize(
    "script, words",
    [
        ("echo boom >&2; exit 1", "-v -E failed: boom"),
        ("exit 1", "-v -E failed"),
        ('echo "a word before" >&2; exec clang "$@"', ""),
    ],
)
def test_compilers_in_wrappers(
    host: Host, task: t.Dict[str, t.Any], tmp_path: pathlib.Path, script: str, words: str
) -> None:
    clang = tmp_path / "clang"
    clang.write_text(f"#!/bin/sh\n{script}\n")
    clang.chmod(0o755)
    if words:
        assert words in host.refused("bpf_object", clang=str(clang), **task)
    else:
        assert "clang version" in host.ok("bpf_object", clang=str(clang), **task)["compiler"]
    for nothing in ("", str(tmp_path)):
        assert "is not on this host" in host.refused("bpf_object", clang=nothing, **task)


def test_file_options(host: Host, task: t.Dict[str, t.Any]) -> None:
    host.ok("bpf_object", mode="0640", **task)
    assert os.stat(task["dest"]).st_mode & 0o777 == 0o640
    assert not host.ok("bpf_object", mode="0640", **task)["changed"]
    predicted = host.ok("bpf_object", check=True, mode="0600", **task)
    assert predicted["changed"] and predicted["diff"] == host.ok("bpf_object", mode="0600", **task)["diff"]


def test_nothing_reaches_a_shell(host: Host, task: t.Dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    evil = f"$(touch {tmp_path}/evil); touch {tmp_path}/evil"
    host.module("bpf_object", defines={"A": evil}, cflags=[evil], include_dirs=[evil], **task)
    host.module("bpf_object", clang=evil, **task)
    assert not (tmp_path / "evil").exists()


def test_several_at_once_compile_once(host: Host, task: t.Dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    """Like the tasks of a fleet's hosts when the controller builds the object for all of them."""
    log, clang = tmp_path / "log", tmp_path / "clang"
    clang.write_text(f'#!/bin/sh\ncase " $* " in *" -o "*) echo x >>{log} ;; esac\nexec clang "$@"\n')
    clang.chmod(0o755)
    processes = [host.start("bpf_object", clang=str(clang), **task) for _number in range(5)]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert [result["changed"] for result in results].count(True) == 1
    assert len({result["checksum"] for result in results}) == 1
    assert log.read_text().split() == ["x"]
