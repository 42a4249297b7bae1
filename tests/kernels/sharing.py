# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several programs on an interface: ours beside those of xdp-loader and xdp-filter, and beside each other.

checks.py runs these rows after its own, in the same guest. What is counted is compared with what was sent.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
import typing as t

import checks
from checks import HUB, OBJECTS, PINS, Wire, Wrong, bpftool, expect, finish, ok, refused, sh, start

COUNTER = str(OBJECTS / "packet_count.bpf.o")
SECOND = str(OBJECTS / "second.bpf.o")
LIBXDP = pathlib.Path("/sys/fs/bpf/xdp")
UPGRADES, JOINS, FEW = 50, 20, 4
SAMPLE = re.search(r"\bsample=(\S+)", pathlib.Path("/proc/cmdline").read_text())
T = t.TypeVar("T")
COST = "sharing: instructions a packet, above an empty program"  # the row of cost.py
NO_XDP_TOOLS = "this userland has no xdp-tools"


def deploy(
    wire: Wire, name: str = "packet_count", source: str = "packet_count", again: bool = True, **options: t.Any
) -> t.Dict[str, t.Any]:
    """Run xdp_program for a program that shares the interface; returns its attachment, checked with ip and bpftool.

    `again`: a second run must have nothing to do.
    """
    result = ok(
        "xdp_program", object=str(OBJECTS / f"{source}.bpf.o"), name=name, interfaces=[wire.interface], **options
    )
    mine = checks.attached(result)
    there = mine["dispatcher"]
    if not there:
        raise Wrong(f"{name} is in no dispatcher: {result['steps']}")
    expect((mine["mode"], there["program_id"]), wire.xdp(), "mode and dispatcher, the module's and ip's")
    pinned = LIBXDP / f"dispatch-{mine['ifindex']}-{there['program_id']}" / f"prog{there['slot']}-prog"
    expect(bpftool("prog", "show", "pinned", pinned)["id"], mine["program_id"], "our program, and that of libxdp's pin")
    if again:
        second = ok(
            "xdp_program", object=str(OBJECTS / f"{source}.bpf.o"), name=name, interfaces=[wire.interface], **options
        )
        expect(second["steps"], [], "steps of a second run")
    return mine


def take_off(wire: Wire, name: str = "packet_count") -> None:
    ok("xdp_program", name=name, state="absent", interfaces=[wire.interface])


def loader(*words: t.Any) -> str:
    return sh("xdp-loader", *words)


def status(wire: Wire) -> t.List[t.Tuple[int, str, int, str]]:
    """Priority, name, id and actions of each program, from xdp-loader."""
    rows = re.findall(r"=>\s+(\d+)\s+(\S+)\s+(\d+)\s+[0-9a-f]{16}\s+(\S+)", loader("status", wire.interface))
    return [(int(priority), name, int(number), actions) for priority, name, number, actions in rows]


def counted(program: int, name: str) -> int:
    """Packets in the map of that name of a program, from bpftool: the sum over all CPUs."""
    for number in bpftool("prog", "show", "id", program)["map_ids"]:
        if bpftool("map", "show", "id", number)["name"] == name:
            values = bpftool("map", "dump", "id", number)[0]["formatted"]["values"]
            return sum(each["value"]["packets"] if name == "counters" else each["value"] for each in values)
    raise Wrong(f"program {program} has no map {name}")


def nothing_left(wire: Wire) -> None:
    expect(wire.xdp(), None, "program on the interface")
    expect(sorted(LIBXDP.glob("dispatch-*")) if LIBXDP.exists() else [], [], "pins of dispatchers")
    expect((PINS.exists(), checks.RECORDS.exists()), (False, False), "pins and records of ours")


def two_of_ours() -> str:
    """The counter before another one, each with its own counts, upgrade and removal."""
    with Wire() as wire:
        mine = deploy(wire, priority=5, dispatcher="always")
        expect((mine["dispatcher"]["slot"], mine["dispatcher"]["others"]), (0, []), "slot and others, alone")
        wire.send(100)
        behind = deploy(wire, "second", "counter-1", priority=60)
        expect(behind["dispatcher"]["slot"], 1, "slot of the second")
        wire.send(200)
        expect(counted(mine["program_id"], "counters"), wire.sent, "packets of the first, counted and sent")
        expect(counted(behind["program_id"], "counters"), 200, "packets of the second, counted and sent")
        newer = deploy(wire, "second", "counter-2", priority=60)
        expect(newer["program_id"] != behind["program_id"], True, "another program")
        wire.send(100)
        expect(counted(newer["program_id"], "counters"), 300, "packets of the second, after its upgrade")
        first = deploy(wire, "second", "counter-2", priority=1)
        expect((first["dispatcher"]["slot"], first["program_id"]), (0, newer["program_id"]), "slot and program, moved")
        take_off(wire)
        wire.send(100)
        expect(counted(newer["program_id"], "counters"), 400, "packets of the second, alone")
        take_off(wire, "second")
        nothing_left(wire)
        return f"{wire.sent} of {wire.sent}, and 400 of 400"


