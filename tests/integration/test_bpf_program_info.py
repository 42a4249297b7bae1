# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_program_info compared with bpftool, for every program in the kernel."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import re
import subprocess
import threading
import time
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.inspection import native
from commands import bpftool, sh, sysctl
from host import PINS, Host

Compiled = t.Callable[..., str]


@pytest.fixture
def loaded(host: Host, compiled: Compiled) -> str:
    """A folder of pins: programs of several types, loaded by bpftool."""
    folder = f"{PINS}@{host.name}"
    os.makedirs(folder, exist_ok=True)
    sh("bpftool", "prog", "loadall", compiled("instructions"), f"{folder}/instructions")
    sh("bpftool", "prog", "load", compiled("walkthrough"), f"{folder}/walkthrough")
    sh("bpftool", "prog", "loadall", compiled("tail", VERSION=1), f"{folder}/tail")
    return folder


def by_id(host: Host, **options: t.Any) -> t.Dict[int, t.Dict[str, t.Any]]:
    return {program["id"]: program for program in host.ok("bpf_program_info", **options)["programs"]}


def attach(host: Host, compiled: Compiled, **options: t.Any) -> t.List[t.Dict[str, t.Any]]:
    result = host.ok(
        "xdp_program", **{"object": compiled("packet_count"), "interfaces": ["eth0", "eth0.10"], **options}
    )
    return t.cast("list[dict[str, t.Any]]", result["attachments"])


def test_list_agrees_with_bpftool(host: Host, compiled: Compiled, loaded: str) -> None:
    attach(host, compiled)
    jumbo = "jumbo0"
    host.plug(jumbo, mtu=9000)
    attach(host, compiled, interfaces=[jumbo], name="jumbo")
    first = {program["id"] for program in bpftool("prog", "list")}
    ours = by_id(host)
    # The kernel may free a program of the test before this one between two lists.
    theirs = {program["id"]: program for program in bpftool("--bpffs", "prog", "list") if program["id"] in first}
    assert len(ours) >= 10 and {"xdp", "socket_filter", "sched_cls", "cgroup_skb"} <= {p["type"] for p in ours.values()}
    assert "packet_count_frags" in {program["name"] for program in ours.values()}  # in full: the kernel keeps 15
    assert theirs.keys() <= ours.keys()
    assert {number for number, our in ours.items() if "cgroup" not in our["type"]} <= first  # systemd loads of those
    for number, their in theirs.items():
        our = ours[number]
        assert our["bytes_jited"] > 0 and their["jited"]
        for name in ("id", "type", "name", "tag", "uid", "bytes_xlated", "bytes_jited"):
            assert our[name] == their[name], (name, our, their)
        assert our["gpl"] == their["gpl_compatible"]
        assert our["memlock"] == their["bytes_memlock"]
        assert our["map_ids"] == their.get("map_ids", [])
        assert our["btf_id"] == their.get("btf_id")
        assert sorted(our["pins"]) == sorted(their.get("pinned", []))
        assert (our["run_time_ns"], our["run_cnt"]) == (their.get("run_time_ns", 0), their.get("run_cnt", 0))
        # Both calculate it from the time since boot, and may differ by a second because of rounding.
        loaded_at = datetime.datetime.strptime(our["loaded_at"] + "+0000", "%Y-%m-%dT%H:%M:%SZ%z").timestamp()
        assert abs(loaded_at - their["loaded_at"]) <= 1


def test_run_time_agrees_with_bpftool(host: Host, compiled: Compiled) -> None:
    (attachment,) = attach(host, compiled, interfaces=["eth0"])
    with sysctl(bpf_stats_enabled=1):
        host.send("eth0", 20)
        their = bpftool("prog", "show", "id", attachment["program_id"])
        our = by_id(host, id=attachment["program_id"])[attachment["program_id"]]
    assert our["run_cnt"] == their["run_cnt"] == 20
    assert our["run_time_ns"] == their["run_time_ns"] > 0


