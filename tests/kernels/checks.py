# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""checks.py: the checks on each kernel. init.sh runs it in the guest; it prints a line of JSON for each check.

Modules run as Ansible runs them, each in a separate Python. Their results are compared with those of ip and bpftool.
Nothing here depends on the kernel's version: the kernel is asked what it lacks, and the row says what happens instead.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import traceback
import typing as t

HERE = pathlib.Path(__file__).parent
OBJECTS = HERE / "objects"
PINS = pathlib.Path("/sys/fs/bpf/ebpf_fleet")
RECORDS = pathlib.Path("/run/ebpf_fleet")
HUB = "hub"
SECONDS = 180  # generous for everything here: an emulated CPU is about 15 times slower

# Features by their names in bpf_facts, and a function of the kernel's that exists if it has the feature.
FUNCTIONS_OF_FEATURES = {
    "xdp_link": "bpf_xdp_link_attach",
    "frags": "bpf_xdp_get_buff_len",
    "live_frames": "xdp_test_run_init_page",
    "trace_event": "trace_raw_output_bpf_trace_printk",
}

# `ip -json link` numbers the modes. if_link.h: XDP_ATTACHED_*
MODES = {1: "native", 2: "generic", 3: "offload"}


class Wrong(Exception):
    """A difference from what is expected, in a sentence for the table."""


def expect(found: t.Any, wanted: t.Any, what: str) -> None:
    if found != wanted:
        raise Wrong(f"{what}: {found!r}, not {wanted!r}")


def until(true: t.Callable[[], t.Any], what: str, seconds: int = 0) -> None:
    seconds = seconds or SECONDS
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise Wrong(f"{what}: not within {seconds} s")
        time.sleep(0.2)


def sh(*command: t.Any) -> str:
    """Run a command and return its output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        raise Wrong(f"`{' '.join(words)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def bpftool(*words: t.Any) -> t.Any:
    return json.loads(sh("bpftool", "--json", *words) or "null")


def bpftool_version() -> t.List[int]:
    return [int(part) for part in bpftool("version")["version"].split(".")[:2]]


def pinned_link(path: pathlib.Path) -> t.Any:
    """One of all links: bpftool 7.5 and later fails after it has shown a single one."""
    (link,) = (each for each in bpftool("--bpffs", "link", "list") if str(path) in each.get("pinned", ()))
    return link


def start(module: str, **options: t.Any) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", f"ansible_collections.ebpf.fleet.plugins.modules.{module}"],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[str]) -> t.Dict[str, t.Any]:
    """The result of a module, failed or not."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise Wrong(f"a module did not end within {SECONDS} s") from error
    if "Traceback" in out + err or not out:
        raise Wrong(f"a module broke: {(err or out).strip()[-300:]}")
    return t.cast("dict[str, t.Any]", json.loads(out))


def ok(module: str, **options: t.Any) -> t.Dict[str, t.Any]:
    """Run a module that must succeed."""
    result = finish(start(module, **options))
    if result.get("failed"):
        raise Wrong(f"{module} failed: {result['msg']}")
    return result


def refused(module: str, **options: t.Any) -> str:
    """Run a module that must fail; returns its message."""
    result = finish(start(module, **options))
    expect(result.get("failed", False), True, f"{module} should have failed; failed")
    return t.cast(str, result["msg"])


@functools.lru_cache(maxsize=None)
def facts() -> t.Dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", ok("bpf_facts")["ansible_facts"]["bpf"])


@functools.lru_cache(maxsize=None)
def functions() -> t.Set[str]:
    """The kernel's. The compiler may have cut a part off one: NAME.constprop.0."""
    with open("/proc/kallsyms", encoding="ascii", errors="replace") as lines:
        return {line.split()[2].split(".")[0] for line in lines}


def program_ids() -> t.Set[int]:
    """Of all but those that systemd loads for cgroups when it likes."""
    return {program["id"] for program in bpftool("prog", "list") if "cgroup" not in program["type"]}


