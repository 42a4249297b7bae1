# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the kernel shows a program something else than the frames on the wire, and that the facts say so: with TCP."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel import ethtool
from commands import sh
from host import Host
from paths import COLLECTIONS

Compiled = t.Callable[..., str]
SIZE = 3_000_000
FEWEST_FRAMES = SIZE // 1460  # of an MTU of 1500, without options

SERVER = """
import socket
listening = socket.create_server(("10.9.0.2", 5000))
print("ready", flush=True)
peer, _address = listening.accept()
while peer.recv(1 << 20):
    pass
"""
CLIENT = f"""
import socket
with socket.create_connection(("10.9.0.2", 5000)) as peer:
    peer.sendall(bytes({SIZE}))
"""


@pytest.fixture
def upper(host: Host) -> Host:
    """A host with a macvlan mv0 above eth0, and an address at the other end."""
    sh("ip", "-n", host.name, "link", "add", "link", "eth0", "name", "mv0", "type", "macvlan", "mode", "bridge")
    sh("ip", "-n", host.name, "link", "set", "dev", "mv0", "up")
    sh("ip", "-n", host.hub, "address", "add", "10.9.0.1/24", "dev", "p-eth0")
    return host


def receive(host: Host, interface: str) -> int:
    """Send SIZE bytes by TCP to an interface; returns how many packets its counter counts."""
    sh("ip", "-n", host.name, "address", "add", "10.9.0.2/24", "dev", interface)
    address = json.loads(sh("ip", "-json", "-n", host.name, "link", "show", "dev", interface))[0]["address"]
    sh("ip", "-n", host.hub, "neigh", "replace", "10.9.0.2", "lladdr", address, "dev", "p-eth0")
    serve = ["nsenter", f"--net=/run/netns/{host.name}", sys.executable, "-c", SERVER]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout and server.stdout.readline() == "ready\n"
        host.enter(sys.executable, "-c", CLIENT, netns=host.hub)
    sh("ip", "-n", host.name, "address", "flush", "dev", interface)
    return host.counts(interface)[0]


def exactness(host: Host, interface: str) -> t.Tuple[t.Optional[bool], t.Optional[str]]:
    found = host.ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]["interfaces"][interface]
    return found["exact"], found["inexact_because"]


def warnings(result: t.Dict[str, t.Any]) -> str:
    return " ".join(map(str, result.get("warnings", ())))


def test_a_macvlan_is_not_exact(upper: Host, compiled: Compiled) -> None:
    result = upper.ok("xdp_program", object=compiled("packet_count"), interfaces=["mv0"])
    assert result["attachments"][0]["mode"] == "generic"
    because = exactness(upper, "mv0")[1]
    assert because and because.endswith("; count on eth0 instead") and "kind macvlan" in because
    assert because in warnings(result)
    counted = receive(upper, "mv0")
    assert 0 < counted < FEWEST_FRAMES / 2
    assert exactness(upper, "mv0")[0] is False
    assert not warnings(upper.ok("xdp_program", object=compiled("packet_count"), interfaces=["mv0"]))  # said once

    # As the sentence says: count on the interface below, in native mode.
    upper.ok("xdp_program", name="packet_count", state="absent")
    result = upper.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    assert not warnings(result) and exactness(upper, "eth0") == (True, None)
    assert receive(upper, "eth0") >= FEWEST_FRAMES


def test_a_veth_in_generic_mode_is_not_exact(upper: Host, compiled: Compiled) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    result = upper.ok("xdp_program", mode="generic", **options)
    because = exactness(upper, "eth0")[1]
    assert because and "mode: native" in because and because in warnings(result)
    assert 0 < receive(upper, "eth0") < FEWEST_FRAMES / 2
    upper.ok("xdp_program", name="packet_count", state="absent")
    upper.ok("xdp_program", mode="native", **options)
    assert exactness(upper, "eth0") == (True, None)
    assert receive(upper, "eth0") >= FEWEST_FRAMES
    upper.ok("xdp_program", name="packet_count", state="detached")
    assert exactness(upper, "eth0") == (None, None)


def test_a_bridge_names_its_ports(host: Host, compiled: Compiled) -> None:
    sh("ip", "-n", host.name, "link", "add", "name", "br0", "type", "bridge")
    for port in ("eth0", "eth0.10"):
        sh("ip", "-n", host.name, "link", "set", "dev", port, "master", "br0")
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["br0"])
    because = exactness(host, "br0")[1]
    assert because and because.endswith("; count on eth0 and eth0.10 instead")


FEATURES = (
    "from ansible_collections.ebpf.fleet.plugins.module_utils.kernel.ethtool import features_on\n"
    "print('rx-gro' in features_on('eth0'))"
)
SET_GRO = (
    "import ctypes, fcntl, socket, struct, sys\n"
    "data = ctypes.create_string_buffer(struct.pack('II', 0x2C, int(sys.argv[1])))\n"  # ETHTOOL_SGRO
    "request = struct.pack('16sQ8x', b'eth0', ctypes.addressof(data))\n"
    "fcntl.ioctl(socket.socket(), 0x8946, request)"
)


def test_features_of_a_driver(host: Host) -> None:
    """As in `ethtool -k`: a feature that is switched shows."""
    for on in (True, False, True):
        host.enter(sys.executable, "-c", SET_GRO, int(on))
        found = host.enter("env", f"PYTHONPATH={COLLECTIONS}", sys.executable, "-c", FEATURES)
        assert found.strip() == str(on)
    assert ethtool.features_on("nope0") == {}
