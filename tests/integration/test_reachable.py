# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""reachable: a change is rolled back unless the host reaches its gateway, a port or a URL after it."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.border.answers import checked
from commands import sh
from host import Host

Compiled = t.Callable[..., str]
Options = t.Dict[str, t.Any]
GATEWAY, ADDRESS, GATEWAY6 = "10.77.0.1", "10.77.0.2", "fd77::1"
HOLDERS = pathlib.Path("/run/ebpf_fleet/provisional")


@pytest.fixture
def routed(host: Host) -> Host:
    """The host, whose default route leads through the hub by eth0."""
    for netns, address, device in ((host.name, ADDRESS, "eth0"), (host.hub, GATEWAY, "p-eth0")):
        sh("ip", "-n", netns, "address", "add", f"{address}/24", "dev", device)
    sh("ip", "-n", host.name, "route", "add", "default", "via", GATEWAY)
    return host


@contextlib.contextmanager
def serving(host: Host, *command: str) -> t.Iterator[None]:
    """A server on the hub, at port 8077."""
    words = ["nsenter", f"--net=/run/netns/{host.hub}", sys.executable, *command]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while ":8077" not in sh("ip", "netns", "exec", host.hub, "ss", "-tlnH"):
            assert time.monotonic() < deadline and server.poll() is None
            time.sleep(0.05)
        yield
    finally:
        server.kill()
        server.wait()


def listening(host: Host) -> t.ContextManager[None]:
    """It speaks no HTTP."""
    code = "import socket\ns = socket.create_server(('', 8077))\n"
    code += "while True: c = s.accept()[0]; c.send(b'no\\r\\n'); c.close()"
    return serving(host, "-c", code)


def try_change(host: Host, options: Options, reachable: str, seconds: int = 4) -> Options:
    return host.module("xdp_program", rollback_after=seconds, reachable=[reachable], **options)


@pytest.fixture
def counting(routed: Host, compiled: Compiled) -> Options:
    """Upgrades a counter, which has counted, to one that counts too."""
    routed.ok("xdp_program", object=compiled("counter", VERSION=1), interfaces=["eth0"])
    routed.send("eth0", 10)
    return {"object": compiled("counter", VERSION=2), "interfaces": ["eth0"]}


def confirmed(host: Host, done: Options) -> t.List[t.Dict[str, t.Any]]:
    assert not done.get("failed"), done["msg"]
    assert checked("xdp_program", done)["reached"] == done["reached"]
    host.ok("xdp_confirm", token=done["provisional"]["token"], interfaces=["eth0"])
    return t.cast("list[dict[str, t.Any]]", done["reached"])


def test_the_gateway_answers(routed: Host, counting: Options) -> None:
    (reached,) = confirmed(routed, try_change(routed, counting, "gateway"))
    assert (reached["asked"], reached["answer"]) == ("gateway", f"the gateway {GATEWAY} on eth0 answered by ICMP")
    again = try_change(routed, counting, "gateway")
    assert not again["changed"] and "reached" not in again


def test_a_gateway_that_ignores_icmp(routed: Host, counting: Options) -> None:
    routed.enter("sh", "-c", "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all", netns=routed.hub)
    (reached,) = confirmed(routed, try_change(routed, counting, "gateway"))
    assert reached["answer"] == f"the gateway {GATEWAY} on eth0 answered by ARP"


def test_a_gateway_of_ipv6(routed: Host, counting: Options) -> None:
    for netns, address, device in ((routed.name, "fd77::2", "eth0"), (routed.hub, GATEWAY6, "p-eth0")):
        routed.enter("sh", "-c", f"echo 0 >/proc/sys/net/ipv6/conf/{device}/disable_ipv6", netns=netns)
        sh("ip", "-n", netns, "address", "add", f"{address}/64", "dev", device, "nodad")
    sh("ip", "-n", routed.name, "route", "del", "default")
    sh("ip", "-n", routed.name, "-6", "route", "add", "default", "via", GATEWAY6, "dev", "eth0")
    (reached,) = confirmed(routed, try_change(routed, counting, "gateway"))
    assert reached["answer"] == f"the gateway {GATEWAY6} on eth0 answered by ICMP"


def test_a_program_that_drops_is_rolled_back_at_once(routed: Host, counting: Options, compiled: Compiled) -> None:
    before = routed.xdp("eth0")
    began = time.monotonic()
    done = try_change(routed, {**counting, "object": compiled("counter", VERSION=0)}, "gateway")
    assert time.monotonic() - began < 20
    assert done["failed"] and not done["changed"] and "provisional" not in done
    assert "gateway (reachable) did not answer within 2 s after the change: the gateway" in done["msg"]
    assert done["msg"].endswith("; the change was rolled back")
    assert routed.xdp("eth0") == before and routed.counts()[0] >= 10 and not HOLDERS.exists()
    assert done["xdp"]["eth0"][0]["program_id"] == before["prog"]["id"]  # type: ignore[index]
    assert checked("xdp_program", done)["xdp"] == done["xdp"]
    assert not routed.module("xdp_program", check=True, **{**counting, "object": compiled("counter", VERSION=1)})[
        "changed"
    ]


