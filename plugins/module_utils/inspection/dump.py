# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of loaded programs as lines, or sentences that say why there is none."""

from __future__ import annotations

import contextlib
import os
import sys
import typing as t

from ..errors import FleetError
from ..kernel import jit
from ..kernel.symbols import KernelSymbols
from ..libbpf.code import ProgramCode
from ..libbpf.info import ProgramInfo
from ..objects.toolchain import Run
from . import bytecode, native


class Dump(t.NamedTuple):
    info: ProgramInfo
    code: ProgramCode


def dump(
    run: Run, programs: t.Sequence[Dump], wanted: t.Container[str]
) -> t.Tuple[t.Optional[str], t.List[t.Dict[str, t.Any]]]:
    """The disassembler's path (None: not needed, or not installed), and the results for each program."""
    symbols = KernelSymbols()
    results: t.List[t.Dict[str, t.Any]] = [{"problems": []} for _each in programs]
    if "xlated" in wanted:
        for result, each in zip(results, programs):
            _translated(result, each, symbols)
    tool = native.find_disassembler() if "jited" in wanted else None
    if "jited" in wanted:
        readable = [(result, each) for result, each in zip(results, programs) if _has_native(result, each)]
        _native(run, tool, readable, symbols)
    return tool.path if tool else None, results


def _translated(result: t.Dict[str, t.Any], each: Dump, symbols: KernelSymbols) -> None:
    if not each.code.xlated:
        result["problems"].append(
            f"the kernel withholds the translated code of program {each.info.id}, because net.core.bpf_jit_harden"
            f" blinded its constants: {_why_withheld()}"
        )
        return
    result["xlated"] = bytecode.translated(each.code, symbols)
    if any(one.code == 0x85 and one.src == 0 and one.immediate == 0 for _n, one in bytecode.decode(each.code.xlated)):
        result["problems"].append(
            f"the kernel withholds the functions that program {each.info.id} calls (bpf_unspec): {_why_withheld()}"
        )


def _has_native(result: t.Dict[str, t.Any], each: Dump) -> bool:
    if not each.info.bytes_jited:
        result["problems"].append(
            f"program {each.info.id} has no native code because the kernel interprets it; {jit.remedy()}"
        )
    elif not each.code.jited:
        result["problems"].append(f"the kernel withholds the native code of program {each.info.id}: {_why_withheld()}")
    return bool(each.code.jited)


def _why_withheld() -> str:
    restrict = None
    with contextlib.suppress(OSError, ValueError), open("/proc/sys/kernel/kptr_restrict", encoding="ascii") as file:
        restrict = int(file.read())
    if restrict == 2:
        return "kernel.kptr_restrict is 2; `sysctl kernel.kptr_restrict=1` lets root see it"
    from ..kernel.remedies import locked_down  # here: a target compiles what it imports, and rarely needs this

    return (
        locked_down()
        or f"kernel.kptr_restrict is {restrict}, and this process lacks CAP_SYSLOG; run it with that capability"
    )


def _native(
    run: Run,
    tool: t.Optional[native.Disassembler],
    programs: t.Sequence[t.Tuple[t.Dict[str, t.Any], Dump]],
    symbols: KernelSymbols,
) -> None:
    """Disassemble all in one run of the tool. What cannot be disassembled is returned as bytes."""
    problem = None if tool else f"nothing on this host can disassemble native code; {native.REMEDY}"
    here = [(result, each) for result, each in programs if not each.info.ifindex and each.code.jited_addresses]
    functions = [native.functions_of(each.code) for _result, each in here]
    listings: t.List[native.Listing] = []
    if tool and here:
        flat = [function for each in functions for function in each]
        try:
            listings = native.disassemble(run, tool, flat, os.uname().machine, sys.byteorder == "big")
        except FleetError as error:
            problem = str(error)
    at = 0
    for (result, each), own in zip(here, functions):
        if listings:
            result["jited"] = native.written(each.code, listings[at : at + len(own)], symbols)
            at += len(own)
    for result, each in programs:
        if "jited" not in result:
            offloaded = (
                f"it runs on the network card of interface index {each.info.ifindex}, whose code cannot be disassembled"
            )
            result["jited_raw"] = each.code.jited.hex()
            result["problems"].append(
                f"the native code of program {each.info.id} is returned as bytes:"
                f" {offloaded if each.info.ifindex else problem or 'the kernel does not report its address'}"
            )
