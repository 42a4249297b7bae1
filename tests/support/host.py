# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host to test on: a network namespace, wired to a hub, with no traffic except what the test sends."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

from commands import bpftool, sh
from paths import COLLECTIONS, ROOT

PINS = "/sys/fs/bpf/ebpf_fleet"


class Host:
    """A network namespace with the interfaces eth0 and eth0.10, each wired to a port of the hub."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hub = f"{name}-hub"
        self.pins = f"{PINS}@{name}"
        self.mark = name  # what is in the path of each of its pins and records
        for netns in (self.name, self.hub):
            sh("ip", "netns", "add", netns)
            off = "for c in default all; do echo 1 >/proc/sys/net/ipv6/conf/$c/disable_ipv6; done"
            self.enter("sh", "-c", off, netns=netns)
        self.plug("eth0")
        self.plug("eth0.10")

    def contain(self) -> None:
        """Take it for a container, in which the name of its network namespace is not known."""
        code = "import socket, struct; print(*struct.unpack('Q', socket.socket().getsockopt(socket.SOL_SOCKET, 71, 8)))"
        cookie = self.enter(sys.executable, "-c", code).strip()
        self.pins, self.mark = f"{PINS}@%{cookie}", f"{cookie}/packet_count"

    def enter(self, *command: t.Any, netns: t.Optional[str] = None, **options: t.Any) -> str:
        return sh("nsenter", f"--net=/run/netns/{netns or self.name}", *command, **options)

    def plug(self, interface: str, mtu: int = 1500) -> None:
        port = f"p-{interface}"
        wire = ["mtu", mtu, "type", "veth", "peer", "name", port, "netns", self.hub, "mtu", mtu]
        sh("ip", "link", "add", "name", interface, "netns", self.name, *wire)
        sh("ip", "-n", self.name, "link", "set", "dev", interface, "up")
        sh("ip", "-n", self.hub, "link", "set", "dev", port, "up")

    def unplug(self, interface: str) -> None:
        sh("ip", "-n", self.name, "link", "del", "dev", interface)

    def send(self, interface: str, packets: int, size: int = 64) -> None:
        self.enter(sys.executable, ROOT / "demo/send.py", f"p-{interface}", packets, size, netns=self.hub)

    @contextlib.contextmanager
    def traffic(self, interface: str) -> t.Iterator[None]:
        """Send thousands of packets a second to the interface while the context lasts, at most for a minute."""
        words = ["nsenter", f"--net=/run/netns/{self.hub}", "timeout", "60", sys.executable, str(ROOT / "demo/send.py")]
        sending = subprocess.Popen([*words, f"p-{interface}", "10000000", "64"], stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            sending.terminate()
            sending.wait()

    def xdp(self, interface: str) -> t.Optional[t.Dict[str, t.Any]]:
        """What `ip link` reports about XDP: {mode: 1 native | 2 generic | 3 offload | 4 several, prog: {id, …}}."""
        found: t.Dict[str, t.Any] = json.loads(sh("ip", "-json", "-n", self.name, "link", "show", "dev", interface))[0]
        return found.get("xdp")

    def index(self, interface: str) -> int:
        return int(json.loads(sh("ip", "-json", "-n", self.name, "link", "show", "dev", interface))[0]["ifindex"])

    def module(self, module: str, **how_and_options: t.Any) -> t.Dict[str, t.Any]:
        """Run a module as start() does; returns its result, failed or not."""
        process = self.start(module, **how_and_options)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err + out, err + out
        return t.cast("dict[str, t.Any]", json.loads(out))

    def start(
        self,
        module: str,
        check: bool = False,
        env: t.Optional[t.Dict[str, str]] = None,
        netns: t.Optional[str] = None,
        wrap: t.Sequence[str] = (),
        collections: pathlib.Path = COLLECTIONS,
        **options: t.Any,
    ) -> subprocess.Popen[str]:
        """Run a module as Ansible does, in a separate Python; `wrap` is a command to run it with.

        `collections`: the folder that contains ansible_collections, for example of a different release.
        """
        arguments = {"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check, "_ansible_diff": True}}
        process = subprocess.Popen(
            [
                "nsenter",
                f"--net=/run/netns/{netns or self.name}",
                *wrap,
                *(sys.executable, "-W", "ignore", "-m"),
                f"ansible_collections.ebpf.fleet.plugins.modules.{module}",
            ],
            env={**os.environ, "PYTHONPATH": str(collections), **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        process.stdin.write(json.dumps(arguments))
        process.stdin.close()
        process.stdin = None
        return process

    def ok(self, module: str, **options: t.Any) -> t.Dict[str, t.Any]:
        """Run a module that must succeed."""
        result = self.module(module, **options)
        assert not result.get("failed"), result["msg"]
        return result

    def refused(self, module: str, **options: t.Any) -> str:
        """Run a module that must fail with one paragraph, and change nothing; returns the paragraph."""
        before = self.state()
        result = self.module(module, **options)
        assert result.get("failed"), result
        assert self.state() == before
        assert "\n\n" not in result["msg"]
        return t.cast(str, result["msg"])

    def state(self) -> t.Any:
        """Everything that a module could change: our pins, records and mounts, and the programs on the interfaces."""
        paths = (
            os.path.join(folder, name)
            for top in ("/sys/fs/bpf", "/run/ebpf_fleet")
            for folder, folders, names in os.walk(top)  # which bears that a concurrent test run removes its own
            for name in folders + names
        )
        files = sorted(path for path in paths if self.owns(path))
        links = json.loads(sh("ip", "-json", "-n", self.name, "link", "show"))
        mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
        mounts = [each for each in mounts if each.startswith("/sys/")]
        return files, mounts, [(link["ifname"], (link.get("xdp") or {}).get("prog", {}).get("id")) for link in links]

    def owns(self, path: str) -> bool:
        """Whether a path in bpffs or /run is of this host, and not of a concurrent test run."""
        return self.mark in path

    def pin(self, interface: str, rest: str, name: str = "packet_count") -> str:
        return f"{self.pins}/{name}/{interface.replace('.', '%2E')}/{rest}"

    def counts(self, interface: str = "eth0", name: str = "packet_count") -> t.Tuple[int, int]:
        """Packets and bytes: the sums over all CPUs, from bpftool."""
        dump = bpftool("map", "dump", "pinned", self.pin(interface, "maps/counters", name))
        values = [cpu["value"] for cpu in dump[0]["formatted"]["values"]]
        return sum(value["packets"] for value in values), sum(value["bytes"] for value in values)

    def close(self) -> None:
        for netns in (self.name, self.hub):
            if os.path.exists(f"/run/netns/{netns}"):
                sh("ip", "netns", "del", netns)
        records = "/run/ebpf_fleet/" + self.pins.replace("%", "%25").replace("/", "%2F")
        for folder in (self.pins, records):
            shutil.rmtree(folder, ignore_errors=True)
        if os.path.isdir("/run/ebpf_fleet") and not os.listdir("/run/ebpf_fleet"):
            os.rmdir("/run/ebpf_fleet")
