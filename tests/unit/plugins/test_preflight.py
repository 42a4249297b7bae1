# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts by what stands in the way of a deployment to them, for fleets of any size."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ebpf.fleet.plugins.filter.preflight import preflight
from ansible_collections.ebpf.fleet.plugins.plugin_utils.answered import LONGEST
from ansible_collections.ebpf.fleet.plugins.plugin_utils.readiness import MOST_NAMES, Intended, lines, readiness
from answers import Answer, answers

CLANG: Answer = {"problem": "There is no clang.", "remedy": "Install it.", "stops": "build", "interface": None}
OLD: Answer = {"problem": "The kernel is old.", "remedy": "Use a newer one.", "stops": "all", "interface": None}
SLOW: Answer = {"problem": "It is slow.", "remedy": "", "stops": None, "interface": None}
FOREIGN: Answer = {"problem": "Foreign.", "remedy": "Leave it out.", "stops": "interface", "interface": "eth0"}


def host(*obstacles: Answer, **variables: t.Any) -> Answer:
    """The variables of a host after the task. It has eth0, and eth1, which has no driver."""
    answer = answers()["bpf_facts"]
    facts = answer["ansible_facts"]["bpf"]
    interface = facts["interfaces"]["eth0"]
    facts.update(obstacles=list(obstacles), interfaces={"eth0": interface, "eth1": {**interface, "driver": None}})
    return {"found": answer, **variables}


def judged(**hosts: Answer) -> Answer:
    return preflight(hosts, list(hosts), "found")


def test_hosts_are_grouped_by_problem() -> None:
    found = judged(
        web1=host(),
        web2=host(SLOW, CLANG, OLD),
        web3=host(CLANG),
        web4=host(SLOW),
        web5={"found": {"unreachable": True, "msg": "ssh: no route"}},
        web6={},
        web7={"found": {"ansible_facts": {"bpf": {}}}},
    )
    assert (found["ready"], found["blocked"]) == (["web1", "web4"], ["web2", "web3"])
    assert list(found["not_read"]) == ["web5", "web6", "web7"] and found["not_read"]["web5"] == "ssh: no route"
    assert found["not_read"]["web6"] == "it did not say why" and "bpf_facts" in found["not_read"]["web7"]
    assert [(each["problem"], each["blocks"], list(each["hosts"])) for each in found["problems"]] == [
        ("There is no clang.", True, ["web2", "web3"]),
        ("The kernel is old.", True, ["web2"]),
        ("It is slow.", False, ["web2", "web4"]),
    ]
    text = "\n".join(found["lines"])
    assert text.startswith("2 of 7 hosts are ready\n") and text.count("Install it.") == 1
    assert "2 hosts: stops a deployment\n  There is no clang.\n  Install it.\n  web2, web3" in text
    assert "1 host: not read\n  ssh: no route\n  web5" in text and "2 hosts: ready\n  web1, web4" in text


def test_hosts_that_ssh_does_not_reach_are_one_group() -> None:
    def unreached(name: str, address: str = "") -> Answer:
        words = f"Failed to connect to the host via ssh: admin@{address or name}: Permission denied (publickey)."
        return {"found": {"unreachable": True, "msg": words}, **({"ansible_host": address} if address else {})}

    hosts = {f"web{number}": unreached(f"web{number}") for number in range(1, 12)}
    found = judged(**hosts, db1=unreached("db1", "192.0.2.1"), db2=unreached("db2", "192.0.2.10"), one=host())
    text = " ".join("\n".join(found["lines"]).split())
    assert (
        "13 hosts: not read Failed to connect to the host via ssh: admin@HOST: Permission denied (publickey)." in text
    )
    assert found["not_read"]["web1"].endswith("admin@web1: Permission denied (publickey).")
    assert "admin@web1: Permission" in " ".join("\n".join(judged(web1=hosts["web1"])["lines"]).split()), "alone"


@pytest.mark.parametrize(
    ("obstacle", "variables", "ready"),
    [
        (CLANG, {}, False),
        (CLANG, {"xdp_counter_build": "target"}, False),
        (CLANG, {"xdp_counter_build": "controller"}, True),
        (CLANG, {"xdp_counter_build": "prebuilt", "xdp_counter_object": "/packet_count.bpf.o"}, True),
        (FOREIGN, {}, False),
        (FOREIGN, {"xdp_counter_interfaces": []}, False),
        (FOREIGN, {"xdp_counter_interfaces": ["eth1", "eth0"]}, False),
        (FOREIGN, {"xdp_counter_interfaces": ["eth1"]}, True),
        (FOREIGN, {"xdp_counter_on_conflict": "replace"}, True),
        (OLD, {"xdp_counter_build": "controller", "xdp_counter_on_conflict": "replace"}, False),
        ({**OLD, "stops": "newer"}, {}, False),
        (SLOW, {}, True),
    ],
)
def test_what_stops_depends_on_how_is_deployed(obstacle: Answer, variables: Answer, ready: bool) -> None:
    found = judged(web1=host(obstacle, **variables))
    assert (found["ready"] == ["web1"]) is ready and (found["blocked"] == ["web1"]) is not ready
    (group,) = found["problems"]
    assert group["blocks"] is not ready