def test_attachments_agree_with_xdp_program(host: Host, compiled: Compiled) -> None:
    attachments = attach(host, compiled)
    other = f"{PINS}@{host.name}/other"
    sh("bpftool", "prog", "load", compiled("walkthrough"), other)
    host.plug("plain0")
    host.enter("bpftool", "net", "attach", "xdpgeneric", "pinned", other, "dev", "plain0")
    host.ok("xdp_program", object=compiled("packet_count"), state="loaded", interfaces=["plain0"])
    programs = by_id(host)
    checksum = sh("sha256sum", compiled("packet_count")).split()[0]
    for each in attachments:
        program = programs[each["program_id"]]
        assert (program["tag"], program["map_ids"]) == (each["tag"], each["map_ids"])
        assert program["pins"] == [f"{each['pin_path']}/program"]
        assert program["object"] == {"path": compiled("packet_count"), "checksum": checksum}
        assert program["attachments"] == [
            {
                "interface": each["interface"],
                "ifindex": each["ifindex"],
                "mode": each["mode"],
                "by": "link",
                "link_id": each["link_id"],
                "link_type": "xdp",
                "pins": [f"{each['pin_path']}/link"],
                "dispatcher": None,
            }
        ]
    (by_netlink,) = (program for program in programs.values() if program["pins"] == [other])
    (attachment,) = by_netlink["attachments"]
    assert attachment == {
        "interface": "plain0",
        "ifindex": host.index("plain0"),
        "mode": "generic",
        "by": "netlink",
        "link_id": None,
        "link_type": None,
        "pins": [],
        "dispatcher": None,
    }
    (waiting,) = (p for p in programs.values() if p["pins"] == [host.pin("plain0", "program")])
    assert waiting["attachments"] == []

    # From a different namespace the link is the same; only the name of its interface is unknown.
    number = attachments[0]["program_id"]
    outside = host.ok("bpf_program_info", netns=host.hub, id=number)["programs"][0]
    expected = {**programs[number]["attachments"][0], "interface": None, "mode": None}
    assert outside["attachments"] == [expected]


def test_selection(host: Host, compiled: Compiled, loaded: str) -> None:
    attachments = attach(host, compiled, name="mine")
    everything = by_id(host)
    walkthrough = bpftool("prog", "show", "pinned", f"{loaded}/walkthrough")
    number = walkthrough["id"]
    assert set(by_id(host, pinned=f"{loaded}/walkthrough")) == {number}
    assert set(by_id(host, pinned=host.pin("eth0", "link", "mine"))) == {attachments[0]["program_id"]}
    assert set(by_id(host, id=number)) == {number}
    ids = [number, attachments[1]["program_id"], 2**31 - 1]
    assert set(by_id(host, id=ids)) == set(ids[:2])
    assert number in by_id(host, tag=walkthrough["tag"].upper())
    # The kernel keeps 15 characters of a name; the full name and its first 15 characters both find it.
    for name in ("every_kind_of_instruction", "every_kind_of_i"):
        (found,) = by_id(host, name=name).values()
        assert found["name"] == "every_kind_of_instruction"
    assert {p["name"] for p in by_id(host, name=["packet_count"]).values()} == {"packet_count"}
    assert by_id(host, name="no_such_program") == by_id(host, id=[]) == {}
    assert everything.keys() >= set(ids[:2])
    result = host.ok("bpf_program_info", pinned=f"{loaded}/nothing")
    assert result["programs"] == [] and "nothing is pinned at" in json.dumps(result["warnings"])
    assert "not a pin of a BPF program or link" in host.refused(
        "bpf_program_info", pinned=host.pin("eth0", "maps/counters", "mine")
    )
    assert "not an absolute path" in host.refused("bpf_program_info", pinned="walkthrough")
    assert "mutually exclusive" in host.refused("bpf_program_info", id=1, name="x")
    assert "must be one or more of: xlated, jited" in host.refused("bpf_program_info", dump="opcodes")


def with_percpu_moves(line: str) -> str:
    """bpftool before 7.5 prints kernel 6.10's instruction `&(void __percpu *)` as a move."""
    return re.sub(r"= &\(void __percpu \*\)\((r\d)\)", r"= \1", line)


def test_xlated_agrees_with_bpftool(host: Host, compiled: Compiled, loaded: str) -> None:
    attach(host, compiled)
    dumped = by_id(host, dump=["xlated"])
    assert len(dumped) >= 9
    version = [int(part) for part in bpftool("version")["version"].split(".")]
    every = set()
    for number, program in dumped.items():
        theirs = sh("bpftool", "prog", "dump", "xlated", "id", number).splitlines()
        lines = program["xlated"]
        every |= {line[6:10] for line in lines if line[6:7] == "("}
        assert "unknown" not in "\n".join(lines)
        assert ([with_percpu_moves(line) for line in lines] if version < [7, 5] else lines) == theirs
        assert program["problems"] == [] and "jited" not in program
    assert len(every) >= 80, f"the fixture has only {len(every)} kinds of instruction: {sorted(every)}"


