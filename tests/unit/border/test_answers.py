# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the answers of honest hosts may be, and how the others' are refused. Many more: tests/security."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.ebpf.fleet.plugins.module_utils.border import kinds
from ansible_collections.ebpf.fleet.plugins.module_utils.border.answers import RETURNED, checked, refusal
from ansible_collections.ebpf.fleet.plugins.module_utils.border.kinds import Unacceptable
from answers import answers

ROOT = pathlib.Path(__file__).parents[3]
MODULES = sorted(RETURNED)
# Not of the modules: their action plugin adds it, or takes it away.
OF_THE_ACTION = {"xdp_program": {"confirmed", "check"}, "bpf_map": {"confirmed"}}


@pytest.mark.parametrize("module", MODULES)
def test_what_an_honest_host_answers_passes_unchanged(module: str) -> None:
    answer = answers()[module]
    assert checked(module, answer) == answer


@pytest.mark.parametrize("module", MODULES)
def test_all_that_is_documented_is_known_and_each_has_an_action(module: str) -> None:
    source = (ROOT / f"plugins/modules/{module}.py").read_text()
    documented = set(yaml_load(source.split('RETURN = r"""')[1].split('"""')[0])) - OF_THE_ACTION.get(module, set())
    assert documented == set(RETURNED[module].always) | set(RETURNED[module].perhaps)
    assert (ROOT / f"plugins/action/{module}.py").exists()


def test_what_is_not_known_is_left_out() -> None:
    answer = answers()["xdp_counter_facts"]
    answer.update(add_host={"host_name": "x"}, unreachable=True, skipped=True, _ansible_no_log=False)
    answer["ansible_facts"]["xdp_counter_report"] = "/etc/passwd"
    answer["ansible_facts"]["xdp_counter"]["interfaces"]["eth0"]["host"] = "web1"
    assert checked("xdp_counter_facts", answer) == {**answers()["xdp_counter_facts"], "_ansible_no_log": False}


def test_a_failed_module_has_no_facts_and_needs_to_have_nothing() -> None:
    answer = {**answers()["xdp_counter_facts"], "failed": True, "msg": "no\nok: [web1]\x1b[2J"}
    assert checked("xdp_counter_facts", answer) == {
        "changed": False,
        "failed": True,
        "msg": "no\n    ok: [web1]\\x1b[2J",
    }


def test_a_job_has_no_result_yet() -> None:
    job = {"ansible_job_id": "j1.2", "started": 1, "finished": 0, "results_file": "/x", "changed": True}
    assert checked("xdp_counter_facts", job, job=True) == job
    with pytest.raises(Unacceptable, match="its result is a dictionary of 5, not one that has ansible_facts"):
        checked("xdp_counter_facts", job)


@pytest.mark.parametrize(
    ("packets", "words"),
    [
        ("x", "xdp_counter.interfaces.eth0.packets is 'x', not a whole number from 0 on"),
        (True, "packets is True, not a whole number"),
        (-1, "packets is -1, not a whole number"),
        (1 << 80, "not a whole number"),
        ({"a": 1}, "packets is a dictionary of 1, not"),
        ("\x1b[2J" * 99, r"packets is '\\x1b\[2J.*…, not"),
    ],
)
def test_the_sentence(packets: t.Any, words: str) -> None:
    answer = answers()["xdp_counter_facts"]
    answer["ansible_facts"]["xdp_counter"]["interfaces"]["eth0"]["packets"] = packets
    with pytest.raises(Unacceptable, match=words) as caught:
        checked("xdp_counter_facts", answer)
    sentence = refusal("web1", "xdp_counter_facts", caught.value)
    assert sentence.startswith("web1 did not answer as xdp_counter_facts does: ansible_facts.") and len(sentence) < 400
    assert sentence.isprintable()


@pytest.mark.parametrize("name", ["eth0", "eth0.10", "x" * 15, "ä" * 7, "\\xff\\xfe", "\\xff" * 15, "...", "a,b"])
def test_names_that_linux_allows(name: str) -> None:
    assert kinds.interface(name, "") == name


def test_a_name_with_an_escape_sequence() -> None:
    assert kinds.interface("\x1b[2J", "") == "\\x1b[2J"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "a b",
        "a\nb",
        "a\0b",
        "x" * 16,
        "x" * 300,
        "ä" * 8,
        "a:b",
        "a\u2028b",
        7,
        None,
        ["x"],
    ],
)
def test_names_that_linux_does_not_allow(name: t.Any) -> None:
    with pytest.raises(Unacceptable, match=r"a name that Linux allows|text"):
        kinds.interface(name, "name")


def test_numbers() -> None:
    assert kinds.real(0.5, "") == 0.5 and kinds.integer(-2, "") == -2 and kinds.identifier(0, "") == 0
    for bad in (float("nan"), float("inf"), 10**400, -0.5, "1", None, True):
        with pytest.raises(Unacceptable):
            kinds.real(bad, "x")
    with pytest.raises(Unacceptable, match="32 bits"):
        kinds.identifier(1 << 32, "x")


def test_nesting_without_end() -> None:
    deep: t.Any = "x"
    for _level in range(500):
        deep = {"a": [deep]}
    for check in (kinds.anything, kinds.messages):
        with pytest.raises(Unacceptable, match="at most 32 levels"):
            check(deep, "diff")
