# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real traffic: the kernel injects frames into a veth as fast as it can, while our program is upgraded."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from commands import sh
from host import Host
from packets import compiled
from paths import COLLECTIONS
from report import Row

TRAFFIC = "real frames over veth (BPF_F_TEST_XDP_LIVE_FRAMES on one CPU)"
COMMAND = "make bench"

INJECTOR = """
import ctypes, json, os, socket, struct, sys, time
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import maps
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import open_object
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.probe import BPF_F_TEST_XDP_LIVE_FRAMES, test_run
path, port, stop = sys.argv[1:]
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
lib, sent, each = Libbpf(), 0, 20_000
with open_object(lib, open(path, "rb").read(), "inject") as opened:
    opened.load({"inject"}, {})
    maps.update(lib, opened.map_fd("out"), bytes(4), struct.pack("=I", socket.if_nametoindex(port)))
    frame = bytes([255] * 6 + [2, 0, 0, 0, 0, 1, 0x88, 0xB5]) + bytes(46)
    test_run(lib, opened.program_fd("inject"), frame, 64, BPF_F_TEST_XDP_LIVE_FRAMES)
    sent += 64
    start = time.monotonic()
    while not os.path.exists(stop):
        test_run(lib, opened.program_fd("inject"), frame, each, BPF_F_TEST_XDP_LIVE_FRAMES)
        sent += each
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - start}))
"""


class Sent(t.NamedTuple):
    """Frames offered to the wire, and for how long; `refused` by the wire because its ring was full."""

    offered: int
    seconds: float
    refused: int

    @property
    def delivered(self) -> int:
        return self.offered - self.refused


class Wire:
    """The hub's end of eth0 of a host."""

    def __init__(self, host: Host, folder: pathlib.Path) -> None:
        self._host = host
        self._stop = folder / "stop"
        self._object = folder / "inject.o"
        self._object.write_bytes(compiled(folder, "inject"))
        host.enter(sys.executable, "-c", NAPI, "eth0")

    def statistics(self, interface: str, netns: str) -> t.Dict[str, t.Dict[str, int]]:
        shown = json.loads(sh("ip", "-json", "-stats", "-n", netns, "link", "show", "dev", interface))
        return t.cast("dict[str, dict[str, int]]", shown[0]["stats64"])

    def start(self) -> subprocess.Popen[str]:
        self._stop.unlink(missing_ok=True)
        self._before = self._refused()
        words = ["nsenter", f"--net=/run/netns/{self._host.hub}", sys.executable, "-c", INJECTOR]
        return subprocess.Popen(
            [*words, str(self._object), "p-eth0", str(self._stop)],
            env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self, injecting: subprocess.Popen[str]) -> Sent:
        self._stop.touch()
        said = json.loads(injecting.communicate()[0])
        return Sent(said["sent"], said["seconds"], self._refused() - self._before)

    def _refused(self) -> int:
        return self.statistics("p-eth0", self._host.hub)["tx"]["dropped"]

    def run(self, seconds: float) -> Sent:
        injecting = self.start()
        time.sleep(seconds)
        return self.end(injecting)


# A veth accepts frames from XDP only if its peer polls: with a program on it, or with GRO (SIOCETHTOOL, SGRO).
NAPI = """
import array, fcntl, socket, struct, sys
value = array.array("I", [0x2C, 1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8946, struct.pack("16sP16x", sys.argv[1].encode(), value.buffer_info()[0]))
"""


def traffic(_lib: Libbpf, folder: pathlib.Path, seconds: float, upgrades: int) -> t.List[Row]:
    host = Host(f"ebpf-bench-{os.getpid()}")
    try:
        return _traffic(host, folder, seconds, upgrades)
    finally:
        host.close()


def _traffic(host: Host, folder: pathlib.Path, seconds: float, upgrades: int) -> t.List[Row]:
    wire = Wire(host, folder)
    builds = []
    for flag in ("-mcpu=v3", "-mcpu=v2"):
        builds.append(folder / f"build{flag}.o")
        builds[-1].write_bytes(compiled(folder, "packet_count", flag))
    walkthrough = folder / "walkthrough-plain.o"
    walkthrough.write_bytes(compiled(folder, "walkthrough"))

    def deploy(path: pathlib.Path, name: str, **options: t.Any) -> t.Any:
        given = {"object": str(path), "name": name, "interfaces": ["eth0"], "allow_unsafe_paths": True, **options}
        return host.ok("xdp_program", **given)

    speeds: t.Dict[str, t.List[float]] = {"no program": [], "ours": [], "the walkthrough's": []}
    counts = delivered = 0
    for _round in range(3):
        for label, rates in speeds.items():
            if label != "no program":
                deploy(builds[0] if label == "ours" else walkthrough, "bench")
            sent = wire.run(seconds / 3)
            rates.append(sent.delivered / sent.seconds)
            if label == "ours":
                delivered += sent.delivered
                counts += host.counts(name="bench")[0]
            if label != "no program":
                host.ok("xdp_program", name="bench", state="absent")
    rows = []
    for label, rates in speeds.items():
        ordered = sorted(rates)
        rows.append(Row(TRAFFIC, label, ordered[1], "packets/s", COMMAND, ordered[0], ordered[-1]))
    ratio = counts / delivered
    rows.append(
        Row(TRAFFIC, f"ours: counted over sent, of {delivered:,}", ratio, "of 1", COMMAND)._replace(
            goal="exactly 1", met=ratio == 1, exact=True
        )
    )

    deploy(builds[0], "bench")
    before = wire.statistics("eth0", host.name)["rx"]
    injecting = wire.start()
    swaps = 0
    for number in range(upgrades):
        result = deploy(builds[(number + 1) % 2], "bench")
        swaps += any("swap the program in the link" in step for step in result["steps"])
    sent = wire.end(injecting)
    after = wire.statistics("eth0", host.name)["rx"]
    ratio = host.counts(name="bench")[0] / sent.delivered
    what = f"ours, {swaps} upgrades during traffic: counted over sent, of {sent.delivered:,}"
    rows.append(
        Row(TRAFFIC, what, ratio, "of 1", COMMAND, goal="exactly 1, all swapped", exact=True)._replace(
            met=ratio == 1 and swaps == upgrades
        )
    )
    lost = sent.delivered - (after["packets"] - before["packets"])
    rows.append(
        Row(TRAFFIC, "… and dropped by us", float(lost), "packets", COMMAND, goal="0", met=lost == 0, exact=True)
    )
    host.ok("xdp_program", name="bench", state="absent")
    return rows