def test_arp_does_not_stand_for_ip(routed: Host, compiled: Compiled) -> None:
    """A list that blocks all of IPv4 passes ARP; in the task of the program, and in one of its own."""
    everything = {"map": "block4", "keys": ["0.0.0.0/0"], "value": 1}
    program = {"object": compiled("blocklist"), "interfaces": ["eth0"], "name": "blocklist"}
    done = try_change(routed, {**program, "map_entries": [everything]}, "gateway")
    assert done["failed"] and "was silent, which had answered by ICMP before" in done["msg"]
    assert routed.xdp("eth0") is None
    routed.ok("xdp_program", **program)
    block = {"name": "blocklist", "rollback_after": 4, "reachable": ["gateway"]}
    for how in ("in_place", "at_once"):
        done = routed.module("bpf_map", **everything, **block, replace=how)
        assert done["failed"] and done["msg"].endswith("; the change was rolled back"), how
        assert routed.ok("bpf_map_info", name="blocklist", map="block4")["maps"][0]["entries"] == []
        few = {**everything, "keys": ["198.51.100.0/24"], "exclusive": True}
        done = routed.ok("bpf_map", **few, **block, replace=how)
        assert checked("bpf_map", done)["reached"][0]["asked"] == "gateway"
        routed.ok("xdp_confirm", token=done["provisional"]["token"])
        routed.ok("bpf_map", **{**everything, "keys": []}, name="blocklist", exclusive=True)


def test_a_port(routed: Host, counting: Options) -> None:
    closed = try_change(routed, counting, f"{GATEWAY}:8077")
    assert closed["failed"] and "after the change: Connection refused; the change was rolled back" in closed["msg"]
    with listening(routed):
        (reached,) = confirmed(routed, try_change(routed, counting, f"{GATEWAY}:8077"))
    assert reached["answer"] == f"{GATEWAY}:8077 accepted a connection, as {GATEWAY}"


def test_a_url(routed: Host, counting: Options, tmp_path: pathlib.Path) -> None:
    (tmp_path / "health").write_text("yes\n")
    url = f"http://{GATEWAY}:8077"
    with serving(routed, "-m", "http.server", "8077", "--directory", str(tmp_path)):
        missing = try_change(routed, counting, f"{url}/missing")
        (reached,) = confirmed(routed, try_change(routed, counting, f"{url}/health"))
    assert missing["failed"] and "it answered 404 File not found; the change was rolled back" in missing["msg"]
    assert reached["answer"] == f"{url}/health answered 200"


def test_what_answers_a_url_without_http(routed: Host, counting: Options) -> None:
    with listening(routed):
        done = try_change(routed, counting, f"http://{GATEWAY}:8077/")
    assert done["failed"] and "what answers there does not speak HTTP: " in done["msg"]


def test_all_must_answer(routed: Host, counting: Options) -> None:
    both = ["gateway", f"{GATEWAY}:8077"]
    done = routed.module("xdp_program", rollback_after=4, reachable=both, **counting)
    assert done["failed"] and [each["asked"] for each in done["reached"]] == ["gateway"]


def test_what_could_tell_nothing_changes_nothing(routed: Host, counting: Options) -> None:
    def refused(*reachable: str, seconds: int = 4) -> str:
        return routed.refused("xdp_program", rollback_after=seconds, reachable=reachable, **counting)

    assert "and with rollback_after: 0 a change is final at once: set rollback_after" in refused("gateway", seconds=0)
    for wrong in ("router", "host:0", "host:65536", "ftp://host/", "http://", "http://host:x/", "a b:1", "fd77::1:80"):
        assert refused(wrong) == (
            f"reachable has {wrong!r}: give gateway, HOST:PORT, or a URL that begins with http:// or https://"
        )
    sh("ip", "-n", routed.hub, "link", "set", "dev", "p-eth0", "down")
    assert f"the gateway {GATEWAY} on eth0 answers neither ICMP nor ARP even now" in refused("gateway")
    sh("ip", "-n", routed.name, "route", "del", "default")
    assert "this host has no default route with a gateway; name something else" in refused("gateway")
    assert not HOLDERS.exists()


def test_in_check_mode_nothing_is_asked(routed: Host, counting: Options) -> None:
    done = routed.ok("xdp_program", check=True, rollback_after=4, reachable=["nowhere.invalid:1"], **counting)
    assert done["changed"] and "reached" not in done
