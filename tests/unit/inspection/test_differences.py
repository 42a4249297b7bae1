# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences between hosts, and text that is the same if the hosts are."""

from __future__ import annotations

import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.inspection import differences as inspection
from ansible_collections.ebpf.fleet.plugins.module_utils.inspection.stable import stable_jited, stable_xlated


def a_host(name: str, kernel: str = "6.1.0", xlated: t.Sequence[str] = ("   0: (95) exit",), **program: t.Any) -> t.Any:
    tag = program.get("tag", "f5531e9d0f447db1")
    return inspection.Host(
        name=name,
        bpf={"kernel": kernel, "architecture": program.get("architecture", "x86_64")},
        counter={"interfaces": {"eth0": {"program_id": 7, "mode": program.get("mode", "native")}}},
        programs=[
            {
                "id": 7,
                "name": "packet_count",
                "tag": tag,
                "object": {"path": "/o", "checksum": "ab" if tag.startswith("f") else "cd"},
                "xlated": list(xlated),
                "jited": program.get("jited", ["   0: retq"]),
            }
        ],
        disassembler=program.get("disassembler", "/usr/bin/llvm-objdump"),
        objects=[],
    )


def sentences(*hosts: inspection.Host) -> t.List[str]:
    return [str(each) for each in inspection.differences(hosts)]


def test_nothing_differs() -> None:
    assert sentences(a_host("a"), a_host("b"), a_host("c")) == []
    assert sentences() == []


def test_a_different_translation_is_told_from_a_different_program() -> None:
    new = a_host("new", "6.12.0", ["   0: (b7) r0 = 2", "   1: (95) exit"])
    assert sentences(a_host("a"), new, a_host("b")) == [
        "translation of packet_count with tag f5531e9d0f447db1: 2 instructions by kernel 6.12.0 on new eth0,"
        " but 1 instructions by kernel 6.1.0 on a eth0, b eth0"
    ]
    other = a_host("other", xlated=["   0: (b7) r0 = 2"], tag="0123456789abcdef", jited=["   0: nop"])
    assert sentences(a_host("a"), other, a_host("b")) == [
        "object: sha256 cd on other eth0, but sha256 ab on a eth0, b eth0",
        "tag of packet_count: 0123456789abcdef on other eth0, but f5531e9d0f447db1 on a eth0, b eth0",
    ]


def test_native_code_is_compared_where_it_should_be_identical() -> None:
    hardened = a_host("c", jited=["   0: lfence", "   4: retq"])
    assert sentences(a_host("a"), a_host("b"), hardened) == [
        "native code of packet_count with tag f5531e9d0f447db1 and the same translation, for x86_64 by llvm-objdump:"
        " 2 instructions by kernel 6.1.0 on c eth0, but 1 instructions by kernel 6.1.0 on a eth0, b eth0"
    ]
    elsewhere = a_host("c", architecture="aarch64", jited=["   0: ret"])
    by_another_tool = a_host("d", disassembler="/usr/bin/objdump", jited=["   0: ret"])
    withheld = a_host("e", jited=[])
    assert sentences(a_host("a"), elsewhere, by_another_tool, withheld) == []


def test_mode() -> None:
    hosts = [a_host(f"web{number}") for number in range(8)]
    assert sentences(a_host("z", mode="generic"), a_host("y", mode=None), *hosts) == [
        "mode: generic on z eth0, but not attached on y eth0, but native on web0 eth0, web1 eth0, web2 eth0,"
        " web3 eth0, web4 eth0, web5 eth0 and 2 more"
    ]


def test_stable_xlated() -> None:
    lines = [
        "int packet_count(struct xdp_md * ctx):",
        "; bpf_map_lookup_elem(&counters, &key) at map[id:7]",
        "   0: (18) r1 = map[id:87]",
        "   2: (18) r6 = map[id:12][0]+8",
        "   4: (18) r2 = map[id:87]",
        "   6: (85) call bpf_trace_printk#-61360",
        "   7: (85) call pc+2#bpf_prog_f5531e9d0f447db1_twice",
        "   8: (18) r1 = 0xffff888102f50400",
        "  10: (18) r1 = 0x123456789abcdef0",
        "  12: (07) r1 += -4",
    ]
    assert stable_xlated(lines) == [
        *lines[:2],
        "   0: (18) r1 = map[0]",
        "   2: (18) r6 = map[1][0]+8",
        "   4: (18) r2 = map[0]",
        "   6: (85) call bpf_trace_printk",
        lines[6],
        "   8: (18) r1 = ADDRESS",
        *lines[8:],
    ]


def test_stable_jited() -> None:
    lines = {
        "  31: movabsq $-131387294940160, %rdi # imm = 0xFFFF888102F50400": "  31: movabsq $ADDRESS, %rdi",
        "  31: movabsq $0xffff888102f50400,%rdi": "  31: movabsq $ADDRESS,%rdi",
        "  2d: addq $-4, %rsi": "  2d: addq $-4, %rsi",
        "  2d: addq $0xfffffffffffffffc,%rsi": "  2d: addq $0xfffffffffffffffc,%rsi",
        "  56: addq %gs:-2085560280, %rax": "  56: addq %gs:ADDRESS, %rax",
        "  99: callq 0xffffffff8150e4c0 <bpf_ktime_get_ns>": "  99: callq <bpf_ktime_get_ns>",
        "  99: callq 0xffffffff8150e4c0": "  99: callq ADDRESS",
        "  b6: jmp 0x114": "  b6: jmp 0x114",
        "; if (x > -2085560280)": "; if (x > -2085560280)",
    }
    assert stable_jited(lines) == list(lines.values())


def test_stable_jited_of_arm64() -> None:
    """Three or four instructions put an address into a register; one or two put a constant there."""
    lines = [
        "   c: mov x0, #42",
        "  10: mov x10, #-30977",
        "  14: movk x10, #32946, lsl #16",
        "  18: movk x10, #32768, lsl #32",
        "  1c: blr x10",
        "  20: mov x1, #7",
        "  24: movk x1, #9, lsl #16",
        "  28: ret",
    ]
    stable = stable_jited(lines)
    assert stable[1:4] == ["  10: mov x10, PIECE", "  14: movk x10, PIECE, lsl #16", "  18: movk x10, PIECE, lsl #32"]
    assert [stable[0], *stable[4:]] == [lines[0], *lines[4:]]