def beside_xdp_loader() -> str:
    """xdp-loader's program first, ours before it and behind it; status, unload of one, load, unload of all."""
    if not shutil.which("xdp-loader"):
        return NO_XDP_TOOLS
    for priority in (10, 90):
        with Wire() as wire:
            loader("load", "-m", "native", wire.interface, SECOND)
            mine = deploy(wire, priority=priority)
            rows = status(wire)
            expect([row[:2] for row in rows], sorted([(50, "second_count"), (priority, "packet_count")]), "status")
            second = next(number for _priority, name, number, _actions in rows if name == "second_count")
            wire.send(500)
            expect(counted(mine["program_id"], "counters"), wire.sent, "packets of ours, counted and sent")
            expect(counted(second, "second_map"), wire.sent, "packets of xdp-loader's, counted and sent")
            loader("unload", "-i", second, wire.interface)
            expect([row[:2] for row in status(wire)], [(priority, "packet_count")], "status without the other")
            wire.send(300)
            expect(counted(mine["program_id"], "counters"), wire.sent, "packets of ours, alone")
            loader("load", "-m", "native", wire.interface, SECOND)
            wire.send(200)
            expect(counted(mine["program_id"], "counters"), wire.sent, "packets of ours, after it joined")
            deploy(wire, priority=priority)
            take_off(wire)
            expect([row[:2] for row in status(wire)], [(50, "second_count")], "status without ours")
            loader("unload", "--all", wire.interface)
            nothing_left(wire)
    return f"before and behind; {wire.sent} of {wire.sent}"


def xdp_filter_joins() -> str:
    if not shutil.which("xdp-filter"):
        return NO_XDP_TOOLS
    with Wire() as wire:
        mine = deploy(wire, dispatcher="always", priority=5)
        sh("xdp-filter", "load", "-m", "native", "-p", "allow", "-f", "ethernet", wire.interface)
        sh("xdp-filter", "ether", "-m", "src", "02:00:00:00:00:01")
        wire.send(500)
        expect(counted(mine["program_id"], "counters"), wire.sent, "packets of ours, counted and sent")
        dropped = int(re.findall(r"XDP_DROP\s+(\d+)", sh("xdp-filter", "status"))[0])
        expect(dropped, wire.sent, "packets that xdp-filter dropped")
        upgraded = deploy(wire, source="counter-1", priority=5)
        wire.send(100)
        expect(counted(upgraded["program_id"], "counters"), wire.sent, "packets of ours, upgraded before the filter")
        take_off(wire)
        sh("xdp-filter", "unload", wire.interface)
        nothing_left(wire)
        return f"{wire.sent} counted and dropped of {wire.sent}"


# A user of AF_XDP, as Suricata is one: libxdp loads its program for it. Prints how many packets its socket got, at the
# beginning and for each line that it reads; at the end of its input it gives the socket back. Argument: the interface.
AF_XDP = """
import ctypes, mmap, sys
FRAMES, SIZE, COPY, NATIVE = 2048, 4096, 2, 4  # if_xdp.h: XDP_COPY; if_link.h: XDP_FLAGS_DRV_MODE
class Ring(ctypes.Structure):  # struct xsk_ring_prod, and struct xsk_ring_cons
    _fields_ = [(name, ctypes.c_uint32) for name in ("cached_prod", "cached_cons", "mask", "size")]
    _fields_ += [("producer", ctypes.POINTER(ctypes.c_uint32)), ("consumer", ctypes.POINTER(ctypes.c_uint32))]
    _fields_ += [("ring", ctypes.POINTER(ctypes.c_uint64)), ("flags", ctypes.c_void_p)]
class Config(ctypes.Structure):  # struct xsk_socket_config
    _fields_ = [(name, ctypes.c_uint32) for name in ("rx_size", "tx_size", "libxdp_flags", "xdp_flags")]
    _fields_ += [("bind_flags", ctypes.c_uint16)]
xdp = ctypes.CDLL("libxdp.so.1")
def checked(error):
    if error:
        sys.exit(f"libxdp: error {error}")
area = mmap.mmap(-1, FRAMES * SIZE)
at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(area)))
umem, socket = ctypes.c_void_p(), ctypes.c_void_p()
fill, completion, received, to_send = (Ring() for _each in range(4))
by = ctypes.byref
checked(xdp.xsk_umem__create(by(umem), at, ctypes.c_uint64(len(area)), by(fill), by(completion), None))
config = Config(FRAMES, FRAMES, 0, NATIVE, COPY)
checked(xdp.xsk_socket__create(by(socket), sys.argv[1].encode(), 0, umem, by(received), by(to_send), by(config)))
for number in range(FRAMES):  # room for all that it will get
    fill.ring[number] = number * SIZE
fill.producer[0] = FRAMES
print(received.producer[0], flush=True)
for line in sys.stdin:
    print(received.producer[0], flush=True)
xdp.xsk_socket__delete(socket)
checked(xdp.xsk_umem__delete(umem))
"""