class Wire:
    """A veth with a port in the namespace HUB; removed at the end, with all pins for it, and those of dispatchers."""

    def __init__(self, interface: str = "eth0", mtu: int = 1500) -> None:
        self.interface = interface
        self.mtu = mtu
        self.sent = 0

    def __enter__(self) -> Wire:
        port = f"p-{self.interface}"
        peer = ["peer", "name", port, "netns", HUB, "mtu", self.mtu]
        sh("ip", "link", "add", "name", self.interface, "mtu", self.mtu, "type", "veth", *peer)
        sh("ip", "link", "set", "dev", self.interface, "up")
        sh("ip", "-n", HUB, "link", "set", "dev", port, "up")
        return self

    def __exit__(self, *exception: t.Any) -> None:
        sh("ip", "link", "del", "dev", self.interface)
        for folder in (PINS, RECORDS, *PINS.parent.glob("xdp/dispatch-*")):
            shutil.rmtree(folder, ignore_errors=True)

    def send(self, packets: int, size: int = 64) -> None:
        """Send packets; `sent` is the port's count of packets sent so far."""
        nsenter = ("nsenter", f"--net=/run/netns/{HUB}")
        self.sent = int(sh(*nsenter, sys.executable, HERE / "send.py", f"p-{self.interface}", packets, size))

    def xdp(self) -> t.Optional[t.Tuple[str, int]]:
        """Mode and id of its program, from ip."""
        found = json.loads(sh("ip", "-json", "link", "show", "dev", self.interface))[0].get("xdp")
        return (MODES[found["mode"]], found["prog"]["id"]) if found else None

    def pin(self, rest: str = "") -> pathlib.Path:
        return PINS / "packet_count" / self.interface / rest

    def counts(self) -> t.Tuple[int, int]:
        """Packets and bytes: the sums over all CPUs, from bpftool."""
        dump = bpftool("map", "dump", "pinned", self.pin("maps/counters"))
        values = [cpu["value"] for cpu in dump[0]["formatted"]["values"]]
        return sum(value["packets"] for value in values), sum(value["bytes"] for value in values)

    def maps(self) -> t.Dict[str, int]:
        """Ids of the pinned maps by name, from bpftool."""
        pins = {path.name.replace("%2E", "."): path for path in self.pin("maps").iterdir()}
        return {name: bpftool("map", "show", "pinned", path)["id"] for name, path in pins.items()}

    def attach(self, object_name: str = "packet_count", **options: t.Any) -> t.Dict[str, t.Any]:
        """Run xdp_program; returns its result, checked with ip and bpftool."""
        result = ok("xdp_program", object=str(OBJECTS / f"{object_name}.bpf.o"), interfaces=[self.interface], **options)
        (mine,) = result["attachments"]
        expect((mine["mode"], mine["program_id"]), self.xdp(), "mode and program, the module's and ip's")
        link = pinned_link(self.pin("link"))
        expect((mine["link_id"], mine["program_id"]), (link["id"], link["prog_id"]), "link, the module's and bpftool's")
        program = bpftool("prog", "show", "pinned", self.pin("program"))
        expect(
            (mine["program_id"], mine["tag"]), (program["id"], program["tag"]), "program, the module's and bpftool's"
        )
        return result


def attached(result: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """The one interface of a result."""
    (attachment,) = result["attachments"]
    return t.cast("dict[str, t.Any]", attachment)


def features() -> str:
    found = facts()
    has: t.Dict[str, t.Optional[bool]] = {
        feature: name in functions() for feature, name in FUNCTIONS_OF_FEATURES.items()
    }
    if found["lockdown"] == "confidentiality":
        has["trace_event"] = None  # the kernel shows nothing in tracefs
    sharing = found["features"]["dispatcher"]  # whether it is so, the rows of sharing.py say
    expect(
        found["features"],
        {**has, "dispatcher": sharing},
        "features, the module's and those that the kernel has functions for",
    )
    expect(found["btf"], os.path.exists("/sys/kernel/btf/vmlinux"), "BTF of the kernel")
    jit = os.path.exists("/proc/sys/net/core/bpf_jit_enable")
    expect(found["jit"]["available"], jit, "a JIT compiler")
    problems = " ".join(found["problems"])
    expect("CONFIG_DEBUG_INFO_BTF" in problems, not found["btf"], f"BTF named in {problems!r}")
    expect("CONFIG_BPF_JIT" in problems, not jit, f"JIT named in {problems!r}")
    expect(found["kernel"], os.uname().release, "kernel")
    asked = re.findall(r"\blockdown=(\w+)", pathlib.Path("/proc/cmdline").read_text()) or ["none"]
    expect(found["lockdown"] or "none", asked[0], "lockdown, the module's and that of the command line")
    expect(found["bpftool"], bpftool("version")["version"].split("+")[0], "bpftool")
    words = {True: "yes", False: "no", None: "not visible"}
    return "; ".join(f"{feature} {words[can]}" for feature, can in {**has, "dispatcher": sharing}.items())


def native() -> str:
    with Wire() as wire:
        mine = attached(wire.attach())
        expect(mine["mode"], "native", "mode")
        wire.send(1000)
        wire.send(100, 1514)
        expect(wire.counts(), (wire.sent, 1000 * 64 + 100 * 1514), "packets and bytes, counted and sent")
        counter = ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]
        totals = (counter["totals"]["packets"], counter["totals"]["bytes"])
        expect(totals, wire.counts(), "packets and bytes, xdp_counter_facts' and bpftool's")
        return f"native; {totals[0]} of {wire.sent}"


