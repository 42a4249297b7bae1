# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames as fast as the kernel can make them, millions a second: BPF_F_TEST_XDP_LIVE_FRAMES into a veth."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

from commands import sh
from host import Host
from paths import COLLECTIONS

FRAME = bytes([255] * 6 + [2, 0, 0, 0, 0, 1, 0x88, 0xB5]) + bytes(46)

# So many `frames`, or if that is 0, until there is a file `stop`.
INJECTOR = """
import json, os, socket, struct, sys, time
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import maps
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import open_object
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.probe import BPF_F_TEST_XDP_LIVE_FRAMES, test_run
path, port, stop, frame, frames = sys.argv[1:]
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
lib, sent, each, frame, frames = Libbpf(), 0, 20_000, bytes.fromhex(frame), int(frames)
with open_object(lib, open(path, "rb").read(), "inject") as opened:
    opened.load({"inject"}, {})
    maps.update(lib, opened.map_fd("out"), bytes(4), struct.pack("=I", socket.if_nametoindex(port)))
    test_run(lib, opened.program_fd("inject"), frame, 64, BPF_F_TEST_XDP_LIVE_FRAMES)
    sent += 64
    start = time.monotonic()
    while sent < frames if frames else not os.path.exists(stop):
        test_run(lib, opened.program_fd("inject"), frame, each, BPF_F_TEST_XDP_LIVE_FRAMES)
        sent += each
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - start}))
"""

# A veth accepts frames from XDP only if its peer polls: with a program on it, or with GRO (SIOCETHTOOL, SGRO).
NAPI = """
import array, fcntl, socket, struct, sys
value = array.array("I", [0x2C, 1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8946, struct.pack("16sP16x", sys.argv[1].encode(), value.buffer_info()[0]))
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
    """The hub's end of eth0 of a host. `injector`: inject.bpf.c, compiled."""

    def __init__(self, host: Host, folder: pathlib.Path, injector: bytes) -> None:
        self._host = host
        self._stop = folder / "stop"
        self._object = folder / "inject.o"
        self._object.write_bytes(injector)
        host.enter(sys.executable, "-c", NAPI, "eth0")

    def statistics(self, interface: str, netns: str) -> t.Dict[str, t.Dict[str, int]]:
        shown = json.loads(sh("ip", "-json", "-stats", "-n", netns, "link", "show", "dev", interface))
        return t.cast("dict[str, dict[str, int]]", shown[0]["stats64"])

    def start(self, frame: bytes = FRAME, frames: int = 0) -> subprocess.Popen[str]:
        self._stop.unlink(missing_ok=True)
        self._before = self._refused()
        words = ["nsenter", f"--net=/run/netns/{self._host.hub}", sys.executable, "-c", INJECTOR]
        return subprocess.Popen(
            [*words, str(self._object), "p-eth0", str(self._stop), frame.hex(), str(frames)],
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
