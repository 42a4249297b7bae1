# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role, playbooks, filter and ad-hoc commands, as a user types them, on a fleet of two hosts."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import threading
import typing as t

import pytest
from commands import bpftool, program_ids, programs_since
from fleet import BIN, Fleet, empty_headings, recap
from paths import ROOT


def diffs(text: str) -> t.List[str]:
    """The lines of all diffs. Hosts finish in any order."""
    return sorted(line for line in text.splitlines() if line[:1] in ("+", "-"))


def progress(text: str) -> t.List[str]:
    """The line of each batch, whatever the time."""
    found = re.findall(r'"versions": \[\n +"(.* hosts done.*)"', text)
    return [re.sub(r"\d+ (s|min)\b", r"N \1", line) for line in found]


@pytest.mark.parametrize("build", ["target", "controller", "prebuilt"])
def test_deploy_facts_remove(fleet: Fleet, build: str, compiled: t.Callable[..., str]) -> None:
    how = ["-e", f"xdp_counter_build={build}"]
    if build == "prebuilt":
        how += ["-e", f"xdp_counter_object={compiled('packet_count')}"]
    before, ids = [host.state() for host in fleet.hosts], program_ids()
    predicted = fleet.play("deploy", "--check", "--diff", *how)
    assert ([host.state() for host in fleet.hosts], programs_since(ids)) == (before, [])
    assert not (fleet.folder / "one").exists()
    done = fleet.play("deploy", "--diff", *how)
    assert diffs(predicted) == diffs(done)
    assert recap(predicted) == recap(done) == [("one", 1, 0), ("two", 1, 0)]
    assert recap(fleet.play("deploy", *how)) == [("one", 0, 0), ("two", 0, 0)]
    assert recap(fleet.play("deploy", "--check", *how)) == [("one", 0, 0), ("two", 0, 0)]

    one, two = fleet.hosts
    one.send("eth0", 321)
    two.send("eth0.10", 123)
    report = fleet.folder / "report.json"
    text = fleet.play("facts", "-e", f"xdp_counter_report={report}")
    assert re.search(r"one +eth0 +native +321 +20544 ", text) and text.count("TASK [") == 5
    only = fleet.play("facts", "--limit", "two")
    assert re.search(r"two +eth0.10 +native +123 ", only) and "one " not in only
    rows = {(row["host"], row["interface"]): row["packets"] for row in json.loads(report.read_text())}
    assert rows == {("one", "eth0"): 321, ("one", "eth0.10"): 0, ("two", "eth0"): 0, ("two", "eth0.10"): 123}

    assert recap(fleet.play("remove", "--check")) == [("one", 2, 0), ("two", 2, 0)]
    assert recap(fleet.play("remove")) == [("one", 2, 0), ("two", 2, 0)]
    assert recap(fleet.play("remove")) == [("one", 0, 0), ("two", 0, 0)]
    assert [host.state() for host in fleet.hosts] == before
    assert not (fleet.folder / "one").exists()


def test_check_mode_predicts_an_upgrade_which_keeps_counts(fleet: Fleet) -> None:
    fleet.play("deploy")
    fleet.hosts[0].send("eth0", 50)
    for build in ("target", "controller"):
        flags = json.dumps({"xdp_counter_cflags": ["-mcpu=v2" if build == "target" else "-mcpu=v1"]})
        newer = ["-e", f"xdp_counter_build={build}", "-e", flags]
        predicted = fleet.play("deploy", "--check", "--diff", *newer)
        done = fleet.play("deploy", "--diff", *newer)
        assert diffs(predicted) == diffs(done)
        assert "swap the program in the link" in done
        assert recap(predicted) == recap(done)
        assert recap(fleet.play("deploy", *newer)) == [("one", 0, 0), ("two", 0, 0)]
    assert fleet.hosts[0].counts() == (50, 3200)


