# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib
import sys
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.objects import clang, toolchain


def test_flags() -> None:
    flags = toolchain.arguments({"B": 2, "A": "x y", "ON": True, "OFF": False, "BARE": None}, ["-Wall"], ["/inc"], "v3")
    assert flags[:5] == ["-O2", "-g", "-target", "bpf", "-mcpu=v3"]
    assert flags[5:] == ["-DA=x y", "-DB=2", "-DBARE", "-DOFF=0", "-DON=1", "-I/inc", "-Wall"]


def test_the_byte_order() -> None:
    for order in ("little", "big"):
        target = "bpf" if order == sys.byteorder else {"little": "bpfel", "big": "bpfeb"}[order]
        assert toolchain.arguments({}, [], [], "v3", order)[2:4] == ["-target", target]


def test_headers_that_say_the_other_byte_order() -> None:
    source = toolchain.Source("/src/a.bpf.c", b"")
    little, big = "/usr/include/linux/byteorder/little_endian.h", "/usr/include/linux/byteorder/big_endian.h"
    for right, wrong, order in ((little, big, "little"), (big, little, "big")):
        clang.check_headers(source, ["/usr/include/linux/bpf.h", right], order)
        with pytest.raises(
            FleetError, match=f"/src/a.bpf.c cannot be compiled here for {order}-endian hosts: .*{wrong}"
        ):
            clang.check_headers(source, [right, wrong], order)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A;rm", "-x"])
def test_bad_macro_names(name: str) -> None:
    with pytest.raises(FleetError, match="is not the name of a C macro"):
        toolchain.arguments({name: 1}, [], [], "v3")


def test_no_compiler() -> None:
    with pytest.raises(FleetError, match="clang-99 is not on this host"):
        toolchain.find_compiler("clang-99", allow_unsafe=False)


@pytest.fixture
def opened(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder that others can write to."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.mark.parametrize(
    "flags",
    [
        ["-fplugin={}/a.so"],
        ["-Xclang", "-load", "-Xclang", "{}/a.so"],
        ["-fpass-plugin={}/a.so"],
        ["@{}/flags"],
        ["--config={}/flags"],
        ["-include", "{}/a.h"],
        ["-I{}"],
        ["-isystem{}"],
        ["-isystem", "{}"],
        ["-B{}/bin"],
        ["-Wp,-include,{}/a.h"],
        ["-I../open"],
        ["@{}/../flags"],
        ["--config", "{}/../flags"],
    ],
)
def test_flags_that_lead_to_what_others_can_change(
    opened: pathlib.Path, tmp_path: pathlib.Path, flags: t.List[str]
) -> None:
    (tmp_path / "flags").write_text(f"-O1 '-fplugin={opened}/a.so'\n")
    (tmp_path / "cwd").mkdir()
    with pytest.raises(FleetError, match="is not safe to compile and load"):
        clang.check_arguments([flag.format(opened) for flag in flags], str(tmp_path / "cwd"))


def test_a_plugin_that_others_can_create(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(FleetError, match=f"there is no {tmp_path}/a, and users other than root can create it; create"):
        clang.check_arguments([f"-fplugin={tmp_path}/a/b.so"], "/")
    tmp_path.chmod(0o755)
    clang.check_arguments([f"-fplugin={tmp_path}/a/b.so"], "/")


@pytest.mark.parametrize(
    "flag", ["-DPATH={}/a", "-U{}", "-ffile-prefix-map={}/a=.", "-fdebug-prefix-map={}=/b", "-Wall", "-O3", "-g"]
)
def test_flags_that_open_nothing(opened: pathlib.Path, flag: str) -> None:
    clang.check_arguments([flag.format(opened)], "/")


def test_a_tool_that_others_can_change_is_passed_over(
    opened: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    for folder in (opened, tmp_path / "closed"):
        (folder / "objdump").touch()
        (folder / "objdump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{opened}:{tmp_path}/closed")
    assert toolchain.which("objdump") == f"{tmp_path}/closed/objdump"
    with pytest.raises(FleetError, match=f"{opened}/objdump is not safe to compile and load: {opened} "):
        toolchain.find_compiler("objdump", allow_unsafe=False)
    assert toolchain.find_compiler("objdump", allow_unsafe=True).path == f"{opened}/objdump"
