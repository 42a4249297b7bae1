# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages if there is no code to show. Dumps of code: tests/integration/test_bpf_program_info.py."""

from __future__ import annotations

import pathlib
import struct
import sys
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.inspection import dump, native
from ansible_collections.ebpf.fleet.plugins.module_utils.inspection.bytecode import translated
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel import jit
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel.symbols import KernelSymbols
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.btf import Btf, read_btf
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.code import ProgramCode
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.info import ProgramInfo

EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
CODE = ProgramCode(EXIT, b"\xc3", (0xFFFFFFFFC0001000,), (1,), (), (), (), b"")
INFO = ProgramInfo(41, "xdp", "acl", "5bb1", 0, (), bytes_xlated=8, bytes_jited=1)
TOOL = native.Disassembler("/usr/bin/llvm-objdump", llvm=True)


def run(_command: t.List[str], **_options: t.Any) -> t.Tuple[int, str, str]:
    return 1, "", "unknown architecture"


def dumped(**changes: t.Any) -> t.Dict[str, t.Any]:
    info = INFO._replace(**{key: value for key, value in changes.items() if key in INFO._fields})
    code = CODE._replace(**{key: value for key, value in changes.items() if key in CODE._fields})
    return dump.dump(run, [dump.Dump(info, code)], ["xlated", "jited"])[1][0]


@pytest.mark.parametrize(
    ("available", "remedy"),
    [
        (True, "after `sysctl net.core.bpf_jit_enable=1`, newly loaded programs have native code"),
        (False, "it was built without a JIT compiler for BPF; use one with CONFIG_BPF_JIT"),
    ],
)
def test_interpreted(monkeypatch: pytest.MonkeyPatch, available: bool, remedy: str) -> None:
    monkeypatch.setattr(jit, "jit", lambda: {"available": available})
    found = dumped(bytes_jited=0, jited=b"", jited_addresses=(0xFFFFFFFFC0001000,), jited_lengths=(0,))
    assert found["xlated"] == ["   0: (95) exit"]
    assert found["problems"] == [f"program 41 has no native code because the kernel interprets it; {remedy}"]


@pytest.mark.parametrize("immediate", [-0x100, 0x100])
def test_calls_of_an_interpreted_program(tmp_path: pathlib.Path, immediate: int) -> None:
    """Their immediate leads from __bpf_call_base to the interpreter: bpf_patch_call_args() of the kernel."""
    base = 0xFFFFFFFF81001000
    symbols = tmp_path / "kallsyms"
    symbols.write_text(f"{base:016x} T __bpf_call_base\n{base + immediate:016x} t __bpf_prog_run_args32\n")
    call = struct.pack("=BBhi", 0x85, 0x10 if sys.byteorder == "little" else 0x01, 1, immediate)
    code = CODE._replace(xlated=call + EXIT + EXIT, jited=b"", jited_lengths=(0,))
    lines = translated(code, KernelSymbols(str(symbols)))
    assert lines == ["   0: (85) call pc+1#__bpf_prog_run_args32", "   1: (95) exit", "   2: (95) exit"]


def test_offloaded_to_a_network_card() -> None:
    found = dumped(ifindex=7)
    assert found["jited_raw"] == "c3" and "jited" not in found
    assert found["problems"] == [
        "the native code of program 41 is returned as bytes:"
        " it runs on the network card of interface index 7, whose code cannot be disassembled"
    ]


def test_a_disassembler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "find_disassembler", lambda: TOOL)
    found = dumped()
    assert found["jited_raw"] == "c3"
    assert "cannot disassemble" in found["problems"][0] and "unknown architecture" in found["problems"][0]


def test_an_unknown_architecture() -> None:
    with pytest.raises(FleetError, match="cannot disassemble vax code: this architecture is not supported"):
        native.disassemble(run, TOOL, [native.Function(4096, b"\xc3")], "vax")


def test_a_listing_that_cannot_be_read() -> None:
    with pytest.raises(FleetError, match="cannot read the listing of"):
        native.disassemble(
            lambda *_words, **_more: (0, "nothing", ""), TOOL, [native.Function(4096, b"\xc3")], "x86_64"
        )


def test_an_instruction_newer_than_this_collection() -> None:
    code = CODE._replace(xlated=struct.pack("=BBhi", 0xE4, 0x21, 3, 4) + EXIT)
    lines = translated(code, KernelSymbols("/nonexistent"))
    assert lines == ["   0: (e4) unknown instruction e421030004000000", "   1: (95) exit"]


def test_btf_that_cannot_be_read() -> None:
    assert read_btf(b"") is None and read_btf(b"\x9f\xeb") is None and read_btf(bytes(24)) is None
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 12, 12, 1)
    assert read_btf(header + struct.pack("=III", 0, 31 << 24, 0) + b"\0") is None  # a kind newer than this collection
    with pytest.raises(ValueError, match="contains itself"):
        Btf(header + struct.pack("=III", 0, 2 << 24, 1) + b"\0").signature(1)