class AfXdp:
    """Its process has the socket until `end`."""

    def __init__(self, wire: Wire) -> None:
        words = [sys.executable, "-c", AF_XDP, wire.interface]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self._read("0")

    def _read(self, wanted: str) -> None:
        assert self._process.stdout and self._process.stderr
        said = self._process.stdout.readline().strip()
        if not said:
            raise Wrong(f"AF_XDP's user ended: {self._process.stderr.read().strip()[-300:]}")
        expect(said, wanted, "packets in AF_XDP's socket")

    def expect(self, packets: int) -> None:
        assert self._process.stdin
        time.sleep(0.5)
        print(file=self._process.stdin, flush=True)
        self._read(str(packets))

    def end(self) -> None:
        _out, err = self._process.communicate(timeout=checks.SECONDS)
        if self._process.returncode:
            raise Wrong(f"AF_XDP's user failed: {err.strip()[-300:]}")


def af_xdp() -> str:
    """libxdp's program for AF_XDP comes first, ours before it; then the other way round. None misses a packet."""
    if not shutil.which("xdp-loader"):
        return NO_XDP_TOOLS
    with Wire() as wire:
        user = AfXdp(wire)
        mine = deploy(wire, source="counter-1", priority=5)
        expect([row[:2] for row in status(wire)], [(5, "packet_count"), (20, "xsk_def_prog")], "status")
        wire.send(200)
        expect(counted(mine["program_id"], "counters"), wire.sent, "packets of ours, counted and sent")
        user.expect(wire.sent)
        mine = deploy(wire, source="counter-2", priority=5)
        wire.send(100)
        expect(counted(mine["program_id"], "counters"), wire.sent, "packets of ours, upgraded")
        user.expect(wire.sent)
        user.end()
        expect([row[:2] for row in status(wire)], [(5, "packet_count")], "status without AF_XDP's")
        before = wire.sent
        user = AfXdp(wire)
        wire.send(200)
        expect(counted(mine["program_id"], "counters"), wire.sent, "packets of ours, which AF_XDP's joined")
        take_off(wire)
        wire.send(100)
        user.expect(wire.sent - before)
        user.end()
        nothing_left(wire)
        return f"first, and joining ours; {wire.sent} of {wire.sent} in its sockets"


class Load:
    """Packets without an end until it is stopped."""

    SENDER = (
        "import socket, sys, time\n"
        "wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); wire.bind((sys.argv[1], 0))\n"
        "frame = b'\\xff' * 6 + b'\\2\\0\\0\\0\\0\\1\\x88\\xb5' + bytes(50)\n"
        "while True:\n"
        "    for _each in range(int(sys.argv[2])):\n"
        "        wire.send(frame)\n"
        "    time.sleep(float(sys.argv[3]))\n"
    )

    def __init__(self, wire: Wire, burst: int = 32, pause: float = 0.001) -> None:
        self._wire = wire
        self._words = [f"p-{wire.interface}", str(burst), str(pause)]

    def __enter__(self) -> Load:
        words = ["nsenter", f"--net=/run/netns/{HUB}", sys.executable, "-c", self.SENDER, *self._words]
        self._process = subprocess.Popen(words)
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self._process.kill()
        self._process.wait()
        self._wire.sent = int(statistics(f"p-{self._wire.interface}")["tx"]["packets"])


def statistics(port: str) -> t.Any:
    return json.loads(sh("ip", "-n", HUB, "-json", "-stats", "link", "show", "dev", port))[0]["stats64"]


def upgraded_under_load(wire: Wire, upgrades: int) -> t.Tuple[int, int]:
    """What ours counted, and another one behind it."""
    from kills import Warm  # only the guest has what that imports

    other = deploy(wire, "second", "second", dispatcher="always", priority=60)
    first = deploy(wire, source="counter-1", priority=5)
    warm = Warm()
    with Load(wire):
        for number in range(upgrades):
            warm.deploy(2 - number % 2)
    time.sleep(1)
    mine = deploy(wire, source=f"counter-{1 + upgrades % 2}", priority=5)
    expect(mine["program_id"] >= first["program_id"] + upgrades, True, "a new program for each upgrade")
    counts = counted(mine["program_id"], "counters"), counted(other["program_id"], "second_map")
    take_off(wire)
    take_off(wire, "second")
    nothing_left(wire)
    return counts


def upgrades_under_load() -> str:
    with Wire() as wire:
        counts = upgraded_under_load(wire, UPGRADES)
        expect(counts, (wire.sent, wire.sent), "packets of both, counted and sent")
        return f"{UPGRADES} upgrades, {wire.sent} of {wire.sent} for both"