def kernel_btf() -> str:
    with Wire() as wire:
        if facts()["btf"]:
            expect(attached(wire.attach("core"))["mode"], "native", "mode")
            return "loaded"
        said = refused("xdp_program", object=str(OBJECTS / "core.bpf.o"), interfaces=[wire.interface])
        expect("needs the type information (BTF) of the kernel, for its CO-RE" in said, True, f"the reason in {said!r}")
        expect((wire.xdp(), PINS.exists()), (None, False), "program on the interface, and pins")
        return "refused: this kernel has no BTF"


def again() -> str:
    with Wire() as wire:
        wire.attach()
        before = program_ids()
        second = wire.attach()
        expect((second["changed"], second["steps"]), (False, []), "changed and steps of the second run")
        expect(program_ids() - before, set(), "new programs in the kernel")
        return "changed: false"


def upgrade() -> str:
    with Wire() as wire:
        old = attached(wire.attach("counter-1"))
        wire.send(100)
        new = attached(wire.attach("counter-2"))
        wire.send(100)
        expect(new["link_id"], old["link_id"], "link")
        expect(new["program_id"] != old["program_id"] and new["tag"] != old["tag"], True, "another program")
        expect(wire.counts(), (wire.sent, wire.sent * 64), "packets and bytes, counted and sent")
        return f"same link; {wire.counts()[0]} of {wire.sent}"


def upgrade_of_maps() -> str:
    if "maps=yes" not in pathlib.Path("/proc/cmdline").read_text().split():
        return "tried only on 5.10 and newest, with the newer userland"
    from upgrades import rows  # only the guest has what that imports

    with Wire() as wire:
        found = rows(sys.modules[__name__], wire)
    say(upgrades=found)
    expect([name for name, cells in found.items() if "?" in "".join(cells)], [], "types that are not as they should be")
    return f"{len(found)} types and sections, see reliability.md"


def detached() -> str:
    with Wire() as wire:
        before = attached(wire.attach())
        wire.send(100)
        ok("xdp_program", name="packet_count", state="detached")
        expect(wire.xdp(), None, "program on the interface")
        wire.send(50)
        expect(wire.counts()[0], 100, "packets counted when detached")
        expect(attached(wire.attach())["program_id"], before["program_id"], "program, attached again")
        wire.send(100)
        expect(wire.counts(), (wire.sent - 50, (wire.sent - 50) * 64), "packets and bytes, counted and sent")
        return f"{wire.counts()[0]} of {wire.sent - 50}"


def absent() -> str:
    before = program_ids()
    with Wire() as wire:
        wire.attach()
        ok("xdp_program", name="packet_count", state="absent")
        expect(wire.xdp(), None, "program on the interface")
        expect((PINS.exists(), RECORDS.exists()), (False, False), "pins and records that are left")
        until(lambda: program_ids() <= before, "no program more than before")  # fewer, if one was just about to go
        return "no program, pin or record"


def generic() -> str:
    with Wire() as wire:
        expect(attached(wire.attach(mode="generic"))["mode"], "generic", "mode")
        wire.send(1000)
        expect(wire.counts(), (wire.sent, wire.sent * 64), "packets and bytes, counted and sent")
        return f"generic; {wire.counts()[0]} of {wire.sent}"


