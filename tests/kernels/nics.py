# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nics.py: drivers and kinds of interfaces, in each mode: what xdp_program says, and counts against frames.

init.sh runs it in the guest. Frames come from `port`, a NIC in the namespace HUB; outside of the guest, all its NICs
are wired to that one (wires.py). `nics.py far` is the sender there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import time
import typing as t

import checks
from checks import HUB, MODES, OBJECTS, PINS, Wrong, bpftool, expect, finish, ok, refused, run_each, say, sh, until

PORT = "port"
MAC = "52:54:00:17:00:{:02x}"
PORT_MAC = MAC.format(0xFE)
VETH_MAC = MAC.format(0xFD)
MODES_ASKED = ("native", "auto", "generic")
OBJECT = str(OBJECTS / "packet_count.bpf.o")
STREAM_BYTES = 300_000
TCP_CLOSE = 7  # linux/tcp.h, include/net/tcp_states.h
SEGMENTS = 10  # of one packet that a tun's other side sends whole
VLAN, FRAMES = 10, 50
EXPERIMENTAL = 0x88B5  # EtherType for experiments (IEEE 802): no host answers it
PLAIN = 5  # and packets of a single frame
PANIC = pathlib.Path("/proc/sys/kernel/panic_on_warn")
LINK_SECONDS = 120  # until a link without a carrier is set down and up
NO_JOINING = ",guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off"


class Nic(t.NamedTuple):
    """`what`: for the table; "" if it is only there for those above it. `device`: qemu's, with options.

    `made`: words of `ip link`, if it is made in the guest; `members`: interfaces that belong to it. `far`: its other
    end, if it is not PORT itself.
    """

    name: str
    what: str = ""
    device: str = ""
    queues: int = 1
    made: str = ""
    members: t.Tuple[str, ...] = ()
    far: str = PORT

    @property
    def below(self) -> t.Tuple[str, ...]:
        """The interfaces that its frames come from."""
        return (*self.members, "lower") if "lower" in self.made else self.members


NICS = (
    Nic("virtio1", "virtio, 1 queue, no GUEST_TSO", f"virtio-net-pci{NO_JOINING}"),
    Nic("virtio2", "virtio, 4 queues, GUEST_TSO and CTRL_GUEST_OFFLOADS", "virtio-net-pci,mq=on,vectors=10", queues=4),
    Nic("virtio3", "virtio, GUEST_TSO without CTRL_GUEST_OFFLOADS", "virtio-net-pci,ctrl_guest_offloads=off"),
    Nic("virtio4", "virtio, 4 queues, MTU 9000", "virtio-net-pci,mq=on,vectors=10,host_mtu=9000", queues=4),
    Nic("e1000", "e1000", "e1000"),
    Nic("e1000e", "e1000e", "e1000e"),
    Nic("vmxnet3", "vmxnet3", "vmxnet3"),
    Nic("igb", "igb", "igb"),
    Nic("member1", device="virtio-net-pci"),
    Nic("member2", device="virtio-net-pci,speed=1000,duplex=full"),  # balance-tlb takes no link of unknown speed up
    Nic("member3", device="e1000"),
    Nic("member4", device="virtio-net-pci"),
    Nic("lower", device="virtio-net-pci"),
    Nic(
        "bond1",
        "bond, active-backup, of a virtio",
        made="type bond mode active-backup miimon 100",
        members=("member1",),
    ),
    Nic("bond2", "bond, balance-tlb, of a virtio", made="type bond mode balance-tlb miimon 100", members=("member2",)),
    Nic(
        "bond3",
        "bond, active-backup, of an e1000",
        made="type bond mode active-backup miimon 100",
        members=("member3",),
    ),
    Nic("bridge", "bridge of a virtio", made="type bridge", members=("member4",)),
    Nic("vlan", "VLAN of a virtio", made="link lower type vlan id 10", far="port.10"),
    Nic("macvlan", "macvlan of a virtio", made="link lower type macvlan mode bridge"),
    Nic("veth", "veth", made=f"type veth peer name p-veth address {VETH_MAC} netns {HUB}", far="p-veth"),
    Nic("tap", "tap"),
    Nic("tun", "tun"),
    Nic("dummy1", "dummy", made="type dummy"),
)
SHOWN = tuple(nic for nic in NICS if nic.what)
WARNED = "the kernel's WARN at a generic attach is predicted"
REFUSED = "panic_on_warn: what would make the kernel panic is refused"
TAGGED = "examples/protocols, native: frames by the tag of their VLAN"
ROWS = (REFUSED, *(f"{nic.name}: mode {mode}" for nic in SHOWN for mode in MODES_ASKED), TAGGED, WARNED)