def joining_and_leaving() -> str:
    from kills import Warm  # only the guest has what that imports

    with Wire() as wire:
        other = deploy(wire, "second", "second", dispatcher="always", priority=60)
        warm = Warm()
        with Load(wire):
            for _time in range(JOINS):
                warm.deploy(1)
                warm.deploy(0)
        time.sleep(1)
        expect(counted(other["program_id"], "second_map"), wire.sent, "packets of the other, counted and sent")
        take_off(wire, "second")
        nothing_left(wire)
        return f"{JOINS} times each; {wire.sent} of {wire.sent} for the other"


def upgraded_in_flight(wire: Wire, slow: str, upgrades: int) -> t.Tuple[int, int, int]:
    """What the slow one in front counted, which each packet is in for a while, then ours, and one behind it."""
    from kills import Warm  # only the guest has what that imports

    front = deploy(wire, "front", slow, dispatcher="always", priority=1)
    other = deploy(wire, "second", "second", priority=60)
    deploy(wire, source="counter-1", priority=5)
    warm = Warm()
    with Load(wire, burst=1, pause=0.01):
        for number in range(upgrades):
            warm.deploy(2 - number % 2)
    time.sleep(2)
    mine = deploy(wire, source=f"counter-{1 + upgrades % 2}", priority=5)
    first, last = (counted(each["program_id"], "second_map") for each in (front, other))
    ours = counted(mine["program_id"], "counters")
    for each in ("packet_count", "second", "front"):
        take_off(wire, each)
    nothing_left(wire)
    return first, ours, last


def in_flight() -> str:
    """A program in front holds each packet for 20 ms: at each change one is on its way to those behind it."""
    with Wire() as wire:
        counts = upgraded_in_flight(wire, "slow", JOINS)
        expect(counts, (wire.sent,) * 3, "packets of the slow one, of ours and of one behind it, counted and sent")
        return f"{JOINS} upgrades, {wire.sent} of {wire.sent} for all three"