def test_hosts_of_one_fleet_built_in_different_ways(fleet: Fleet, compiled: t.Callable[..., str]) -> None:
    """One host's variables must not affect the next host."""
    inventory = json.loads(fleet.inventory.read_text())
    hosts = inventory["fleet"]["hosts"]
    hosts["one"].update(xdp_counter_build="controller", xdp_counter_cflags=["-mcpu=v1"])
    for other in (
        {"xdp_counter_build": "controller", "xdp_counter_cflags": ["-mcpu=v2"]},
        {"xdp_counter_build": "prebuilt", "xdp_counter_object": compiled("packet_count")},
        {"xdp_counter_build": "target"},
    ):
        hosts["two"] = {"ansible_host": fleet.hosts[1].name, **other}
        fleet.inventory.write_text(json.dumps(inventory))
        fleet.play("deploy")
        assert recap(fleet.play("deploy")) == [("one", 0, 0), ("two", 0, 0)]
        tags = [bpftool("prog", "show", "pinned", host.pin("eth0", "program"))["tag"] for host in fleet.hosts]
        assert tags[0] != tags[1]


def test_rollout_stops_at_the_first_batch_that_fails(fleet: Fleet) -> None:
    fleet.hosts[0].unplug("eth0.10")
    text = fleet.play("deploy", "-e", "xdp_counter_serial=1", fails=True)
    assert "there is no interface eth0.10 on this host" in text
    assert fleet.hosts[0].xdp("eth0") is None
    assert fleet.hosts[1].xdp("eth0") is None
    assert re.search(r"failed +one\"", text) and re.search(r"not yet +two\"", text)
    assert progress(text) == ["0 of 2 hosts done, 1 failed, stopped, 1 not touched"]


def test_one_failure_in_a_batch_of_two_ends_the_rollout(tmp_path: pathlib.Path) -> None:
    fleet = Fleet(tmp_path, ("one", "two", "three"))
    try:
        fleet.hosts[0].unplug("eth0.10")
        text = fleet.play("deploy", "-e", "xdp_counter_serial=2", fails=True)
        assert fleet.hosts[1].xdp("eth0") and fleet.hosts[2].xdp("eth0") is None
        assert re.search(r"failed +one\"", text) and re.search(r"not yet +three\"", text)
        assert re.search(r"[0-9a-f]{16} +two eth0, two eth0.10\"", text)
        assert recap(text) == [("one", 0, 1), ("two", 1, 0)]
        assert progress(text) == ["1 of 3 hosts done, 1 failed, stopped, 1 not touched"]
        fleet.hosts[2].unplug("eth0.10")
        through = ["-e", "xdp_counter_serial=2", "-e", "xdp_counter_max_fail_percentage=50"]
        text = fleet.play("deploy", *through, fails=True)
        assert progress(text)[-1] == "1 of 3 hosts done, 2 failed, in N s"
    finally:
        fleet.close()