@contextlib.contextmanager
def foreign_program() -> t.Iterator[t.Tuple[Wire, t.Tuple[str, int]]]:
    """An interface with a program that ip has attached."""
    with Wire() as wire:
        sh("ip", "link", "set", "dev", wire.interface, "xdp", "obj", OBJECTS / "counter-1.bpf.o", "sec", "xdp")
        theirs = wire.xdp()
        if not theirs:
            raise Wrong("ip has attached nothing")
        yield wire, theirs


def foreign() -> str:
    with foreign_program() as (wire, theirs):
        said = refused("xdp_program", object=str(OBJECTS / "packet_count.bpf.o"), interfaces=[wire.interface])
        tag = bpftool("prog", "show", "id", theirs[1])["tag"]
        named = f"XDP program {theirs[1]} 'packet_count' (tag {tag}), attached by netlink, {theirs[0]}"
        expect(named in said and "on_conflict: replace" in said, True, f"{said!r} names {named!r} and the remedy")
        expect(wire.xdp(), theirs, "program on the interface")
        expect((PINS / "packet_count").exists(), False, "pins")
        return f"refused by name; still there, {theirs[0]}"


def replace() -> str:
    with foreign_program() as (wire, _theirs):
        mine = attached(wire.attach(on_conflict="replace"))
        wire.send(100)
        expect(wire.counts(), (wire.sent, wire.sent * 64), "packets and bytes, counted and sent")
        return f"{mine['mode']}; {wire.counts()[0]} of {wire.sent}"


def jumbo() -> str:
    with Wire(mtu=9000) as wire:
        result = wire.attach()
        mine, warnings = attached(result), " ".join(map(str, result.get("warnings", ())))
        wire.send(50, 9000)
        expect(wire.counts(), (wire.sent, wire.sent * 9000), "packets and bytes, counted and sent")
        program = ok("bpf_program_info", id=[mine["program_id"]])["programs"][0]["name"]
        if facts()["features"]["frags"]:
            expect((mine["mode"], program), ("native", "packet_count_frags"), "mode and program")
            expect(warnings, "", "warnings")
            return f"native, {program}; {wire.counts()[0]} of {wire.sent}"
        # Before 5.18: generic mode with a warning, native mode refused, and bpf_facts has predicted it.
        expect((mine["mode"], program), ("generic", "packet_count"), "mode and program")
        expect("rejected packet_count in native mode" in warnings, True, f"a warning in {warnings!r}")
        problems = " ".join(ok("bpf_facts")["ansible_facts"]["bpf"]["problems"])
        expect("the kernel does not support packets of several buffers" in problems, True, f"a problem in {problems!r}")
        said = refused("xdp_program", object=str(OBJECTS / "packet_count.bpf.o"), interfaces=["eth0"], mode="native")
        expect("cannot attach by link, mode native for packet_count on eth0" in said, True, f"the action in {said!r}")
        expect(wire.xdp(), ("generic", mine["program_id"]), "mode and program after the refusal")
        return f"frags: no (kernel < 5.18): generic, with a warning; {wire.counts()[0]} of {wire.sent}"


def trace() -> str:
    if facts()["lockdown"] == "confidentiality":
        return no_trace()

    def printing() -> bool:
        value = bpftool("map", "dump", "pinned", wire.pin("maps/%2Edata"))[0]["formatted"]["value"]
        return bool(value[".data"][0]["trace"]["every"])

    with Wire() as wire:
        wire.attach()
        pipe = "/sys/kernel/tracing/trace_pipe"
        with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as other:
            try:
                reading = start("xdp_counter_facts", trace_seconds=SECONDS / 3, trace_lines=10)
                until(lambda: reading.poll() is not None or printing(), "printing switched on")
                if reading.poll() is None:
                    wire.send(10)
                result = finish(reading)
                time.sleep(2)
            finally:
                other.terminate()
                others_lines = other.communicate()[0].count("packet_count")
        if result.get("failed"):
            raise Wrong(f"xdp_counter_facts failed: {result['msg']}")
        traced = result["ansible_facts"]["xdp_counter"]["trace"]
        numbers = [line["message"].rpartition(" packets ")[2] for line in traced["lines"]]
        expect(numbers, [str(number) for number in range(1, 11)], "packets in the lines")
        expect((traced["lost"], others_lines), (0, 10), "lines lost, and lines that another reader got")
        expect(printing(), False, "printing afterwards")
        instances = os.listdir("/sys/kernel/tracing/instances")
        expect(instances, [], "tracefs instances afterwards")
        return f"{len(numbers)} of 10; trace_pipe lost none"