def what_the_rows_find() -> str:
    """The counts of the rows above are wrong with an upgrade of two steps, as libxdp's calls allow it, and without the
    wait before the pins of an old dispatcher are removed.
    """
    import kills  # only the guest has what that imports

    said = []
    for name, way, more in (
        ("add, then remove", kills.add_then_remove, 1),
        ("remove, then add", kills.remove_then_add, 0),
    ):
        with Wire() as wire, kills.replaced("swap", way):
            ours, other = upgraded_under_load(wire, FEW)
            expect(other, wire.sent, f"{name}: packets of the other, counted and sent")
            wrong = ours > wire.sent if more else ours < wire.sent
            expect(wrong, True, f"{name}: ours counted {ours} of {wire.sent}, and so {'more' if more else 'less'}")
            said.append(f"{name}: {ours} of {wire.sent}")
    with Wire() as wire, kills.without_waiting():
        first, ours, last = upgraded_in_flight(wire, "slower", JOINS // 2)
        expect(first, wire.sent, "without waiting: packets of the one in front, counted and sent")
        # Where the kernel has a dispatcher of its own, which replaces indirect calls, netlink waits: only on x86.
        waits = "emit_bpf_dispatcher" in checks.functions()
        lost = wire.sent * 2 - ours - last
        expect(lost > 0, not waits, f"without waiting: lost {lost} of {wire.sent} twice; anything lost")
        said.append(
            f"without waiting: lost {lost} of {wire.sent} twice{', as this kernel waits by itself' if waits else ''}"
        )
    return "; ".join(said)


def holder() -> int:
    """The process that holds a provisional change: it outlives the module, as a child of pid 1."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words, parent = (
                (folder / "cmdline").read_bytes(),
                (folder / "stat").read_text().rpartition(")")[2].split()[1],
            )
            if b"plugins.modules.xdp_program" in words and parent == "1":
                return int(folder.name)
    raise Wrong("no process holds the change")


def end_change(how: str, token: str) -> None:
    if how == "confirmed":
        ok("xdp_confirm", token=token)
        return
    number = holder()
    os.kill(number, signal.SIGKILL if how == "killed" else signal.SIGTERM)
    checks.until(
        lambda: (
            not pathlib.Path(f"/proc/{number}/cmdline").read_bytes()
            if pathlib.Path(f"/proc/{number}").exists()
            else True
        ),
        "the holder's end",
    )


ENDS = ("confirmed", "taken back", "killed")


def sampled(every: t.Sequence[T]) -> t.Sequence[T]:
    """All; in a run that is a sample, one of them, chosen by the commit."""
    return [random.Random(SAMPLE.group(1)).choice(every)] if SAMPLE else every


class Pair:
    """Ours and another program in a dispatcher, and what both counted since it was asked last."""

    def __init__(self, wire: Wire, first: bool) -> None:
        self.wire = wire
        self.other = deploy(wire, "second", "second", again=False, dispatcher="always", priority=60)["program_id"]
        self.mine = deploy(wire, source="counter-1", again=False, priority=5)["program_id"] if first else 0
        self._was = self._counts()

    def _counts(self) -> t.Tuple[int, int]:
        pinned = self.wire.pin("maps/counters").exists()
        return (self.wire.counts()[0] if pinned else 0), counted(self.other, "second_map")

    def send(self) -> t.Tuple[int, int]:
        self._was = self._counts()
        self.wire.send(50)
        now = self._counts()
        return now[0] - self._was[0], now[1] - self._was[1]

    def inside(self) -> t.List[int]:
        (found,) = (
            each
            for each in LIBXDP.glob("dispatch-*")
            if (self.wire.xdp() or ("", 0))[1] == int(each.name.split("-")[2])
        )
        return [bpftool("prog", "show", "pinned", each)["id"] for each in sorted(found.glob("prog*-prog"))]


def provisional() -> str:
    """Joining, an upgrade and a removal, each with each of ENDS; the other program misses no packet."""
    for how in sampled(ENDS):
        with Wire() as wire:
            pair = Pair(wire, first=False)
            task = {
                "object": str(OBJECTS / "counter-1.bpf.o"),
                "name": "packet_count",
                "interfaces": ["eth0"],
                "priority": 5,
            }
            token = ok("xdp_program", **task, rollback_after=120)["provisional"]["token"]
            expect(pair.send(), (50, 50), "joining: counted by both while it is held")
            end_change(how, token)
            expect(pair.send(), (50 if how == "confirmed" else 0, 50), f"joining, {how}: counted by both")
            pair.mine = deploy(wire, source="counter-1", priority=5)["program_id"]
            expect(pair.send(), (50, 50), f"joining, {how}, and run again: counted by both")

            task["object"] = str(OBJECTS / "counter-2.bpf.o")
            token = ok("xdp_program", **task, rollback_after=120)["provisional"]["token"]
            expect(pair.send(), (50, 50), "an upgrade: counted by both while it is held")
            expect(pair.inside(), [pair.mine, pair.other], "an upgrade: what the pins show while it is held")
            end_change(how, token)
            expect(pair.send(), (50, 50), f"an upgrade, {how}: counted by both")
            expect(pair.mine in pair.inside(), how != "confirmed", f"an upgrade, {how}: the old program runs")
            newer = deploy(wire, source="counter-2", priority=5)["program_id"]
            expect((newer == pair.mine, pair.send()), (False, (50, 50)), f"an upgrade, {how}, and run again")
            expect(pair.inside(), [newer, pair.other], "programs")

            token = ok("xdp_program", name="packet_count", state="detached", rollback_after=120)["provisional"]["token"]
            expect(pair.send(), (0, 50), "a removal: counted by both while it is held")
            end_change(how, token)
            expect(pair.send(), (0 if how == "confirmed" else 50, 50), f"a removal, {how}: counted by both")
            take_off(wire)
            expect(pair.send(), (0, 50), "counted by the other, alone")
            take_off(wire, "second")
            nothing_left(wire)
    with Wire() as wire:
        ok("xdp_program", object=COUNTER, interfaces=["eth0"], dispatcher="always", rollback_after=120)
        end_change("killed", "")
        take_off(wire)
        nothing_left(wire)
        deploy(wire, dispatcher="always", priority=5)
        sh("ip", "link", "set", "dev", "eth0", "down")
        sh("ip", "link", "set", "dev", "eth0", "name", "lan0")
        said = refused("xdp_program", object=COUNTER, interfaces=["lan0"])
        expect("pinned for eth0 (was the interface renamed?)" in said, True, f"the reason in {said!r}")
        take_off(wire)
        sh("ip", "link", "set", "dev", "lan0", "name", "eth0")
        sh("ip", "link", "set", "dev", "eth0", "up")
        nothing_left(wire)
    return "joined, upgraded and removed: as it should be after each end; a first one, and after a renaming"


# A dispatcher that nobody can join: attached by a link, as bpfman does it, or of a version to come. Arguments: which,
# and the index of the interface.
CLOSED = """
import contextlib, sys, time
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import links
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.sharing import config, made
lib = Libbpf()
config.VERSIONS = (2, 3, 4)
with contextlib.ExitStack() as held:
    version = 2 if sys.argv[1] == "link" else 4
    new = made.make(lib, held.enter_context, config.Config(version, (config.Slot(),)))
    if sys.argv[1] == "link":
        held.enter_context(links.create(lib, new.fd, int(sys.argv[2]), "native"))
    else:
        links.netlink_attach(lib, int(sys.argv[2]), new.fd, "native")
    print(flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def closed(wire: Wire, kind: str) -> t.Iterator[None]:
    index = json.loads(sh("ip", "-json", "link", "show", "dev", wire.interface))[0]["ifindex"]
    words = [sys.executable, "-c", CLOSED, kind, str(index)]
    environment = {**os.environ, "PYTHONPATH": str(checks.HERE)}
    with subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        expect(process.stdout.readline(), "\n", "what the maker of a dispatcher says")
        yield
        process.stdin.close()


def closed_to_others() -> str:
    """Dispatchers of bpfman's kind and of a higher version: refused, named in the facts, and left alone."""
    for kind, words in (
        ("link", "attached by a link, which only its owner can add programs to"),
        ("4", "of version 4"),
    ):
        with Wire() as wire, closed(wire, kind):
            theirs = wire.xdp()
            for dispatcher in ("auto", "always"):
                said = refused("xdp_program", object=COUNTER, interfaces=[wire.interface], dispatcher=dispatcher)
                expect(words in said and "on_conflict: replace" in said, True, f"{words!r} in {said!r}")
            expect((wire.xdp(), PINS.exists()), (theirs, False), "program on the interface, and pins")
            problems = " ".join(ok("bpf_facts")["ansible_facts"]["bpf"]["problems"])
            expect(words in problems, True, f"{words!r} in the problems, {problems!r}")
    return "refused by name; still there"


# What boot.pyz does with a manifest, which a host without systemd has no use for. Arguments: object, name, priority.
RESTORE = """
import json, sys
from ansible_collections.ebpf.fleet.plugins.module_utils import boot
from ansible_collections.ebpf.fleet.plugins.module_utils.entry import require_libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.manifests import Manifest, packed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.files import sha256
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place
from ansible_collections.ebpf.fleet.plugins.module_utils.state.private_files import remove, write_private
path, name, priority = sys.argv[1:]
content = open(path, "rb").read()
sharing = {"priority": int(priority), "chain_call_actions": ["pass"]}
place = Place("/sys/fs/bpf/ebpf_fleet", name, "eth0")
program = "second_count" if "second" in path else "packet_count"
deployed = Deployed(path, sha256(content), program, "native", sharing=sharing)
write_private(place.manifest, packed(Manifest(deployed), content))
for line in boot.restore(require_libbpf(), place):
    print(line)
remove(place.manifest)
"""


def restore(name: str, source: str, priority: int) -> str:
    environment = {**os.environ, "PYTHONPATH": str(checks.HERE)}
    words = [sys.executable, "-c", RESTORE, str(OBJECTS / f"{source}.bpf.o"), name, str(priority)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(f"{name} was not restored: {done.stderr.strip()[-300:]}")
    return done.stdout


def after_a_reboot() -> str:
    """Two of ours, and xdp-loader's where there is one, come back in one dispatcher, whichever is first."""
    loads = [("packet_count", "counter-1", 5), ("second", "second", 60)]
    when = ("first", "last") if shutil.which("xdp-loader") else ("never",)
    for order, theirs in sampled([(order, theirs) for order in (loads, loads[::-1]) for theirs in when]):
        with Wire() as wire:
            if theirs == "first":
                loader("load", "-m", "native", wire.interface, SECOND)
            for each in order:
                said = restore(*each)
                expect("dispatcher" in said, True, f"what restoring says, {said!r}")
            if theirs == "last":
                loader("load", "-m", "native", wire.interface, SECOND)
            mine = deploy(wire, source="counter-1", priority=5, mode="native")
            others = sorted(each["priority"] for each in mine["dispatcher"]["others"])
            expect(others, [60] if theirs == "never" else [50, 60], "priorities of the others")
            wire.send(100)
            expect(counted(mine["program_id"], "counters"), wire.sent, "packets of ours, counted and sent")
            for each in mine["dispatcher"]["others"]:
                expect(counted(each["program_id"], "second_map"), wire.sent, "packets of another one")
            take_off(wire)
            take_off(wire, "second")
            if theirs != "never":
                loader("unload", "--all", wire.interface)
            nothing_left(wire)
            shutil.rmtree("/var/lib/ebpf_fleet", ignore_errors=True)
    return "in each order, also with xdp-loader's" if shutil.which("xdp-loader") else "in each order"


AT_ONCE_SECONDS = 15 if SAMPLE else 60

# xdp-loader adds and removes a program, until SIGINT; it says so each time that it added one. Whoever uses libxdp may
# be refused while others work, which libxdp does not try again.
XDP_LOADER_LOOP = """
import re, subprocess, sys
def loader(*words):
    return subprocess.run(["xdp-loader", *words], capture_output=True, text=True)
try:
    while True:
        if not loader("load", "-m", "native", "-P", "30", "eth0", sys.argv[1]).returncode:
            print(end=".", flush=True)
        for number in re.findall(r"=>\\s+30\\s+packet_count\\s+(\\d+)", loader("status", "eth0").stdout):
            loader("unload", "-i", number, "eth0")
except (KeyboardInterrupt, FileNotFoundError):
    pass
"""


@contextlib.contextmanager
def xdp_loader_loop() -> t.Iterator[t.List[int]]:
    """Yields what has, at the end, how often it loaded its program."""
    loaded: t.List[int] = []
    words = [sys.executable, "-c", XDP_LOADER_LOOP, str(OBJECTS / "counter-1.bpf.o")]
    loop = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield loaded
    finally:
        loop.send_signal(signal.SIGINT)
        loaded.append(len(loop.communicate()[0]))


def at_the_same_time() -> str:
    """Two controllers and an xdp-loader in loops: nobody's packet is lost, and nothing is left over."""
    with Wire() as wire:
        other = deploy(wire, "second", "second", dispatcher="always", priority=60)
        deploy(wire, source="counter-1", priority=5)
        until, changes = time.monotonic() + AT_ONCE_SECONDS, 0
        with Load(wire), xdp_loader_loop() as theirs:
            while time.monotonic() < until:
                changes += 1
                task: t.Dict[str, t.Any] = {"interfaces": ["eth0"], "dispatcher": "always"}
                first = start(
                    "xdp_program", object=str(OBJECTS / f"counter-{1 + changes % 2}.bpf.o"), priority=5, **task
                )
                if changes % 2:
                    second = start(
                        "xdp_program", object=str(OBJECTS / "counter-1.bpf.o"), name="third", priority=10, **task
                    )
                else:
                    second = start("xdp_program", name="third", state="absent", interfaces=["eth0"])
                for each in (first, second):
                    result = finish(each)
                    if result.get("failed"):
                        raise Wrong(f"xdp_program failed: {result['msg']}")
        time.sleep(1)
        mine = deploy(wire, source="counter-1", priority=5)
        counts = counted(mine["program_id"], "counters"), counted(other["program_id"], "second_map")
        expect(counts, (wire.sent, wire.sent), "packets of both, counted and sent")
        for name in ("packet_count", "second", "third"):
            take_off(wire, name)
        if wire.xdp():
            loader("unload", "--all", wire.interface)
        if shutil.which("xdp-loader"):
            loader("clean")
        nothing_left(wire)
        return f"{2 * changes} runs of ours, {sum(theirs)} of xdp-loader's; {wire.sent} of {wire.sent} for both"


def killed() -> str:
    """A sample of the calls, chosen by the kernel; with kills=0.5 on its command line another part, with 1 all."""
    from kills import matrix  # only the guest has what that imports

    with Wire() as wire:
        other = deploy(wire, "second", "second", dispatcher="always", priority=60)
        said = matrix(checks, wire, other["program_id"])
        take_off(wire)
        take_off(wire, "second")
        nothing_left(wire)
        return said


IN_OPEN, IN_CLOSE_NOWRITE = 0x20, 0x10  # inotify.h
TRIES = 50  # a run that gets the lock opens the folder a few times; one that waits for it, up to 50 times a second


@contextlib.contextmanager
def opened(folder: pathlib.Path) -> t.Iterator[t.Callable[[], int]]:
    """Yields what returns how often the folder has been opened."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    if libc.inotify_add_watch(watch, os.fsencode(folder), IN_OPEN | IN_CLOSE_NOWRITE) < 0:
        raise Wrong(f"inotify_add_watch: {os.strerror(ctypes.get_errno())}")
    seen = bytearray()

    def count() -> int:
        # The kernel merges equal events that follow each other, so closing is watched too. None has a name.
        with contextlib.suppress(BlockingIOError):
            seen.extend(os.read(watch, 1 << 16))
        return len([mask for _watch, mask, _cookie, _length in struct.iter_unpack("iIII", seen) if mask & IN_OPEN])

    try:
        yield count
    finally:
        os.close(watch)


def waits_for_libxdp() -> str:
    """While somebody has libxdp's lock, as it has for single steps, nothing is changed; then it is."""
    with Wire() as wire:
        LIBXDP.mkdir(exist_ok=True)
        folder = os.open(LIBXDP, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            with opened(LIBXDP) as count:
                process = start("xdp_program", object=COUNTER, interfaces=[wire.interface], dispatcher="always")
                checks.until(lambda: process.poll() is not None or count() > TRIES, "the module tries to lock")
            expect((process.poll(), wire.xdp()), (None, None), "the module's end, and the program on the interface")
            expect(sorted(LIBXDP.glob("dispatch-*")), [], "pins of dispatchers")
        finally:
            os.close(folder)
        expect(checks.attached(finish(process))["dispatcher"]["slot"], 0, "slot, once the lock is free")
        with opened(LIBXDP) as count:
            deploy(wire, source="counter-1", dispatcher="always")
            expect(
                count() <= TRIES // 2, True, f"opened {count()} times without waiting, which is at most {TRIES // 2}"
            )
        take_off(wire)
        nothing_left(wire)
    return "it waits, and goes on"


def commands_of_the_page() -> str:
    """Those of docs/coexistence.md, as they stand there."""
    if not shutil.which("xdp-loader"):
        return NO_XDP_TOOLS
    blocks = re.findall(r"```console\n(.*?)```", (checks.HERE / "coexistence.md").read_text(), re.DOTALL)
    lines = [[line[2:] for line in block.splitlines()] for block in blocks]
    folder = pathlib.Path("/usr/local/lib/bpf")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("packet_count", "second"):
        shutil.copy(OBJECTS / f"{name}.bpf.o", folder)
    for each in lines:
        with Wire() as wire:
            for line in each:
                words = shlex.split(line)
                if words[0] != "ansible":
                    sh(*words)
                    continue
                options: t.Dict[str, t.Any] = dict(
                    word.split("=", 1) for word in shlex.split(words[words.index("-a") + 1])
                )
                if "interfaces" in options:
                    options["interfaces"] = options["interfaces"].split(",")
                expect(ok("xdp_program", **options)["changed"], True, f"what {line} changes")
            nothing_left(wire)
    return f"{sum(map(len, lines))} commands"


def refusals() -> str:
    """With a sentence, and nothing is touched."""
    with Wire() as wire:
        task = {"interfaces": [wire.interface]}
        said = refused(
            "xdp_program", object=str(OBJECTS / "tail-1.bpf.o"), program="entry", dispatcher="always", **task
        )
        known = "a map of programs for tail calls" in said or "map 'calls'" in said  # libbpf 0.3 does not open it
        expect(known, True, f"the reason in {said!r}")
        ok("xdp_program", object=COUNTER, **task)
        said = refused(
            "xdp_program", object=str(OBJECTS / "counter-1.bpf.o"), name="other", dispatcher="always", **task
        )
        expect("set dispatcher: always for packet_count first" in said, True, f"the reason in {said!r}")
        result = finish(start("xdp_program", object=COUNTER, dispatcher="always", _ansible_check_mode=True, **task))
        expect("changes from a link to a dispatcher" in str(result.get("warnings")), True, f"a warning in {result}")
        deploy(wire, dispatcher="always")
        deploy(wire, "other", "counter-1")
        said = refused("xdp_program", object=COUNTER, dispatcher="never", **task)
        expect("so it cannot have the interface alone" in said, True, f"the reason in {said!r}")
        take_off(wire, "other")
        alone = checks.attached(ok("xdp_program", object=COUNTER, dispatcher="never", **task))
        expect(
            (alone["dispatcher"], alone["program_id"]), (None, (wire.xdp() or ("", 0))[1]), "alone, and ip's program"
        )
        take_off(wire)
        nothing_left(wire)
    return "tail calls, a link of ours, never beside others; from link to dispatcher and back"


def where_possible(row: t.Callable[[], str]) -> t.Callable[[], str]:
    """On a kernel that cannot do it, bpf_facts says so, and a deployment is refused."""

    def checked() -> str:
        if checks.facts()["features"]["dispatcher"]:
            return row()
        with Wire() as wire:
            said = refused("xdp_program", object=COUNTER, interfaces=[wire.interface], dispatcher="always")
            expect("dispatcher" in said, True, f"the reason in {said!r}")
            nothing_left(wire)
        return "refused, as bpf_facts says: this kernel cannot"

    return checked


ROWS: t.Dict[str, t.Callable[[], str]] = {
    "sharing: two of ours on one interface": where_possible(two_of_ours),
    "sharing: beside xdp-loader's program": where_possible(beside_xdp_loader),
    "sharing: xdp-filter joins ours": where_possible(xdp_filter_joins),
    "sharing: AF_XDP's program of libxdp": where_possible(af_xdp),
    "sharing: upgrades under load": where_possible(upgrades_under_load),
    "sharing: joining and leaving under load": where_possible(joining_and_leaving),
    "sharing: upgrades with packets in flight": where_possible(in_flight),
    "sharing: what these rows find": where_possible(what_the_rows_find),
    "sharing: provisional changes": where_possible(provisional),
    "sharing: restored in any order": where_possible(after_a_reboot),
    "sharing: at the same time as others": where_possible(at_the_same_time),
    "sharing: dispatchers that are closed to others": where_possible(closed_to_others),
    "sharing: the commands of coexistence.md": where_possible(commands_of_the_page),
    "sharing: libxdp's lock": where_possible(waits_for_libxdp),
    "sharing: killed at each call": where_possible(killed),
    "sharing: what is refused": where_possible(refusals),
}

if __name__ == "__main__":  # these rows alone, or with only=WORD[,WORD…] on the kernel's command line those with a word
    asked = re.search(r"\bonly=(\S+)", pathlib.Path("/proc/cmdline").read_text())
    only = asked.group(1).split(",") if asked else [""]
    checks.begin()
    checks.run_each({name: row for name, row in ROWS.items() if any(word in name for word in only)})
    checks.say(end=True)