def argument(name: str) -> str:
    """Of the kernel's command line: `without`, those of NICS that this qemu does not have, and `qemu`, its version."""
    found = re.search(rf"{name}=(\S*)", pathlib.Path("/proc/cmdline").read_text())
    return found.group(1) if found else ""


# The sender, in HUB


def far() -> None:
    """For each line with an address: send STREAM_BYTES there by TCP, and print how many segments left.

    For the name of an interface: send FRAMES in VLAN from there, to all.

    Each segment is a frame on a wire, also those that a NIC or a hypervisor cuts: __tcp_transmit_skb() counts them so,
    but not those that it sends once more.
    """
    for line in sys.stdin:
        if not line[0].isdigit():
            send_tagged(line.strip())
            continue
        before = tcp_segments()
        with socket.create_connection((line.strip(), 5000)) as peer:
            peer.sendall(bytes(STREAM_BYTES))
            peer.shutdown(socket.SHUT_WR)
            peer.recv(1)
        sys.stdin.readline()  # when the other side says that nothing more will be sent
        print(tcp_segments() - before, flush=True)


def send_tagged(port: str) -> None:
    header = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + struct.pack("!HHH", 0x8100, VLAN, EXPERIMENTAL)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((port, 0))
        for _frame in range(FRAMES):
            wire.send(header + bytes(46))
            time.sleep(0.01)
    print(FRAMES, flush=True)


def tcp_segments() -> int:
    with open("/proc/self/net/snmp", encoding="ascii") as lines:
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    found = dict(zip(names, values))
    return int(found["OutSegs"]) + int(found["RetransSegs"])


# The interfaces


def make(nics: t.Sequence[Nic]) -> None:
    """Name them, make what is made here, and connect each: addresses at both ends, and permanent neighbours.

    So nothing is sent but what is counted.
    """
    by_mac = {address(path.name): path.name for path in pathlib.Path("/sys/class/net").iterdir() if path.is_dir()}
    near = [f"link set dev {by_mac[PORT_MAC]} name {PORT} netns {HUB}"]
    members = {member for nic in nics for member in nic.members}  # those of a bond must be down first
    for nic in nics:
        if nic.device:
            near.append(f"link set dev {by_mac[MAC.format(NICS.index(nic))]} name {nic.name}")
        elif nic.made:
            near.append(f"link add name {nic.name} {nic.made}")
        near += [f"link set dev {member} master {nic.name}" for member in nic.members]
        if nic.name not in members:
            near += [f"link set dev {name} up" for name in (*nic.members, nic.name)]
    ip_batch(near)
    far = ["link set dev lo up", f"link set dev {PORT} up", f"link add link {PORT} name port.10 type vlan id 10"]
    ip_batch([*far, "link set dev port.10 up", "link set dev p-veth up"], "-n", HUB)
    set_up([nic.name for nic in nics])  # before they have neighbours: the kernel forgets those when a link goes down
    near, far = [], []
    for number, nic in enumerate(nics):
        if nic.what and (nic.device or nic.made) and nic.name != "dummy1":
            far.append(f"address add 10.0.{number}.2/24 dev {nic.far}")
            far.append(f"neigh replace 10.0.{number}.1 lladdr {address(nic.name)} dev {nic.far}")
            near.append(f"address add 10.0.{number}.1/24 dev {nic.name}")
            mac = VETH_MAC if nic.far == "p-veth" else PORT_MAC
            near.append(f"neigh replace 10.0.{number}.2 lladdr {mac} dev {nic.name}")
    ip_batch(far, "-n", HUB)
    ip_batch(near)


