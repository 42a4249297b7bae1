# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rollback_after: a change is final only if it is confirmed; otherwise the host rolls it back.

Molecule's scenario lockout tests this over SSH on the interface that is cut.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
import signal
import time
import typing as t

import pytest
from commands import bpftool, sh
from fleet import Fleet
from host import Host
from paths import BPF

Compiled = t.Callable[..., str]
Options = t.Dict[str, t.Any]
HOLDERS = pathlib.Path("/run/ebpf_fleet/provisional")
BOTH = ["eth0", "eth0.10"]
LONG, SHORT = 60, 3  # seconds: LONG outlasts any confirmation, SHORT any look at the host
CONNECTIONS = pathlib.Path(__file__).parent / "connection"


def holders(host: Host) -> t.List[int]:
    """Process ids of the holders of this host: Python in its network namespace."""
    inode = os.stat(f"/run/netns/{host.name}").st_ino
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.stat(entry / "ns/net").st_ino == inode:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_for_holders(host: Host, seconds: float = 20) -> None:
    """Wait until no holder is left."""
    deadline = time.monotonic() + seconds
    while holders(host):
        assert time.monotonic() < deadline, "a holder is still running"
        time.sleep(0.05)


def confirm(host: Host, result: Options) -> Options:
    return host.ok("xdp_confirm", token=result["provisional"]["token"], interfaces=BOTH)


def deep_state(host: Host) -> t.Any:
    """All of a host's state, including what each pin refers to, but without ids that change with a new link."""
    files, mounts, links = host.state()
    pins = {}
    for path in files:
        if re.search(r"/(program|counters)$", path):
            kind = "prog" if path.endswith("program") else "map"
            pins[path] = bpftool(kind, "show", "pinned", path)["id"]
        elif path.endswith("json"):
            pins[path] = pathlib.Path(path).read_text()
    return files, mounts, links, pins


def test_a_waiting_run_rebuilds_an_object_that_was_rolled_back(host: Host, tmp_path: pathlib.Path) -> None:
    """It saw the object of the first run, found it up to date, and then waited for the lock."""
    folder = tmp_path / "built"
    build = {"src": f"{folder}/c.bpf.c", "content": (BPF / "counter.bpf.c").read_text()}
    options: Options = {"object": f"{folder}/c.bpf.o", "build": build, "interfaces": ["eth0"], "name": "packet_count"}
    host.ok("xdp_program", rollback_after=SHORT, **options)
    waits = host.start("xdp_program", **options)
    wait_for_holders(host)
    out, err = waits.communicate(timeout=30)
    done = json.loads(out)
    assert not done.get("failed"), out + err
    assert f"write {folder}/c.bpf.o" in done["steps"]
    assert len(list(folder.iterdir())) == 3
    assert not host.ok("xdp_program", **options)["changed"]


