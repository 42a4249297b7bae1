# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sentences about problems of a host, without such a host."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.inspection.problems import (
    ALL,
    BUILD,
    INTERFACE,
    problems,
    problems_of_joining,
    problems_of_names,
)


def found(**changes: t.Any) -> t.Dict[str, t.Any]:
    eth0 = {"driver": "e1000", "mtu": 1500, "xdp": []}
    return {
        "capabilities": ["cap_bpf", "cap_net_admin", "cap_sys_admin"],
        "lockdown": "none",
        "btf": True,
        "jit": {"enable": 1, "harden": 0, "available": True},
        "clang": "14.0.6",
        "libbpf": "1.1",
        "features": {"xdp_link": True, "frags": True},
        "interfaces": {"lo": {"driver": None, "mtu": 65536, "xdp": []}, "eth0": eth0},
        **changes,
    }


def eth0(**changes: t.Any) -> t.Dict[str, t.Any]:
    return {"eth0": {"driver": "e1000", "mtu": 1500, "xdp": [], **changes}}


FOREIGN = {"program_id": 41, "name": "acl", "tag": "5bb1", "owner": "another"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"capabilities": []}, "without cap_bpf, cap_net_admin, cap_sys_admin"),
        ({"features": {"xdp_link": False, "frags": True}}, "added in 5.9"),
        ({"lockdown": "confidentiality"}, "Boot with lockdown=integrity"),
        ({"jit": {"enable": 0, "harden": 0, "available": True}}, "Set the sysctl net.core.bpf_jit_enable to 1"),
        ({"jit": {"enable": None, "harden": None, "available": False}}, "Use a kernel with CONFIG_BPF_JIT."),
        ({"btf": False}, "Use a kernel with CONFIG_DEBUG_INFO_BTF."),
        ({"clang": None}, "xdp_counter_build: controller"),
        ({"interfaces": eth0(xdp=[FOREIGN])}, "eth0 runs XDP program 41 'acl' (tag 5bb1)"),
        ({"interfaces": eth0(mtu=9000), "features": {"xdp_link": True, "frags": False}}, "eth0 has an MTU of 9000"),
        ({"interfaces": eth0(mtu=9000), "libbpf": "0.5.0"}, "libbpf 0.5.0 cannot load programs for packets of several"),
    ],
)
def test_each_problem_has_its_sentence(changes: t.Dict[str, t.Any], words: str) -> None:
    (problem,) = problems(found(**changes))
    assert words in problem.sentence and problem.sentence.endswith(".")
    assert problem.interface or problem.sentence == f"{problem.problem} {problem.remedy}"


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        ({"capabilities": []}, ALL),
        ({"features": {"xdp_link": False, "frags": True}}, ALL),
        ({"clang": None}, BUILD),
        ({"interfaces": eth0(xdp=[FOREIGN])}, INTERFACE),
        ({"interfaces": eth0(mtu=9000), "libbpf": "0.5.0"}, None),
        ({"btf": False}, None),
    ],
)
def test_what_a_problem_stops(changes: t.Dict[str, t.Any], stops: t.Optional[str]) -> None:
    (problem,) = problems(found(**changes))
    assert problem.stops == stops
    (refused,) = problems(found(), "the kernel says no")
    assert refused.stops == ALL and refused.sentence == "No program can be loaded or attached: the kernel says no."


def test_what_differs_between_hosts_is_only_in_the_sentence() -> None:
    """So that hosts are grouped by it."""
    one, two = eth0(xdp=[FOREIGN]), {"ens3": eth0(xdp=[{**FOREIGN, "program_id": 42}])["eth0"]}
    (first,), (second,) = problems(found(interfaces=one)), problems(found(interfaces=two))
    assert (first.problem, first.remedy) == (second.problem, second.remedy)
    assert (first.interface, second.interface) == ("eth0", "ens3") and first.sentence != second.sentence
    assert first.problem == "The interface runs an XDP program, which this collection did not attach."
    assert first.remedy.startswith(
        "Leave the interface out, or set on_conflict: replace to take its place. To have both,"
    )


DISPATCHER = {**FOREIGN, "name": "xdp_dispatcher", "dispatcher": {"version": 2, "trouble": None, "components": []}}
CLOSED = {**DISPATCHER, "dispatcher": {"version": 4, "trouble": "it is of version 4", "components": []}}


@pytest.mark.parametrize(
    ("program", "can", "words"),
    [
        (DISPATCHER, True, ""),
        (DISPATCHER, None, ""),
        (
            DISPATCHER,
            False,
            "eth0 runs XDP program 41 'xdp_dispatcher' (tag 5bb1), which other programs could join, but",
        ),
        (
            CLOSED,
            True,
            "eth0 runs XDP program 41 'xdp_dispatcher' (tag 5bb1), which cannot be joined: it is of version 4.",
        ),
    ],
)
def test_a_dispatcher_is_only_a_problem_if_it_cannot_be_joined(
    program: t.Dict[str, t.Any], can: t.Optional[bool], words: str
) -> None:
    features = {"xdp_link": True, "frags": True, "dispatcher": can}
    every = problems(found(interfaces=eth0(xdp=[program]), features=features))
    assert [words in each.sentence for each in every] == ([True] if words else [])
    assert all(each.stops == INTERFACE for each in every)
    assert [each.problem for each in every if program is CLOSED] in (
        [],
        ["The interface runs a dispatcher, of a kind that cannot be joined."],
    )


def test_no_problem() -> None:
    assert problems(found()) == []
    assert problems(found(interfaces=eth0(mtu=9000), libbpf="0.8.1")) == []
    unasked = {"xdp_link": None, "frags": None}
    assert problems(found(features=unasked, jit={"enable": None, "available": True})) == []


@pytest.mark.parametrize(("panics", "words"), [(False, "write a WARNING to its log"), (True, "xdp_program refuses")])
def test_what_a_hypervisor_joins(panics: bool, words: str) -> None:
    (problem,) = problems_of_joining({"eth0": ["rx-gro-hw"]}, panics)
    text = problem.sentence
    assert text.startswith("eth0 gets packets that are put together from several frames (rx-gro-hw)")
    assert words in text and text.endswith(".") and ("kernel panic" in text) is panics
    assert problem.stops == (INTERFACE if panics else None)
    assert problems_of_joining({}, panics) == []


def test_a_name_that_cannot_be_given() -> None:
    (problem,) = problems_of_names({"\\xff": 7})
    assert problem.sentence.startswith("The name of interface 7, \\xff, is not UTF-8")
    assert "`ip link set dev if7 name NAME`" in problem.sentence and "if7" not in problem.problem + problem.remedy