def ip_batch(lines: t.Sequence[str], *options: str) -> None:
    """Many calls of ip as one, as to start a program takes long in an emulated guest."""
    done = subprocess.run(
        ["ip", *options, "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Wrong(f"ip failed: {done.stderr.strip()}")


def address(name: str) -> str:
    return pathlib.Path("/sys/class/net", name, "address").read_text().strip()


def carrier(name: str) -> bool:
    with contextlib.suppress(OSError):  # it is down
        return pathlib.Path("/sys/class/net", name, "carrier").read_text().strip() == "1"
    return False


def without_carrier(names: t.Iterable[str]) -> t.List[str]:
    return [name for name in names if not carrier(name)]


def until_up(names: t.Sequence[str], seconds: int = 0) -> None:
    """Until all have a carrier. Raises Wrong with those that have none, and what the kernel wrote of them."""
    seconds = seconds or checks.SECONDS
    late: t.List[str] = []

    def all_up() -> bool:
        late[:] = without_carrier(names)
        return not late

    try:
        until(all_up, "carriers", seconds)
    except Wrong:
        lines = re.findall(rf".*\b(?:{'|'.join(late)})\b.*", sh("dmesg"))
        raise Wrong(f"no carrier on {', '.join(late)} for {seconds} s: {' / '.join(lines[-12:])}") from None


def set_up(names: t.Sequence[str]) -> None:
    """Wait for their carriers. A link that has none in time is set down and up, which goes to the guest's log."""
    try:
        until_up(names, LINK_SECONDS)
    except Wrong as wrong:  # seen once, on 6.12, beside other work
        print(f"nics: set down and up: {wrong}", file=sys.stderr, flush=True)
    else:
        return
    ip_batch([f"link set dev {name} {to}" for name in without_carrier(names) for to in ("down", "up")])
    until_up(names)


def downs(name: str) -> int:
    """How often the link went down so far."""
    return int(pathlib.Path("/sys/class/net", name, "carrier_down_count").read_text())


class Tun:
    """The other side of a tun or tap, as a hypervisor's: it sends TCP segments whole, with a virtio_net_hdr."""

    def __init__(self, name: str) -> None:
        self.ethernet = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + b"\x08\x00" if name == "tap" else b""
        self.file = os.open("/dev/net/tun", os.O_RDWR)  # the interface lives as long as it is open
        flags = 0x1000 | 0x4000 | (2 if name == "tap" else 1)  # if_tun.h: IFF_NO_PI, IFF_VNET_HDR, IFF_TAP or IFF_TUN
        fcntl.ioctl(self.file, 0x400454CA, struct.pack("16sH22x", name.encode(), flags))  # TUNSETIFF

    def send(self) -> int:
        """Returns how many frames it would have been on a wire."""
        for segments in (*[1] * PLAIN, SEGMENTS):
            tcp = struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 5 << 4, 0x10, 1000, 0, 0) + bytes(1448 * segments)
            size = 20 + len(tcp)
            ip = struct.pack("!BBHHHBBH8s", 0x45, 0, size, 0, 0, 64, 6, 0, bytes([10, 9, 9, 9, 10, 9, 9, 8]))
            at = len(self.ethernet) + 20
            # virtio_net.h: NEEDS_CSUM, GSO_TCPV4 or none, length of headers, size of segments, where the checksum is
            header = struct.pack("BBHHHH", 1, segments > 1, at + 20, 1448 if segments > 1 else 0, at, 16)
            os.write(self.file, header + self.ethernet + ip + tcp)
        return PLAIN + SEGMENTS


class Log:
    """The kernel's messages from now on."""

    def __init__(self) -> None:
        self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._file, 0, os.SEEK_END)
        self.lines: t.List[str] = []

    def read(self) -> t.List[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.lines.append(os.read(self._file, 8192).decode(errors="replace").split(";", 1)[1].split("\n")[0])
        return self.lines


# One mode on all interfaces


class Found(t.NamedTuple):
    """What was found of an interface in a mode; `mode` "" if it was refused. `said`: warnings, or the refusal."""

    nic: str
    asked: str
    mode: str
    said: t.Tuple[str, ...]
    link: str
    counted: int = 0
    frames: int = 0
    exact: t.Optional[bool] = None

    def __str__(self) -> str:
        if not self.mode:
            return "refused"
        if not self.frames:
            return f"{self.mode}; no frame ever arrives"
        inexact = "" if self.exact else ", exact: false"
        return f"{self.mode}; {self.counted} of {self.frames}{inexact}"


class Bench:
    """All interfaces, and what sends to them."""

    def __init__(self) -> None:
        missing = argument("without").split(",")
        self.nics = [nic for nic in NICS if nic.name not in missing]
        self.shown = [nic for nic in self.nics if nic.what]
        self.tuns = {name: Tun(name) for name in ("tap", "tun")}
        make(self.nics)
        enter = ("nsenter", f"--net=/run/netns/{HUB}", sys.executable, __file__, "far")
        self.far = subprocess.Popen(enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def frames(self, nic: Nic) -> int:
        """Send to an interface; returns how many frames left the other end."""
        if nic.name in self.tuns:
            return self.tuns[nic.name].send()
        return self._stream(self.nics.index(nic)) if nic.name != "dummy1" else 0

    def _stream(self, number: int) -> int:
        assert self.far.stdin and self.far.stdout
        address = f"10.0.{number}.1"
        with socket.create_server((address, 5000)) as server:
            server.settimeout(checks.SECONDS)
            self.far.stdin.write(f"{address}\n")
            self.far.stdin.flush()
            peer, _address = server.accept()
            with peer:
                while peer.recv(1 << 20):
                    pass
                peer.shutdown(socket.SHUT_WR)
                # Its end may be lost and sent again, and each one is answered by a frame.
                until(
                    lambda: peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE, "all is answered"
                )
            self.far.stdin.write("done\n")
            self.far.stdin.flush()
            return int(self.far.stdout.readline())

    def deploy(self, mode: str) -> t.Dict[str, t.Tuple[str, str, t.List[str]]]:
        """Attach to all; returns the mode or "", the error, and the warnings of each, compared with what ip says."""
        names = [nic.name for nic in self.shown]
        result = finish(checks.start("xdp_program", object=OBJECT, interfaces=names, mode=mode, on_error="continue"))
        if "attachments" not in result:
            raise Wrong(f"xdp_program failed: {result.get('msg')}")
        warnings = [each["event"]["msg"] if isinstance(each, dict) else each for each in result.get("warnings", ())]
        links = {link["ifname"]: link for link in json.loads(sh("ip", "-json", "link", "show"))}
        found = {}
        for each in result["attachments"]:
            name, xdp = each["interface"], links[each["interface"]].get("xdp")
            expect(each.get("mode") or "", MODES[xdp["mode"]] if xdp else "", f"{name}'s mode, the module's and ip's")
            mine = [warning for warning in warnings if re.match(rf"(packet_count on )?{name}\b", warning)]
            found[name] = (each.get("mode") or "", each.get("error", ""), mine)
        return found

    def measure(self, mode: str) -> t.Dict[str, t.Union[Found, str]]:
        """All interfaces in this mode; a text is what is wrong."""
        log, before = Log(), {nic.name: downs(nic.name) for nic in self.shown}
        deployed = self.deploy(mode)
        until_up([nic.name for nic in self.shown])
        link = {nic.name: link_words(nic.name, downs(nic.name) - before[nic.name], log.read()) for nic in self.shown}
        sent = {nic.name: self.frames(nic) for nic in self.shown if deployed[nic.name][0]}
        counters = ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]["interfaces"]
        done: t.Dict[str, t.Union[Found, str]] = {}
        for nic in self.shown:
            took, error, warnings = deployed[nic.name]
            said = tuple([error] if error else warnings)
            found = Found(nic.name, mode, took, said, link[nic.name])
            if took:
                mine = counters[nic.name]
                found = found._replace(counted=mine["packets"], frames=sent[nic.name], exact=mine["exact"])
            try:
                check(nic, found, counters.get(nic.name))
                done[nic.name] = found
            except Wrong as wrong:
                done[nic.name] = f"{found}: {wrong}"
        ok("xdp_program", name="packet_count", state="absent")
        return done


def link_words(name: str, down: int, log: t.Iterable[str]) -> str:
    ups = sum(bool(re.search(rf"\b{name}: NIC Link is Up", line)) for line in log)
    if down:
        return "goes down once" if down == 1 else f"goes down {down} times"
    return f"the driver says '{name}: NIC Link is Up'" if ups else "stays up"


def check(nic: Nic, found: Found, counter: t.Optional[t.Mapping[str, t.Any]]) -> None:
    """Whether what was said is true. Raises Wrong."""
    if not found.mode:
        expect(found.asked, "native", "a mode that was refused")
        expect(ip_says(nic.name) in found.said[0], True, f"ip's own sentence in {found.said[0]!r}")
        return
    assert counter
    dump = bpftool("map", "dump", "pinned", PINS / "packet_count" / nic.name / "maps/counters")
    expect(found.counted, sum(cpu["value"]["packets"] for cpu in dump[0]["formatted"]["values"]), "packets, bpftool's")
    if found.counted != found.frames:
        expect(found.exact, False, f"{found.counted} of {found.frames} frames counted; exact")
        expect(0 < found.counted < found.frames, True, f"{found.counted} of {found.frames} frames counted; plausible")
    if found.asked == "auto" and found.mode == "generic":
        expect(any("rejected packet_count in native mode" in each for each in found.said), True, "a warning")
    if found.exact is False:
        because = counter["inexact_because"]
        expect(any(because in each for each in found.said), True, f"a warning with {because!r}")
        for below in nic.below:
            expect(f"count on {below} instead" in because, True, f"{below} in {because!r}")


def ip_says(name: str) -> str:
    """The kernel's sentence when ip attaches natively, which must fail."""
    command = ["ip", "link", "set", "dev", name, "xdpdrv", "obj", OBJECT, "sec", "xdp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expect(done.returncode != 0, True, "refused to ip as well")
    said = re.search(r"Error: (.*)", done.stderr)
    return said.group(1).rstrip(". ") if said else ""


# The rows


def panic_refused(joined: str) -> str:
    """That the guest goes on is the test: the attach would make its kernel panic."""
    PANIC.write_text("1")
    try:
        for mode in ("generic", "auto"):
            said = refused("xdp_program", object=OBJECT, interfaces=[joined], mode=mode)
            expect("kernel.panic_on_warn" in said, True, f"the reason in {said!r}")
        return said
    finally:
        PANIC.write_text("0")


def tagged(bench: Bench) -> str:
    """On the interface below the VLAN, which a NIC lets through only if there is one.

    One that takes the tag out of the frame puts it where a program does not see it.
    """
    names = ["lower", *(nic.name for nic in bench.shown if nic.device or nic.name == "veth")]
    task = {"object": str(OBJECTS / "protocols.bpf.o"), "interfaces": names, "mode": "native", "on_error": "continue"}
    took = [
        each["interface"] for each in finish(checks.start("xdp_program", **task))["attachments"] if each.get("mode")
    ]
    vlans = {f"{name}.{VLAN}": name for name in took if name != "lower"}  # that one has `vlan`
    ip_batch([f"link add link {name} name {vlan} type vlan id {VLAN}" for vlan, name in vlans.items()])
    ip_batch([f"link set dev {vlan} up" for vlan in vlans])
    until_up(took)
    assert bench.far.stdin and bench.far.stdout
    for port in (PORT, "p-veth"):
        bench.far.stdin.write(f"{port}\n")
        bench.far.stdin.flush()
        expect(int(bench.far.stdout.readline()), FRAMES, "frames sent")
    seen: t.Dict[str, t.List[str]] = {}
    for found in ok("bpf_map_info", name="protocols", map="kinds", interfaces=took)["maps"]:
        by_tag = {
            entry["key"]["vlan"]: entry["value"]["packets"]
            for entry in found["entries"]
            if entry["key"]["ethertype"] == EXPERIMENTAL
        }
        expect(by_tag in ({VLAN: FRAMES}, {0: FRAMES}), True, f"{found['interface']}: {by_tag}; all with the same tag")
        seen.setdefault("in the frame" if VLAN in by_tag else "taken out by the NIC", []).append(found["interface"])
    ip_batch([f"link del dev {vlan}" for vlan in vlans])
    ok("xdp_program", name="protocols", state="absent")
    expect("lower" in seen["in the frame"], True, "the tag on a virtio NIC, in the frame")
    return "; ".join(f"{FRAMES} of {FRAMES}, tag {where}: {', '.join(mine)}" for where, mine in seen.items())


def warned(log: Log, predicted: t.Mapping[str, str]) -> str:
    lines = log.read()
    did = {
        match.group(1)
        for line in lines
        for match in [re.search(r"(\S+): failed to disable (GRO_HW|LRO)", line)]
        if match
    }
    expect(did, set(predicted), "interfaces with a WARN, and those that bpf_facts named")
    others = sum("WARNING:" in line for line in lines) - sum("failed to disable" in line for line in lines)
    expect(others, 0, "other WARNs")
    return " ".join(predicted.values()) if predicted else "none"


def main() -> None:
    checks.SECONDS *= 4  # a task has all interfaces
    checks.begin()
    bench, log = Bench(), Log()
    problems = ok("bpf_facts")["ansible_facts"]["bpf"]["problems"]
    predicted = {text.split()[0]: text for text in problems if "WARNING" in text}
    run_each({REFUSED: lambda: panic_refused("virtio3")})
    for mode in MODES_ASKED:
        began = time.monotonic()
        try:
            done = bench.measure(mode)
        except Exception as error:  # the other modes are still tried
            done = dict.fromkeys([nic.name for nic in bench.shown], f"{type(error).__name__}: {error}")
        seconds = round(time.monotonic() - began)
        for nic in SHOWN:
            found = done.get(nic.name, f"qemu {argument('qemu')} has none")
            passed = not isinstance(found, str) or nic not in bench.shown
            say(check=f"{nic.name}: mode {mode}", passed=passed, text=str(found), seconds=seconds)
            if isinstance(found, Found):
                say(nic=found._asdict())
            seconds = 0
    run_each({TAGGED: lambda: tagged(bench)})
    run_each({WARNED: lambda: warned(log, predicted)})
    say(end=True)
    bench.far.terminate()


if __name__ == "__main__":
    far() if sys.argv[1:] == ["far"] else main()
