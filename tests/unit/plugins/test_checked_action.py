# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of jobs (async): they are checked too, although Ansible fetches them in another way."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.ebpf.fleet.plugins.plugin_utils.checked_action import CheckedAction
from answers import Answer, answers

JOB = {
    "ansible_job_id": "j1.2",
    "started": 1,
    "finished": 0,
    "results_file": "/root/.ansible_async/j1.2",
    "changed": True,
}
Step = t.Union[Answer, Exception]


class Action(CheckedAction):
    """What the host answers, one after the other; what is asked is in `asked`."""

    steps: t.List[Step]
    asked: t.List[t.Tuple[str, str]]

    def _execute_module(self, name: str = "", options: t.Any = None, **_how: t.Any) -> Answer:
        self.asked.append((name.rpartition(".")[2], (options or {}).get("mode", "")))
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def get_shell_option(self, *_names: t.Any, **_more: t.Any) -> str:
        return "~/.ansible_async"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only sleeping moves."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def action(*steps: Step, poll: int = 5, seconds: int = 30) -> t.Any:
    made = object.__new__(Action)
    made._task = types.SimpleNamespace(action="ebpf.fleet.xdp_counter_facts", async_val=seconds, poll=poll, args={})
    made._connection = types.SimpleNamespace(has_native_async=False)
    made.steps, made.asked = list(steps), []
    return made


def ended(answer: Answer) -> Answer:
    return {**answer, "finished": 1, "started": 1}


def test_a_job_is_waited_for_and_its_answer_is_checked() -> None:
    honest = answers()["xdp_counter_facts"]
    waiting = action(JOB, {"finished": 0}, AnsibleConnectionFailure("for a moment"), ended(honest), {"erased": "x"})
    found = waiting.ask({})
    assert found == {**honest, "ansible_job_id": "j1.2", "started": True, "finished": True}
    asked = [("", ""), *[("async_status", "status")] * 3, ("async_status", "cleanup")]
    assert waiting.asked == asked
    assert waiting._task.async_val == 0, "Ansible does not fetch it as well"


def test_a_job_that_lies() -> None:
    lie = answers()["xdp_counter_facts"]
    lie["ansible_facts"]["xdp_counter"]["interfaces"]["eth0"]["packets"] = "\x1b[2J"
    with pytest.raises(AnsibleActionFail, match="web1 did not answer as xdp_counter_facts does"):
        action(JOB, ended(lie), {}).ask({"inventory_hostname": "web1"})
    more = {
        **answers()["xdp_counter_facts"],
        "ansible_facts": {**answers()["xdp_counter_facts"]["ansible_facts"], "x": 1},
    }
    assert "x" not in action(JOB, ended(more), {}).ask({})["ansible_facts"]


def test_a_job_that_does_not_end() -> None:
    found = action(JOB, *[{"finished": 0}] * 7).ask({})
    assert found["failed"] and found["msg"] == "async task did not complete within the requested time - 30s"
    with pytest.raises(AnsibleConnectionFailure):
        action(JOB, *[AnsibleConnectionFailure("away")] * 7).ask({})


def test_a_job_that_nobody_waits_for() -> None:
    assert action(JOB, poll=0).ask({}) == JOB
    failed = {"failed": True, "msg": "no room"}
    assert action(failed).ask({}) == failed
