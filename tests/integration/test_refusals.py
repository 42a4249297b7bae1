# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users read when a driver or the kernel refuses: its own words, and what to type. And nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

import pytest
from commands import sh
from host import Host
from paths import COLLECTIONS

Compiled = t.Callable[..., str]
Wrap = t.Sequence[str]


def words_of_ip(host: Host, object_file: str, interface: str) -> str:
    """What `ip link` prints when the driver refuses native mode."""
    ip = ["ip", "-n", host.name, "link", "set", "dev", interface, "xdpdrv", "obj", object_file, "sec", "xdp"]
    done = subprocess.run(ip, capture_output=True, text=True, check=False)
    assert done.returncode and done.stderr.startswith("Error: "), done
    return done.stderr[len("Error: ") :].strip().rstrip(".")


def plug_with_queues(host: Host) -> str:
    """A veth with fewer receive queues than its peer has transmit queues."""
    few, many = ["numrxqueues", 1, "numtxqueues", 1], ["numrxqueues", 4, "numtxqueues", 4]
    peer = ["type", "veth", "peer", "name", "p-few0", "netns", host.hub, *many]
    sh("ip", "link", "add", "name", "few0", "netns", host.name, *few, *peer)
    sh("ip", "-n", host.name, "link", "set", "dev", "few0", "up")
    return "few0"


def plug_jumbo(host: Host) -> str:
    host.plug("jumbo0", 9000)
    return "jumbo0"


@pytest.mark.parametrize(
    ("plug", "sentence", "remedy"),
    [
        (plug_jumbo, "Peer MTU is too large to set XDP", "ip link set dev PEER mtu 1500"),
        (plug_with_queues, "XDP expects number of rx queues not less than peer tx queues", "ethtool -L few0 rx N"),
    ],
    ids=["mtu", "queues"],
)
def test_the_drivers_own_sentence(
    host: Host, compiled: Compiled, plug: t.Callable[[Host], str], sentence: str, remedy: str
) -> None:
    interface = plug(host)
    said = words_of_ip(host, compiled("counter"), interface)
    assert sentence in said
    options = {"object": compiled("counter"), "interfaces": [interface]}
    error = host.refused("xdp_program", mode="native", **options)
    assert error.startswith(f"cannot attach by link, mode native for packet_count on {interface}: '{said}' (")
    assert remedy in error
    result = host.ok("xdp_program", **options)
    (warning,) = (each for each in map(str, result["warnings"]) if "native mode" in each)
    assert f"{interface} rejected packet_count in native mode: '{said}' (" in warning
    assert remedy in warning and "set mode: generic" in warning
    found = host.xdp(interface)
    assert found and found["mode"] == 2 and result["attachments"][0]["mode"] == "generic"


ASK = """
import socket, sys
from ansible_collections.ebpf.fleet.plugins.module_utils.attach import refusal
from ansible_collections.ebpf.fleet.plugins.module_utils.inspection.features import XDP_PASS
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import links, probe
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf

lib, index = Libbpf(), socket.if_nametoindex("eth0")
with probe.ask(lib, XDP_PASS) as ours:
    print([refusal._ask(lib, index, ours, mode) for mode in ("native", "generic")])
"""


@pytest.mark.parametrize("kind", [None, "xdpdrv", "xdpgeneric"])
def test_asking_a_driver_that_agrees_leaves_what_was_there(
    host: Host, compiled: Compiled, kind: t.Optional[str]
) -> None:
    """The question is asked by attaching; what another tool has attached stays, and what we ask with does not."""
    if kind:
        sh("ip", "-n", host.name, "link", "set", "dev", "eth0", kind, "obj", compiled("counter"), "sec", "xdp")
    before = host.xdp("eth0")
    said = host.enter("env", f"PYTHONPATH={COLLECTIONS}", sys.executable, "-c", ASK).strip()
    assert host.xdp("eth0") == before
    already = "XDP program already attached"
    other = "Native and generic XDP can't be active at the same time"
    expected = {None: ["", ""], "xdpdrv": [already, other], "xdpgeneric": [other, already]}
    assert said == repr(expected[kind])


def test_a_program_of_a_link_is_left_alone(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    before = host.xdp("eth0")
    said = host.enter("env", f"PYTHONPATH={COLLECTIONS}", sys.executable, "-c", ASK)
    assert said.count("Can't replace active BPF XDP link") == 1 and host.xdp("eth0") == before


SECCOMP_OF_BPF = {"x86_64": 321, "aarch64": 280, "s390x": 351}


def answer_bpf_with(number: int) -> Wrap:
    """A command with which the kernel answers each bpf() with an error number, as the profiles of containers do."""
    call = SECCOMP_OF_BPF[os.uname().machine]
    code = (
        "import ctypes, os, struct, sys\n"
        f"rules = (0x20, 0, 0, 0), (0x15, 0, 1, {call}), (0x06, 0, 0, {0x50000 | number}), (0x06, 0, 0, 0x7FFF0000)\n"
        "rules = b''.join(struct.pack('HBBI', *rule) for rule in rules)\n"
        "room = ctypes.create_string_buffer(rules)\n"
        "program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 4, ctypes.addressof(room)))\n"
        "libc = ctypes.CDLL(None)\n"
        "assert not libc.prctl(38, 1, 0, 0, 0) and not libc.prctl(22, 2, program, 0, 0)\n"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", code]


USER_NAMESPACE = ["unshare", "--user", "--map-root-user"]
WITHOUT_CAPABILITIES = ["setpriv", "--bounding-set", "-sys_admin,-bpf", "--inh-caps", "-all"]


@pytest.mark.parametrize(
    ("wrap", "problem", "remedy"),
    [
        (answer_bpf_with(1), "Operation not permitted", "a seccomp filter is in force"),
        (answer_bpf_with(38), "Function not implemented", "a seccomp filter is in force"),
        (USER_NAMESPACE, "Operation not permitted", "this runs in a user namespace"),
        (WITHOUT_CAPABILITIES, "This ran without cap_bpf, cap_sys_admin", "--privileged"),
    ],
    ids=["seccomp", "seccomp-enosys", "user-namespace", "capabilities"],
)
@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_bpf_refused_altogether(host: Host, wrap: Wrap, problem: str, remedy: str, check: bool) -> None:
    facts = host.ok("bpf_facts", wrap=wrap, check=check)["ansible_facts"]["bpf"]
    assert [each for each in facts["problems"] if problem in each and remedy in each], facts["problems"]


@pytest.mark.parametrize(
    ("wrap", "error", "remedy"),
    [
        (answer_bpf_with(1), "Operation not permitted", "a seccomp filter is in force"),
        (USER_NAMESPACE, "Operation not permitted", "this runs in a user namespace"),
        (WITHOUT_CAPABILITIES, "Operation not permitted", "this runs without CAP_SYS_ADMIN, CAP_BPF"),
    ],
    ids=["seccomp", "user-namespace", "capabilities"],
)
def test_tasks_where_bpf_is_refused(host: Host, compiled: Compiled, wrap: Wrap, error: str, remedy: str) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"], "allow_unsafe_paths": True}
    for module, given in (("xdp_program", options), ("bpf_program_info", {})):
        message = host.refused(module, wrap=wrap, **given)
        assert error in message and remedy in message, message