def no_trace() -> str:
    """Both are refused, with the reason and the remedy, and bpf_facts has predicted it."""
    expect(os.listdir("/sys/kernel/tracing"), [], "what the kernel shows in tracefs")
    problems = " ".join(facts()["problems"])
    with Wire() as wire:
        wire.attach()
        said = refused("xdp_counter_facts", trace_seconds=1)
        expect("locked down for confidentiality" in said and "lockdown=integrity" in said, True, f"reason in {said!r}")
        expect("trace_seconds" in problems and "lockdown=integrity" in problems, True, f"trace_seconds in {problems!r}")
    with Wire() as wire:
        reads = {"object": str(OBJECTS / "kernel_memory.bpf.o"), "interfaces": [wire.interface]}
        said = refused("xdp_program", **reads)
        expect("locked down for confidentiality" in said and "bpf_probe_read_kernel" in said, True, f"both in {said!r}")
        expect("bpf_probe_read_kernel" in problems, True, f"bpf_probe_read_kernel in {problems!r}")
        expect(wire.xdp(), None, "program on the interface")
    return "refused, predicted by bpf_facts: lockdown=confidentiality"


@contextlib.contextmanager
def loaded() -> t.Iterator[None]:
    """Programs in the kernel: ours on an interface, and others loaded by bpftool."""
    folder = pathlib.Path("/sys/fs/bpf/loaded")
    with Wire() as wire:
        wire.attach()
        folder.mkdir()
        try:
            sh("bpftool", "prog", "load", OBJECTS / "walkthrough.bpf.o", folder / "walkthrough")
            # bpftool before 5.16 cannot load an array of programs with values.
            more = "tail-1" if bpftool_version() >= [5, 16] else "counter-1"
            sh("bpftool", "prog", "loadall", OBJECTS / f"{more}.bpf.o", folder / "more")
            yield
        finally:
            shutil.rmtree(folder)


def program_list() -> str:
    """Bpftool is asked before and after the module: meanwhile the kernel frees programs of the checks before."""
    with loaded():
        first = {program["id"] for program in bpftool("prog", "list")}
        ours = {program["id"]: program for program in ok("bpf_program_info")["programs"]}
        theirs = {program["id"]: program for program in bpftool("--bpffs", "prog", "list") if program["id"] in first}
    expect(theirs.keys() - ours.keys(), set(), "ids that only bpftool has")
    systemds = {number for number, our in ours.items() if "cgroup" in our["type"]}
    expect(ours.keys() - systemds - first, set(), "ids that only the module has")
    expect(len(theirs) >= 3, True, "three programs at least")
    for number, their in theirs.items():
        our = ours[number]
        same = {
            **{name: their.get(name) for name in ("type", "name", "tag", "uid", "bytes_xlated", "btf_id")},
            "bytes_jited": their.get("bytes_jited", 0),  # absent of a program that is interpreted
            "gpl": their["gpl_compatible"],
            "memlock": their["bytes_memlock"],
            "map_ids": their.get("map_ids", []),
            "pins": their.get("pinned", []),
        }
        expect({name: our[name] for name in same}, same, f"program {number}, the module's and bpftool's")
        loaded_at = datetime.datetime.strptime(our["loaded_at"] + "+0000", "%Y-%m-%dT%H:%M:%SZ%z").timestamp()
        expect(abs(loaded_at - their["loaded_at"]) <= 1, True, f"program {number}: loaded within a second of bpftool's")
    return f"{len(ours)} programs alike"


def xlated() -> str:
    # bpftool before 7.5 prints kernel 6.10's instruction `&(void __percpu *)` as a move.
    old = bpftool_version() < [7, 5]
    lines = 0
    with loaded():
        for program in ok("bpf_program_info", dump=["xlated"])["programs"]:
            theirs = sh("bpftool", "prog", "dump", "xlated", "id", program["id"]).splitlines()
            ours = program["xlated"]
            if old:
                ours = [re.sub(r"= &\(void __percpu \*\)\((r\d)\)", r"= \1", line) for line in ours]
            for our, their in zip(ours, theirs):
                expect(our, their, f"a line of {program['name']}, the module's and bpftool's")
            expect((len(ours), program["problems"]), (len(theirs), []), "lines and problems")
            lines += len(ours)
    return f"{lines} lines alike"