def test_only_the_holder_holds_a_new_link_until_it_is_confirmed(host: Host, compiled: Compiled) -> None:
    options = {"object": compiled("packet_count"), "interfaces": BOTH, "rollback_after": LONG}
    predicted = host.ok("xdp_program", check=True, **options)
    assert not holders(host)
    done = host.ok("xdp_program", **options)
    assert (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
    assert done["provisional"]["before"] == {"eth0": [], "eth0.10": []}
    assert done["provisional"]["after"]["eth0"][0]["mode"] == "native"
    assert host.xdp("eth0") and not os.path.exists(host.pin("eth0", "link"))
    assert len(holders(host)) == 1
    host.send("eth0", 5)

    answer = confirm(host, done)
    wait_for_holders(host)
    assert host.counts() == (5, 320)
    assert not HOLDERS.exists()
    for attachment in answer["attachments"]:
        link = bpftool("link", "show", "pinned", host.pin(attachment["interface"], "link"))
        assert (link["id"], link["prog_id"]) == (attachment["link_id"], attachment["program_id"])
        assert attachment["state"] == "attached" and attachment["mode"] == "native"
    assert answer["xdp"]["eth0"][0]["by"] == "link"
    again = host.ok("xdp_program", **options)
    assert not again["changed"] and "provisional" not in again and not holders(host)
    late = host.refused("xdp_confirm", token=done["provisional"]["token"])
    assert "provisional change" in late and "is no longer pending on this host" in late


@pytest.fixture
def counting(host: Host, compiled: Compiled) -> Options:
    """Options that upgrade a counter, which has counted 10 packets on eth0, to one that drops packets."""
    host.ok("xdp_program", object=compiled("counter", VERSION=1), interfaces=BOTH)
    host.send("eth0", 10)
    return {"object": compiled("counter", VERSION=0), "interfaces": BOTH, "rollback_after": SHORT}


CHANGES: t.Dict[str, t.Tuple[Options, str]] = {
    "upgrade": ({}, "swap the program in the link"),
    "upgrade with new maps": ({"maps": "reset"}, "swap the program in the link"),
    "different mode": ({"mode": "generic"}, "attach by link, mode generic"),
    "detached": ({"state": "detached", "name": "packet_count"}, "detach"),
    "absent": ({"state": "absent", "name": "packet_count"}, "remove the record"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_rollback_restores_the_old_state_with_its_counts(host: Host, counting: Options, change: str) -> None:
    before = deep_state(host)
    more, step = CHANGES[change]
    done = host.ok("xdp_program", **{**counting, **more})
    assert f"eth0: {step}" in done["steps"] and done["provisional"]
    assert host.state() != before[:2]
    wait_for_holders(host)
    assert deep_state(host) == before
    assert not HOLDERS.exists()
    host.send("eth0", 10)
    assert host.counts() == (20, 1280)
    unchanged = {**counting, "object": counting["object"].replace("VERSION0", "VERSION1")}
    assert not host.ok("xdp_program", **unchanged)["changed"]


def test_rollback_of_a_first_attachment_leaves_nothing(host: Host, compiled: Compiled, tmp_path: pathlib.Path) -> None:
    before = host.state()
    path = tmp_path / "new" / "x.bpf.o"
    path.parent.mkdir()
    content = base64.b64encode(pathlib.Path(compiled("packet_count")).read_bytes()).decode()
    host.ok("xdp_program", object=str(path), content=content, interfaces=BOTH, rollback_after=SHORT)
    assert path.exists() and host.xdp("eth0.10")
    wait_for_holders(host)
    assert host.state() == before
    assert not list(path.parent.iterdir())


def test_rollback_restores_the_old_object_file(host: Host, compiled: Compiled, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.bpf.o"
    old = pathlib.Path(compiled("counter", VERSION=1)).read_bytes()
    path.write_bytes(old)
    path.chmod(0o640)
    content = base64.b64encode(pathlib.Path(compiled("counter", VERSION=2)).read_bytes()).decode()
    host.ok("xdp_program", object=str(path), content=content, interfaces=["eth0"], rollback_after=SHORT)
    assert path.read_bytes() != old
    wait_for_holders(host)
    assert path.read_bytes() == old and path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_rollback_restores_a_foreign_program(host: Host, compiled: Compiled) -> None:
    sh("bpftool", "prog", "load", compiled("counter", VERSION=7), f"{host.pins}-foreign")
    try:
        host.enter("bpftool", "net", "attach", "xdp", "pinned", f"{host.pins}-foreign", "dev", "eth0")
        before = host.state()
        options = {"object": compiled("packet_count"), "interfaces": ["eth0"], "on_conflict": "replace"}
        done = host.ok("xdp_program", rollback_after=SHORT, **options)
        assert done["provisional"]["before"]["eth0"][0]["by"] == "netlink"
        assert host.state() != before
        wait_for_holders(host)
        assert host.state() == before
    finally:
        os.unlink(f"{host.pins}-foreign")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_kernel_detaches_a_new_program_when_its_holder_ends(
    host: Host, compiled: Compiled, number: signal.Signals
) -> None:
    before = host.state()
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    done = host.ok("xdp_program", rollback_after=LONG, **options)
    (holder,) = holders(host)
    os.kill(holder, number)
    wait_for_holders(host)
    assert host.xdp("eth0") is None
    if number == signal.SIGTERM:
        assert host.state() == before
    words = {signal.SIGTERM: "is no longer pending", signal.SIGKILL: "the process that held the change was killed"}
    assert words[number] in host.refused("xdp_confirm", token=done["provisional"]["token"])
    kept = host.ok("xdp_program", **options)
    assert kept["attachments"][0]["state"] == "attached"
    host.ok("xdp_program", state="absent", name="packet_count")
    assert host.state() == before
    again = host.ok("xdp_program", rollback_after=LONG, **options)
    sockets = [each.name for each in HOLDERS.iterdir()]
    assert sockets == [again["provisional"]["token"]], "the socket of the killed holder is removed"
    confirm(host, again)


def test_the_next_run_waits_for_confirmation_or_rollback(host: Host, counting: Options, compiled: Compiled) -> None:
    host.ok("xdp_program", **counting)
    host.ok("xdp_program", object=compiled("counter", VERSION=2), interfaces=BOTH)
    assert not holders(host), "it started after the holder had rolled back its change"
    host.send("eth0", 10)
    assert host.counts() == (20, 1280)


def test_an_interface_that_disappears_before_confirmation(host: Host, compiled: Compiled) -> None:
    options = {"object": compiled("packet_count"), "interfaces": BOTH}
    done = host.ok("xdp_program", rollback_after=LONG, **options)
    host.unplug("eth0.10")
    states = {each["interface"]: each["state"] for each in confirm(host, done)["attachments"]}
    assert states == {"eth0": "attached", "eth0.10": "detached"}
    host.plug("eth0.10")
    host.ok("xdp_program", **options)
    assert host.xdp("eth0.10")


def test_one_interface_fails_and_the_others_are_confirmed(host: Host, compiled: Compiled) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0", "nope0"], "on_error": "continue"}
    done = host.module("xdp_program", rollback_after=LONG, **options)
    assert done["failed"] and "1 of 2 interfaces failed" in done["msg"]
    states = {each["interface"]: each["state"] for each in confirm(host, done)["attachments"]}
    assert states == {"eth0": "attached", "nope0": "failed"}


def test_bad_values(host: Host, compiled: Compiled) -> None:
    for value in (-1, 3601):
        message = host.refused("xdp_program", object=compiled("counter"), interfaces=["eth0"], rollback_after=value)
        assert "give a number of seconds from 0 to 3600" in message
    for token in ("", "../x", "A" * 16, "0" * 65, "\n"):
        assert "token was not issued by xdp_program" in host.refused("xdp_confirm", token=token)
    assert not host.ok("xdp_confirm", check=True, token="0")["changed"]


def test_one_task_changes_and_confirms(fleet: Fleet, compiled: Compiled) -> None:
    words = f'{{"object": "{compiled("packet_count")}", "interfaces": ["eth0"], "rollback_after": 30}}'
    text = fleet.run("ansible", "fleet", "-m", "ebpf.fleet.xdp_program", "-a", words)
    assert text.count('"confirmed": true') == 2 and "provisional" not in text
    for host in fleet.hosts:
        wait_for_holders(host)
        assert bpftool("link", "show", "pinned", host.pin("eth0", "link"))["prog_id"]
    again = fleet.run("ansible", "fleet", "-m", "ebpf.fleet.xdp_program", "-a", words)
    assert again.count('"changed": false') == 2 and "confirmed" not in again
    refused = fleet.run("ansible", "fleet", "-B", "10", "-m", "ebpf.fleet.xdp_program", "-a", words, fails=True)
    assert refused.count('"msg": "with async, nothing can confirm the change') == 2


def test_the_role_with_rollback_after(fleet: Fleet) -> None:
    fleet.play("deploy", "-e", "xdp_counter_rollback_after=30")
    for host in fleet.hosts:
        wait_for_holders(host)
        assert host.xdp("eth0") and host.xdp("eth0.10")
    assert not HOLDERS.exists()


def cut(fleet: Fleet, compiled: Compiled, **env: str) -> t.List[str]:
    """Drop every packet, with new connections failing for six seconds; returns the hosts' messages."""
    words = f'{{"object": "{compiled("counter", VERSION=0)}", "interfaces": ["eth0"], "rollback_after": 3}}'
    text = fleet.run(
        "ansible",
        *("fleet", "-e", "ansible_connection=cut_netns", "-m", "ebpf.fleet.xdp_program", "-a", words),
        fails=True,
        env={"ANSIBLE_CONNECTION_PLUGINS": str(CONNECTIONS), "CUT_SECONDS": "6", **env},
    )
    assert text.count('"confirmed": false') == 2
    for host in fleet.hosts:
        assert host.xdp("eth0") is None
    said = re.findall(r'"msg": "(.*)"', text)
    assert len(said) == 2
    return said


def test_a_host_that_is_not_reachable_again_in_time(fleet: Fleet, compiled: Compiled) -> None:
    for words in cut(fleet, compiled):
        assert "eth0 was not confirmed over a new connection within 3 s (rollback_after): provisional change" in words
        assert "The host is reachable again, and runs what it ran before: eth0: no XDP program" in words


def test_a_connection_that_breaks_before_the_result_arrives(fleet: Fleet, compiled: Compiled) -> None:
    for words in cut(fleet, compiled, CUT_BREAKS="1"):
        assert "the connection broke while the change was made" in words
        assert "The host is reachable again, and runs eth0: no XDP program" in words


def test_a_host_that_is_lost_before_the_packet_check(fleet: Fleet, compiled: Compiled) -> None:
    """The task fails: a host that Ansible reports as unreachable would not stop a rollout."""
    words = f'{{"object": "{compiled("packet_count")}", "interfaces": ["eth0"], "check_seconds": 1}}'
    command = ["ansible", "fleet", "-m", "ebpf.fleet.xdp_program", "-a", words]
    text = fleet.run(
        *(*command, "-e", "ansible_connection=cut_netns"),
        fails=True,
        env={"ANSIBLE_CONNECTION_PLUGINS": str(CONNECTIONS), "CUT_SECONDS": "6", "CUT_AFTER": "1"},
    )
    assert (
        text.count("FAILED!") == text.count('"msg": "the host has been unreachable since the change: ssh: connect') == 2
    )
    assert all(host.xdp("eth0") for host in fleet.hosts)
    refused = fleet.run(*command, "-B", "10", fails=True)
    assert refused.count('"msg": "with async, nothing can check the packets') == 2


def test_a_host_that_was_never_reachable(fleet: Fleet, compiled: Compiled) -> None:
    began = time.monotonic()
    words = f'{{"object": "{compiled("counter")}", "interfaces": ["eth0"], "rollback_after": 600}}'
    text = fleet.run(
        "ansible", "fleet", "-e", "ansible_host=none", "-m", "ebpf.fleet.xdp_program", "-a", words, fails=True
    )
    assert text.count("UNREACHABLE!") == 2
    assert time.monotonic() - began < 300, "there is no wait for a host that was not changed"