def test_xlated_of_instructions_newer_than_bpftool(host: Host, compiled: Compiled) -> None:
    """Compared with the verifier's log: a program without calls and maps is hardly translated."""
    pin = f"{PINS}@{host.name}/newer"
    os.makedirs(os.path.dirname(pin))
    load = ["bpftool", "--debug", "prog", "load", compiled("newer"), pin]
    done = subprocess.run(load, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this kernel does not know BPF's ISA v4 (kernel 6.6) with load_acquire (6.15)")
    log = re.findall(r"^\d+: (\([0-9a-f]{2}\) .*?) *(?:;.*)?$", done.stderr, re.M)
    assert len(log) == 24 and "(db) r3 = load_acquire((u64 *)(r10 -8))" in log
    (program,) = by_id(host, pinned=pin, dump="xlated").values()
    code = instructions(program["xlated"])
    assert [line for line in code if line in log] == log


def instructions(lines: t.Sequence[str]) -> t.List[str]:
    return [line.split(": ", 1)[1] for line in lines if re.match(r" *[0-9a-f]+: ", line)]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the instructions that it expects are those of x86-64")
@pytest.mark.parametrize("tool", ["llvm-objdump", "objdump"])
def test_jited(host: Host, loaded: str, tool: str) -> None:
    """The walkthrough's listing: prologue, source lines, the call, the end."""
    hidden = [] if tool == "llvm-objdump" else ["llvm-objdump"]
    with without_tools(hidden) as wrap:
        result = host.ok("bpf_program_info", wrap=wrap, pinned=f"{loaded}/walkthrough", dump="jited")
    assert result["disassembler"].endswith(f"/{tool}")
    (program,) = result["programs"]
    lines = program["jited"]
    assert lines[:2] == ["int packet_count(void * ctx):", f"bpf_prog_{program['tag']}_packet_count:"]
    sources = list(dict.fromkeys(line for line in lines if line.startswith(";")))
    assert sources == ['; bpf_printk("%d", counter);', "; counter++;", "; return XDP_PASS;"]
    code = instructions(lines)
    assert re.match(r"endbr64|nop", code[0])
    begin = code.index("pushq %rbp")
    assert re.fullmatch(r"movq %rsp, ?%rbp", code[begin + 1])
    (call,) = (line for line in code if line.startswith("call"))
    assert re.fullmatch(r"callq 0xffffffff[0-9a-f]{8} <bpf_trace_printk>", call)
    print_at, count_at, return_at = (lines.index(each) for each in sources)
    call_at = next(number for number, line in enumerate(lines) if "callq" in line)
    assert print_at < call_at < count_at < return_at < len(lines) - 3
    assert any(re.search(r"add[lq] \$(0x)?1, ?%", line) for line in lines[count_at:return_at])
    end = [line for line in code if not line.startswith("int3")][-2:]
    assert end[0] in ("leave", "leaveq") and re.fullmatch(r"retq?|jmpq? 0x\w+ <\S*return_thunk>", end[1])
    offsets = [int(line.split(":")[0], 16) for line in lines if re.match(r" *[0-9a-f]+: ", line)]
    assert offsets[0] == 0 and offsets == sorted(set(offsets)) and offsets[-1] < program["bytes_jited"]


def test_jited_of_every_program(host: Host, compiled: Compiled, loaded: str) -> None:
    attach(host, compiled)
    for program in by_id(host, dump=["xlated", "jited"]).values():
        assert program["problems"] == [], program
        assert len(instructions(program["jited"])) >= 3
        signatures = [line for line in program["xlated"] if line.endswith("):")]
        assert [line for line in program["jited"] if line.endswith("):")] == signatures
        assert not re.search(r"\.text|unknown", "\n".join(program["jited"]))
    (many,) = by_id(host, name="every_kind_of_instruction", dump=["jited"]).values()
    text = "\n".join(many["jited"])
    assert "int twice(const struct xdp_md * ctx, __u32 * number, const char * word):" in text
    assert re.search(r"callq 0x\w+ <bpf_prog_\w+_twice>", text)


@contextlib.contextmanager
def without_tools(names: t.Sequence[str]) -> t.Iterator[t.List[str]]:
    """A prefix that runs a command where these tools cannot be executed."""
    paths = {str(path.resolve()) for name in names for path in pathlib.Path("/usr/bin").glob(f"*{name}*")}
    paths |= {str(path) for name in names for path in pathlib.Path("/usr/lib").glob(f"llvm*/bin/{name}")}
    if "objdump" in names:
        paths.add(os.path.realpath("/usr/bin/objdump"))
    hide = " && ".join(f"mount --bind /dev/null {path}" for path in sorted(paths))
    yield ["unshare", "--mount", "sh", "-c", f'{hide or ":"} && exec "$@"', "sh"]


def test_jited_without_a_disassembler(host: Host, loaded: str) -> None:
    with without_tools(["objdump"]) as wrap:
        result = host.ok("bpf_program_info", wrap=wrap, pinned=f"{loaded}/walkthrough", dump=["xlated", "jited"])
    (program,) = result["programs"]
    assert result["disassembler"] is None and "jited" not in program
    assert len(bytes.fromhex(program["jited_raw"])) == program["bytes_jited"]
    assert program["xlated"][0] == "int packet_count(void * ctx):"
    (problem,) = program["problems"]
    assert "nothing on this host can disassemble native code; install the package llvm or binutils there" in problem


def test_native_code_of_arm64() -> None:
    """How the kernel's JIT for arm64 begins and ends a program, and calls a helper."""
    words = "d503245f a9bf7bfd 910003fd f8e00022 92800020 f2a81180 f2d00010 d63f0140 a8c17bfd d65f03c0"
    code = b"".join(bytes.fromhex(word)[::-1] for word in words.split())
    tool = native.find_disassembler()
    assert tool and tool.llvm

    def run(command: t.List[str], **_options: t.Any) -> t.Tuple[int, str, str]:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    base = 0xFFFF800080012340
    (listing,) = native.disassemble(run, tool, [native.Function(base, code)], "aarch64")
    assert [address for address, _text in listing] == list(range(base, base + len(code), 4))
    assert [text for _address, text in listing][:3] == ["bti c", "stp x29, x30, [sp, #-16]!", "mov x29, sp"]
    assert [text for _address, text in listing][-3:] == ["blr x10", "ldp x29, x30, [sp], #16", "ret"]
    assert "ldaddal x0, x2, [x1]" in [text for _address, text in listing]


def test_addresses_withheld(host: Host, loaded: str) -> None:
    with sysctl(kptr_restrict=2):
        programs = by_id(host, dump=["xlated", "jited"])
        number = bpftool("prog", "show", "pinned", f"{loaded}/walkthrough")["id"]
        theirs = sh("bpftool", "prog", "dump", "xlated", "id", number).splitlines()
    program = programs[number]
    assert program["xlated"] == theirs
    assert "jited" not in program and "jited_raw" not in program
    remedy = "kernel.kptr_restrict is 2; `sysctl kernel.kptr_restrict=1` lets root see it"
    assert program["problems"] == [
        f"the kernel withholds the functions that program {number} calls (bpf_unspec): {remedy}",
        f"the kernel withholds the native code of program {number}: {remedy}",
    ]
    assert len(programs) >= 6 and all(each["xlated"] for each in programs.values())


def test_blinded_constants(host: Host, compiled: Compiled, loaded: str) -> None:
    with sysctl(bpf_jit_harden=2):
        pin = f"{loaded}/blinded"
        sh("bpftool", "prog", "load", compiled("walkthrough"), pin)
        (open_one,) = by_id(host, pinned=pin, dump=["xlated", "jited"]).values()
        with sysctl(kptr_restrict=2):
            programs = by_id(host, pinned=[pin, f"{loaded}/walkthrough"], dump=["xlated", "jited"])
    assert open_one["problems"] == [] and open_one["xlated"] and open_one["jited"]
    blinded = programs.pop(open_one["id"])
    assert "xlated" not in blinded and len(blinded["problems"]) == 2
    assert "net.core.bpf_jit_harden blinded its constants: kernel.kptr_restrict is 2" in blinded["problems"][0]
    (other,) = programs.values()
    assert other["xlated"]


def test_programs_that_come_and_go(host: Host, compiled: Compiled, loaded: str) -> None:
    stop = threading.Event()
    loads = []

    def churn() -> None:
        pin = f"{loaded}/coming_and_going"
        while not stop.is_set():
            sh("bpftool", "prog", "load", compiled("walkthrough"), pin)
            os.unlink(pin)
            loads.append(time.monotonic())

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for _round in range(6):
            programs = host.ok("bpf_program_info", dump=["xlated", "jited"])["programs"]
            assert all(program["xlated"] and program["jited"] for program in programs)
    finally:
        stop.set()
        churning.join()
    assert len(loads) > 6