def test_rollout_reaches_every_batch(fleet: Fleet) -> None:
    fleet.play("deploy", "--limit", "two", "-e", '{"xdp_counter_cflags": ["-mcpu=v2"]}')
    text = fleet.play("deploy", "-v", "-e", "xdp_counter_serial=1")
    assert text.count('"check": {"idle": ["eth0", "eth0.10"]') == 2
    one, two = (host.ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"] for host in fleet.hosts)
    new = one["interfaces"]["eth0"]["tag"]
    assert two["interfaces"]["eth0"]["tag"] == new
    assert re.search(rf"{new} +one eth0, one eth0.10\"", text) and re.search(r"not yet +two\"", text)
    assert re.search(rf"{new} +one eth0, one eth0.10, two eth0, two eth0.10\"", text)
    lines = ["1 of 2 hosts done, 0 failed, 1 to come, about N s left", "2 of 2 hosts done, 0 failed, in N s"]
    assert progress(text) == lines
    unchanged = fleet.play("deploy", "-v")
    assert "hosts done" not in unchanged
    assert '"attachments": [' in unchanged and '"check": ' not in unchanged


def test_a_counter_that_drops_packets_stops_the_rollout(fleet: Fleet, compiled: t.Callable[..., str]) -> None:
    one, two = fleet.hosts
    build = ["-e", "xdp_counter_build=prebuilt", "-e", f"xdp_counter_object={compiled('counter', VERSION=0)}"]
    with one.traffic("eth0"):
        text = fleet.play("deploy", "-e", "xdp_counter_serial=1", *build, fails=True)
    assert "none of them reached the network stack" in text
    assert one.xdp("eth0") and two.xdp("eth0") is None
    assert re.search(r"[0-9a-f]{16} .failed. +one eth0, one eth0.10\"", text) and re.search(r"not yet +two\"", text)
    assert empty_headings(text) == []


def test_a_counter_that_drops_packets_fails_in_a_users_own_play(fleet: Fleet, compiled: t.Callable[..., str]) -> None:
    play = fleet.folder / "own.yml"
    play.write_text("[{hosts: fleet, gather_facts: false, serial: 1, roles: [ebpf.fleet.xdp_counter]}]")
    build = ["-e", "xdp_counter_build=prebuilt", "-e", f"xdp_counter_object={compiled('counter', VERSION=0)}"]
    one, two = fleet.hosts
    with one.traffic("eth0"):
        text = fleet.run("ansible-playbook", play, *build, "-e", "xdp_counter_check_seconds=0.5", fails=True)
        assert "none of them reached the network stack" in text and two.xdp("eth0") is None
        fleet.play("remove")
        fleet.run("ansible-playbook", play, *build, "-e", "xdp_counter_check_seconds=0")
    assert one.xdp("eth0") and two.xdp("eth0")


def test_no_heading_is_empty(fleet: Fleet) -> None:
    assert empty_headings("TASK [a] ***\n\nTASK [b] ***\nok: [one]\n\nPLAY RECAP ***\n") == ["TASK [a] ***"]
    for more in (["--check"], ["-e", "xdp_counter_serial=1"], [], ["-e", "xdp_counter_serial=1"]):
        text = fleet.play("deploy", *more)
        assert "TASK [" in text and empty_headings(text) == []
    assert "skipping" not in fleet.play("remove")


def test_two_controllers_at_once(fleet: Fleet) -> None:
    fleet.play("deploy")
    for host in fleet.hosts:
        host.send("eth0", 100)
    texts: t.List[str] = []
    builds = ("v1", "v2")

    def deploy(cpu: str) -> None:
        how = {
            "xdp_counter_cflags": [f"-mcpu={cpu}"],
            "xdp_counter_build": "controller",
            "xdp_counter_rollback_after": 30,
        }
        texts.append(fleet.play("deploy", "-e", json.dumps(how)))

    runs = [threading.Thread(target=deploy, args=(cpu,)) for cpu in builds]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [recap(text) for text in texts] == [[("one", 1, 0), ("two", 1, 0)]] * 2
    for host in fleet.hosts:
        tags = {bpftool("prog", "show", "pinned", host.pin(each, "program"))["tag"] for each in ("eth0", "eth0.10")}
        assert len(tags) == 1, "one of the two programs on all interfaces"
        assert host.counts()[0] == 100


def test_without_a_compiler_the_error_says_what_to_do(fleet: Fleet) -> None:
    text = fleet.play("deploy", "-e", "xdp_counter_clang=clang-99", fails=True)
    assert "clang-99 is not on this host: install the package clang" in text
    assert "xdp_counter_build: controller" in text


def test_prebuilt_without_an_object_and_no_default_route(fleet: Fleet) -> None:
    assert "set xdp_counter_object" in fleet.play("deploy", "-e", "xdp_counter_build=prebuilt", fails=True)
    text = fleet.play("deploy", "-e", '{"xdp_counter_interfaces": []}', fails=True)
    assert "This host has no default route; say which interfaces" in text


def test_the_interface_of_the_default_route(fleet: Fleet) -> None:
    for host in fleet.hosts:
        host.enter("ip", "address", "add", "10.9.0.1/24", "dev", "eth0.10")
        host.enter("ip", "route", "add", "default", "via", "10.9.0.254")
    everywhere = ["-e", '{"xdp_counter_interfaces": []}']
    fleet.play("deploy", *everywhere)
    for host in fleet.hosts:
        assert host.xdp("eth0.10") and not host.xdp("eth0")
    fleet.play("remove", *everywhere)
    assert not fleet.hosts[0].xdp("eth0.10")


def test_ad_hoc(fleet: Fleet) -> None:
    """Commands that users will type."""
    fleet.play("deploy")
    one = fleet.hosts[0]
    done = threading.Event()

    def traffic() -> None:
        while not done.wait(0.1):
            one.send("eth0", 1)

    sender = threading.Thread(target=traffic)
    sender.start()
    try:
        text = fleet.run("ansible", "fleet", "-m", "ebpf.fleet.xdp_counter_facts", "-a", "trace_seconds=2")
    finally:
        done.set()
        sender.join()
    facts = json.loads(text.split("one | SUCCESS => ")[1].split("\ntwo | ")[0])["ansible_facts"]["xdp_counter"]
    assert facts["totals"]["packets"] > 5
    assert facts["trace"]["lines"] and all("ifindex" in line["message"] for line in facts["trace"]["lines"])
    dump = bpftool("map", "dump", "pinned", one.pin("eth0", "maps/%2Edata"))
    assert dump[0]["formatted"]["value"][".data"][0]["trace"]["every"] == 0
    assert '"problems": []' in fleet.run("ansible", "fleet", "-m", "ebpf.fleet.bpf_facts")


def test_connection_says_what_is_missing(fleet: Fleet) -> None:
    broken = json.loads(fleet.inventory.read_text())
    broken["fleet"]["hosts"] = {"gone": {}}
    fleet.inventory.write_text(json.dumps(broken))
    text = fleet.run("ansible", "fleet", "-m", "ansible.builtin.ping", fails=True)
    assert "there is no network namespace 'gone'" in text


def test_query(fleet: Fleet) -> None:
    fleet.play("deploy")
    fleet.hosts[1].send("eth0", 9)
    play = fleet.folder / "query.yml"
    play.write_text(
        """
- hosts: fleet
  gather_facts: false
  tasks:
    - ebpf.fleet.xdp_counter_facts:
    - ansible.builtin.debug:
        msg: "busiest {{ hostvars | ebpf.fleet.counter_rows('max_by(@, &packets).[host, interface, packets]') }}"
      run_once: true
    - ansible.builtin.debug:
        msg: "{{ hostvars | ebpf.fleet.counter_rows('[?') }}"
      run_once: true
"""
    )
    text = fleet.run("ansible-playbook", play, fails=True)
    assert "busiest ['two', 'eth0', 9]" in text
    assert "the query '[?' failed" in text


@pytest.mark.parametrize("what", ["tarball", "folder", "here"])
def test_installed_as_users_install_it(fleet: Fleet, tmp_path: pathlib.Path, what: str) -> None:
    """A published collection and an installed checkout both contain everything that the role needs."""
    source, installed = tmp_path / "checkout", tmp_path / "installed"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in files.stdout.splitlines():
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    galaxy = [str(BIN / "ansible-galaxy"), "collection"]
    version = (ROOT / "galaxy.yml").read_text().split("version: ")[1].split()[0]
    given = {"tarball": str(tmp_path / f"ebpf-fleet-{version}.tar.gz"), "folder": str(source), "here": "./"}[what]
    if what == "tarball":
        subprocess.run([*galaxy, "build", "--output-path", tmp_path], cwd=source, check=True, capture_output=True)
    subprocess.run(
        [*galaxy, "install", "--force", "--offline", "-p", installed, given],
        cwd=source,
        check=True,
        capture_output=True,
    )
    fleet.collections = installed
    assert recap(fleet.play("deploy")) == [("one", 1, 0), ("two", 1, 0)]