def jited() -> str:
    with loaded():
        result = ok("bpf_program_info", dump=["jited"])
    tool, lines = result["disassembler"], 0
    for program in result["programs"]:
        if not program["bytes_jited"]:
            said = " ".join(program["problems"])
            remedy = "net.core.bpf_jit_enable=1" if facts()["jit"]["available"] else "CONFIG_BPF_JIT"
            expect("the kernel interprets it" in said and remedy in said, True, f"the reason and {remedy} in {said!r}")
            continue
        if not tool:
            expect(len(program["jited_raw"]) // 2, program["bytes_jited"], f"bytes of {program['name']}")
            continue
        expect(program["problems"], [], f"problems of {program['name']}")
        code = [line for line in program["jited"] if re.match(" *[0-9a-f]+: ", line)]
        expect([line for line in code if re.search("unknown|undefined", line)], [], f"what {tool} does not know")
        if os.uname().machine == "aarch64":
            expect(len(code), program["bytes_jited"] // 4, f"instructions of {program['name']}")
        lines += len(code)
    if any(program["bytes_jited"] for program in result["programs"]):
        return f"{lines} instructions" if tool else "no disassembler in this userland: as bytes"
    return "the kernel interprets programs, which is said"


@contextlib.contextmanager
def added(name: str, *words: t.Any) -> t.Iterator[None]:
    sh("ip", "link", "add", "name", name, *words)
    sh("ip", "link", "set", "dev", name, "up")
    try:
        yield
    finally:
        sh("ip", "link", "del", "dev", name)


def stacked(*interfaces: str, **options: t.Any) -> t.Tuple[t.List[str], t.List[str]]:
    """Attach to all of these; returns their modes, checked with ip, and what was detached for a moment."""
    result = ok("xdp_program", object=str(OBJECTS / "packet_count.bpf.o"), interfaces=list(interfaces), **options)
    for each in result["attachments"]:
        found = json.loads(sh("ip", "-json", "link", "show", "dev", each["interface"]))[0]["xdp"]
        mine = (each["mode"], each["program_id"])
        expect(mine, (MODES[found["mode"]], found["prog"]["id"]), f"{each['interface']}'s mode and program")
        link = pinned_link(PINS / "packet_count" / each["interface"].replace(".", "%2E") / "link")
        expect(link["prog_id"], each["program_id"], f"{each['interface']}'s program in the pinned link")
    lifted = [step.split(":")[0] for step in result["steps"] if "for a moment" in step]
    return [each["mode"] for each in result["attachments"]], lifted


def in_the_way(*interfaces: str) -> t.List[str]:
    """What must be detached for a moment: nothing on a kernel before 5.15, which attaches in any order."""
    return list(interfaces) if "xdp_master_redirect" in functions() else []


def vlan() -> str:
    with Wire() as wire, added("eth0.10", "link", "eth0", "type", "vlan", "id", 10):
        expect(stacked("eth0.10", "eth0"), (["generic", "native"], []), "modes, and detached for a moment")
        ok("xdp_program", name="packet_count", state="absent")
        expect(stacked("eth0.10"), (["generic"], []), "modes, and detached for a moment")
        expect(stacked("eth0"), (["native"], in_the_way("eth0.10")), "modes, and detached for a moment")
        expect(stacked("eth0", mode="generic"), (["generic"], in_the_way("eth0.10")), "modes, and detached")
        expect(stacked("eth0.10"), (["generic"], []), "modes of the VLAN, unchanged")
        wire.send(100)
        expect(wire.counts()[0], wire.sent, "packets, counted and sent")
        return f"in any order; {wire.counts()[0]} of {wire.sent}"


def bond() -> str:
    with added("bond9", "type", "bond", "mode", "active-backup"), Wire("eth1") as wire:
        sh("ip", "link", "set", "dev", "eth1", "down")
        sh("ip", "link", "set", "dev", "eth1", "master", "bond9")
        expect(stacked("bond9", mode="generic"), (["generic"], []), "modes, and detached for a moment")
        expect(stacked("eth1"), (["native"], in_the_way("bond9")), "modes, and detached for a moment")
        wire.send(100)
        expect(wire.counts()[0], wire.sent, "packets, counted and sent")
        ok("xdp_program", name="packet_count", state="absent")
        if not in_the_way("bond9"):
            return f"no native mode on a bond (kernel < 5.15); {wire.sent} of {wire.sent}"
        expect(stacked("bond9", mode="native"), (["native"], []), "modes, and detached for a moment")
        said = refused("xdp_program", object=str(OBJECTS / "packet_count.bpf.o"), interfaces=["eth1"])
        expect("belongs to bond9, on which packet_count runs in native mode" in said, True, f"the reason in {said!r}")
        both = {"object": str(OBJECTS / "packet_count.bpf.o"), "interfaces": ["bond9", "eth1"]}
        said = refused("xdp_program", **both, mode="native", name="other", on_conflict="replace")
        expect("would run on all its members, and eth1 has" in said, True, f"the reason in {said!r}")
        expect(stacked("bond9", mode="native"), (["native"], []), "modes of the bond, unchanged")
        expect(stacked("bond9", "eth1", mode="generic")[0], ["generic", "generic"], "modes")
        return f"in any order; on one of them natively; {wire.sent} of {wire.sent}"


def entries() -> str:
    """A list of prefixes, an array for each CPU and a constant. Kernels before 5.13 have batches for neither."""
    blocklist = {"object": str(OBJECTS / "blocklist.bpf.o"), "interfaces": ["eth0"], "variables": {"enforce": False}}
    first = {"map": "block4", "keys": ["192.0.2.0/24", "198.51.100.7"], "value": 1, "exclusive": True}
    counts = {"map": "verdicts", "entries": [{"key": 1, "value": {"packets": 7}}]}
    pin = PINS / "blocklist/eth0/maps"

    def prefixes() -> t.List[t.Tuple[int, t.List[int]]]:
        rows = bpftool("map", "dump", "pinned", pin / "block4")
        found = [[int(part, 16) for part in row["key"]] for row in rows]
        return sorted((int.from_bytes(bytes(key[:4]), sys.byteorder), key[4:]) for key in found)

    with Wire() as wire:
        ok("xdp_program", **blocklist, map_entries=[first, counts])
        expect(prefixes(), [(24, [192, 0, 2, 0]), (32, [198, 51, 100, 7])], "prefixes, bpftool's")
        again = ok("xdp_program", **blocklist, map_entries=[first, counts])
        expect(again["steps"], [], "steps of the second run")
        wire.send(100)
        new = {"name": "blocklist", "map": "block4", "keys": ["10.0.0.0/8"], "value": 1, "exclusive": True}
        expect(ok("bpf_map", **new)["steps"], ["add 1, remove 2 of the entries of block4 on eth0"], "steps, in place")
        expect(prefixes(), [(8, [10, 0, 0, 0])], "prefixes in place, bpftool's")
        ok("bpf_map", **{**new, "keys": ["10.0.0.0/8", "192.0.2.0/24"]}, replace="at_once")
        expect(prefixes(), [(8, [10, 0, 0, 0]), (24, [192, 0, 2, 0])], "prefixes at once, bpftool's")
        (verdicts,) = ok("bpf_map_info", name="blocklist", map="verdicts")["maps"]
        packets = [row["value"]["packets"] for row in verdicts["entries"]]
        expect(packets[4], wire.sent, "packets that are not IP, counted and sent")
        expect(packets[1] % 7, 0, "a value of each CPU")
    return f"prefixes in place and at once; {packets[4]} of {wire.sent}"


def slots() -> str:
    """What is in the slots of an array and of a hash of maps."""
    entries = {"map": "lists", "slot": 1, "keys": ["192.0.2.0/24"], "value": 1, "exclusive": True}
    zone = {"name": "slots", "map": "zones", "slot": {"vlan": 7, "number": 1}, "entries": [{"key": 5, "value": 6}]}
    task = {"object": str(OBJECTS / "slots.bpf.o"), "interfaces": ["eth0"]}

    def inside(name: str) -> t.Dict[str, t.List[t.List[int]]]:
        """By the key of the slot, the keys in it, from bpftool."""
        rows = bpftool("map", "dump", "pinned", PINS / "slots/eth0/maps" / name)
        found = {"".join(byte[2:] for byte in row["key"]): row["value"] for row in rows if "error" not in row["value"]}
        numbers = {key: sum(int(byte, 16) << 8 * at for at, byte in enumerate(each)) for key, each in found.items()}
        dumps = {key: bpftool("map", "dump", "id", number) for key, number in numbers.items()}
        return {key: [[int(byte, 16) for byte in row["key"]] for row in dump] for key, dump in dumps.items()}

    with Wire():
        ok("xdp_program", **task, map_entries=[entries])
        expect(inside("lists"), {"00000000": [], "01000000": [[24, 0, 0, 0, 192, 0, 2, 0]]}, "lists, bpftool's")
        expect(ok("xdp_program", **task, map_entries=[entries])["steps"], [], "steps of the second run")
        ok("bpf_map", **{**entries, "keys": ["10.0.0.0/8"]}, name="slots", replace="at_once")
        expect(inside("lists")["01000000"], [[8, 0, 0, 0, 10, 0, 0, 0]], "a list at once, bpftool's")
        ok("bpf_map", **zone)
        expect(inside("zones"), {"00070100": [[5, 0, 0, 0]]}, "the zone, bpftool's")
        expect(ok("bpf_map", **zone)["steps"], [], "steps of a second run")
        (found,) = ok("bpf_map_info", name="slots", map="zones", slot=zone["slot"])["maps"]
        expect(found["entries"], zone["entries"], "entries of the zone")
    return "filled before the program runs, and at once; an empty slot got a map"


# The names of the rows in the table.
CHECKS: t.Dict[str, t.Callable[[], str]] = {
    "bpf_facts: features equal to those in the kernel's symbols": features,
    "xdp_program: first attach on a veth; counts equal to sent": native,
    "an object that needs the kernel's BTF": kernel_btf,
    "a second run changes nothing": again,
    "an upgrade keeps counts and link": upgrade,
    "an upgrade of maps of each type": upgrade_of_maps,
    "detached keeps counts; reattached, counting continues": detached,
    "absent leaves nothing": absent,
    "mode: generic": generic,
    "foreign program (ip link) refused and left alone": foreign,
    "on_conflict: replace": replace,
    "MTU 9000": jumbo,
    "bpf_map: entries equal to bpftool's": entries,
    "bpf_map: maps in slots, as bpftool sees them": slots,
    "a VLAN and the interface below it": vlan,
    "a bond and its member": bond,
    "xdp_counter_facts: trace lines": trace,
    "bpf_program_info: list equal to bpftool's": program_list,
    "bpf_program_info: xlated equal to bpftool's": xlated,
    "bpf_program_info: native code": jited,
}


def say(**words: t.Any) -> None:
    print(json.dumps(words), flush=True)


def begin() -> None:
    """Say what this guest is, and make HUB."""
    about = facts()
    python = ".".join(map(str, sys.version_info[:2]))
    say(kernel=about["kernel"], libbpf=about["libbpf"], bpftool=about["bpftool"], python=python)
    sh("ip", "netns", "add", HUB)
    # Without IPv6, as neighbour discovery would be counted too.
    silence = "for each in all default; do echo 1 >/proc/sys/net/ipv6/conf/$each/disable_ipv6; done"
    for enter in ((), ("nsenter", f"--net=/run/netns/{HUB}")):
        sh(*enter, "sh", "-c", silence)


def run_each(rows: t.Mapping[str, t.Callable[[], str]]) -> None:
    for name, check in rows.items():
        began = time.monotonic()
        try:
            passed, text = True, check()
        except Exception as error:  # a check that breaks is a failed row; the others still run
            passed, text = False, str(error)
            if not isinstance(error, Wrong):
                text = traceback.format_exc().strip().replace("\n", " / ")[-400:]
        say(check=name, passed=passed, text=text, seconds=round(time.monotonic() - began))


def main() -> None:
    import sharing

    begin()
    run_each({**CHECKS, **sharing.ROWS})
    say(end=True)


if __name__ == "__main__":
    import checks  # the one that sharing.py imports: a Wrong of its is one of ours

    checks.main()
