# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook ebpf.fleet.preflight: which hosts are ready, and what stands in the way of the others."""

from __future__ import annotations

import json
import sys
import typing as t

from fleet import Fleet, recap
from paths import ROOT


def found(fleet: Fleet, *more: t.Any, **how: t.Any) -> t.Tuple[str, t.Dict[str, t.Any]]:
    """What the playbook prints, and what it writes."""
    text = fleet.play("preflight", "-e", "xdp_preflight_report=preflight.json", *more, **how)
    return text, json.loads((fleet.folder / "preflight.json").read_text())


def test_hosts_by_problem(fleet: Fleet, compiled: t.Callable[..., str]) -> None:
    text, result = found(fleet)
    assert result == {"ready": ["one", "two"], "blocked": [], "not_read": {}, "problems": []}
    assert '"2 of 2 hosts are ready"' in text

    foreign = compiled("packet_count")
    for host in fleet.hosts:
        host.enter("ip", "link", "set", "dev", "eth0", "xdpgeneric", "object", foreign, "section", "xdp")
    inventory = json.loads(fleet.inventory.read_text())
    inventory["fleet"]["hosts"]["three"] = {"ansible_host": "gone"}
    inventory["fleet"]["hosts"]["two"]["xdp_counter_on_conflict"] = "replace"
    fleet.inventory.write_text(json.dumps(inventory))
    text, result = found(fleet, fails=True)
    assert (result["ready"], result["blocked"], list(result["not_read"])) == (["two"], ["one"], ["three"])
    assert "there is no network namespace 'gone'" in result["not_read"]["three"]
    (stops, ignored) = result["problems"]
    assert (stops["hosts"], stops["blocks"]) == ({"one": ["eth0"]}, True)
    assert (ignored["hosts"], ignored["blocks"]) == ({"two": ["eth0"]}, False)
    assert stops["problem"] == "The interface runs an XDP program, which this collection did not attach."
    assert "set on_conflict: replace" in stops["remedy"]
    assert "2 of 3 hosts are not ready: one, three" in text
    assert all(len(line) <= 80 for line in shown(text)), shown(text)

    refused = fleet.play("deploy", "--limit", "one,two", fails=True)
    assert "one" in refused and fleet.hosts[1].xdp("eth0"), "the deployment does as was predicted"
    # An interface that is not deployed to does not matter.
    inventory["fleet"]["hosts"]["one"]["xdp_counter_interfaces"] = ["eth0.10"]
    del inventory["fleet"]["hosts"]["three"]
    fleet.inventory.write_text(json.dumps(inventory))
    assert found(fleet)[1]["blocked"] == []


def test_programs_of_the_list(fleet: Fleet, compiled: t.Callable[..., str]) -> None:
    """The role's list in group_vars: what stands in the way of each program, and a deployment that fails there."""
    without = fleet.folder / "python-without-clang"
    hidden = f'mount -n --bind /dev/null $(realpath /usr/bin/clang) && exec {sys.executable} "$@"'
    without.write_text(f"#!/bin/sh\nexec unshare --mount sh -c '{hidden}' sh \"$@\"\n")
    without.chmod(0o755)
    inventory = json.loads(fleet.inventory.read_text())
    del inventory["fleet"]["vars"]["xdp_counter_interfaces"]  # else the counter is to be deployed too
    inventory["fleet"]["hosts"]["two"]["ansible_python_interpreter"] = str(without)
    fleet.inventory.write_text(json.dumps(inventory))
    (fleet.folder / "group_vars").mkdir()
    group = fleet.folder / "group_vars/fleet.json"
    acl = {"name": "acl", "object": compiled("packet_count"), "interfaces": ["eth0"], "on_conflict": "fail"}
    limit = {"name": "limit", "source": str(ROOT / "examples/ratelimit/ratelimit.bpf.c"), "interfaces": ["eth0.10"]}

    def with_programs(*programs: t.Dict[str, t.Any], **how: t.Any) -> t.Dict[str, t.Any]:
        group.write_text(json.dumps({"xdp_programs": programs}))
        return found(fleet, **how)[1]

    two = with_programs(acl, limit, fails=True)
    assert (two["ready"], two["blocked"]) == (["one"], ["two"])
    (clang,) = (each for each in two["problems"] if each["blocks"])
    assert clang["hosts"] == {"two": []} and "clang" in clang["problem"] and "controller" in clang["remedy"]
    assert with_programs(acl, {**limit, "build": "controller"})["blocked"] == []

    one = fleet.hosts[0]
    one.enter("ip", "link", "set", "dev", "eth0", "xdpgeneric", "object", compiled("counter"), "section", "xdp")
    nowhere = {**limit, "name": "nowhere", "interfaces": ["eth7"]}
    both = with_programs(
        acl, limit, nowhere, {"name": "empty", "build": "prebuilt", "interfaces": ["eth0.10"]}, fails=True
    )
    assert (both["ready"], both["blocked"]) == ([], ["one", "two"])
    blocking = {each["problem"]: each["hosts"] for each in both["problems"] if each["blocks"]}
    assert blocking == {
        "The interface runs an XDP program, which this collection did not attach.": {"one": ["eth0"]},
        "There is no such interface, on which nowhere is to run.": {"one": ["eth7"], "two": ["eth7"]},
        "empty has no object, which build: prebuilt needs.": {"one": [], "two": []},
        clang["problem"]: {"two": []},
    }
    # The foreign program is only in the way of what is to run on its interface.
    assert with_programs({**acl, "interfaces": ["eth0.10"]})["blocked"] == []
    assert with_programs({**acl, "on_conflict": "replace"})["blocked"] == []

    with_programs(acl, limit, fails=True)
    play = fleet.folder / "own.yml"
    play.write_text("[{hosts: fleet, gather_facts: false, roles: [ebpf.fleet.xdp]}]")
    text = fleet.run("ansible-playbook", play, fails=True)
    assert {host: failed for host, _changed, failed in recap(text)} == {"one": 1, "two": 1}, "as was predicted"
    assert fleet.hosts[1].xdp("eth0") and not fleet.hosts[1].xdp("eth0.10")


def shown(text: str) -> t.List[str]:
    return text.split('"msg": [')[1].split("]")[0].splitlines()