PROGRAM: Answer = {"name": "acl", "source": "acl.bpf.c", "interfaces": ["eth0"]}


@pytest.mark.parametrize(
    ("obstacles", "programs", "variables", "stops"),
    [
        ([CLANG], [PROGRAM], {}, ["There is no clang."]),
        ([CLANG], [PROGRAM], {"xdp_build": "controller"}, []),
        ([CLANG], [{**PROGRAM, "build": "controller"}], {}, []),
        ([CLANG], [{**PROGRAM, "build": "controller"}, {**PROGRAM, "name": "two"}], {}, ["There is no clang."]),
        ([CLANG], [{"name": "acl", "object": "acl.bpf.o"}], {}, []),
        ([CLANG], [{**PROGRAM, "state": "absent"}], {}, []),
        ([CLANG], [{**PROGRAM, "build": "controller"}], {"xdp_counter_interfaces": ["eth0"]}, ["There is no clang."]),
        ([CLANG], [{**PROGRAM, "state": "absent"}], {"xdp_counter_state": "absent"}, []),
        ([FOREIGN], [PROGRAM], {}, ["Foreign."]),
        ([FOREIGN], [{**PROGRAM, "on_conflict": "replace"}], {}, []),
        ([FOREIGN], [{**PROGRAM, "interfaces": ["eth1"]}], {}, []),
        ([FOREIGN], [{**PROGRAM, "interfaces": []}], {}, ["Foreign."]),
        ([OLD], [{**PROGRAM, "build": "controller", "on_conflict": "replace"}], {}, ["The kernel is old."]),
        ([], [{**PROGRAM, "interfaces": ["eth7"]}], {}, ["There is no such interface, on which acl is to run."]),
        ([], [{"name": "acl"}], {}, ["acl has no object, which build: prebuilt needs."]),
        ([], [{"name": "acl", "build": "target"}], {}, ["acl has no source, which build: target needs."]),
        ([], ["acl"], {}, ["xdp_programs cannot be read"]),
        ([], [{**PROGRAM, "mode": "native"}], {}, []),
    ],
)
def test_what_each_program_needs(
    obstacles: t.List[Answer], programs: t.List[Answer], variables: Answer, stops: t.List[str]
) -> None:
    found = judged(web1=host(*obstacles, xdp_programs=programs, **variables))
    assert (found["blocked"] == ["web1"]) is bool(stops)
    blocking = [each["problem"] for each in found["problems"] if each["blocks"]]
    assert len(blocking) == len(stops) and all(map(str.startswith, blocking, stops))


def test_native_mode_needs_a_driver() -> None:
    both = {**PROGRAM, "interfaces": ["eth0", "eth1"], "mode": "native"}
    (group,) = judged(web1=host(xdp_programs=[both]))["problems"]
    assert "acl is to run in native mode" in group["problem"] and group["hosts"] == {"web1": ["eth1"]}
    assert not group["blocks"]


def test_interfaces_are_named() -> None:
    found = judged(web1=host(FOREIGN, {**FOREIGN, "interface": "eth1"}), web2=host(FOREIGN))
    (group,) = found["problems"]
    assert group["hosts"] == {"web1": ["eth0", "eth1"], "web2": ["eth0"]}
    assert "  web1 (eth0, eth1), web2 (eth0)" in found["lines"]


@pytest.mark.parametrize("width", [40, 67, 200])
def test_lines_fit_and_hosts_write_no_heading(width: int) -> None:
    loud = "5 of 5 hosts are ready\n\n7 hosts: ready \x1b[2J " + "word " * 1000
    found = readiness(
        {
            "web1": host({**OLD, "problem": loud, "remedy": loud})["found"],
            "\x1b[2J<b>\u202e": {"failed": True, "msg": loud},
            "h" * 300: {"failed": True, "msg": "x" * 10**6},
        },
        {"web1": [Intended("packet_count", True, (), False)]},
    )
    written = lines(found, width)
    assert all(len(line) <= width and line.isprintable() for line in written)
    assert [line for line in written if line and line[0] != " "] == [
        "0 of 3 hosts are ready",
        "1 host: stops a deployment",
        "1 host: not read",
        "1 host: not read",
    ]
    assert all(len(each) <= LONGEST + 1 for each in found.not_read.values())


def test_a_host_cannot_make_the_page_of_any_size() -> None:
    many = [{**FOREIGN, "problem": f"{'x' * 9999}", "interface": f"eth{number}"} for number in range(9999)]
    found = judged(web1=host(*many, *({**OLD, "problem": f"{number}"} for number in range(9999))))
    assert found["blocked"] == ["web1"] and len("".join(found["lines"])) < 5000


@pytest.mark.parametrize("size", [3, 50, 1000])
def test_a_page_is_short(size: int) -> None:
    names = [f"web{number}" for number in range(size)]
    found = preflight({name: host(CLANG) for name in names}, names, "found")
    assert len(found["lines"]) < 20
    assert list(found["problems"][0]["hosts"]) == found["blocked"] == names
    more = f"and {size - MOST_NAMES} more"
    assert (more in " ".join(found["lines"])) is (size > MOST_NAMES)


def test_bad_input() -> None:
    with pytest.raises(AnsibleFilterError, match="preflight takes hostvars"):
        preflight({}, ["one"], "found")
