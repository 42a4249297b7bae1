# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_counter_watch, which runs on the controller only."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleActionFail, AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..filter.counter_rows import counter_rows
from ..plugin_utils.counter_table import report
from ..plugin_utils.rounds import Rounds
from ..plugin_utils.terminal import CLEARED, LINES

Answers = t.Mapping[str, t.Mapping[str, t.Any]]
BESIDE_THE_TABLE = 4  # lines: the heading, an empty one, how to end it, and where the cursor is
OPTIONS = {"seconds": {"type": "float", "required": True}, "times": {"type": "int", "default": 0}}


class ActionModule(ActionBase):
    BYPASS_HOST_LOOP = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None) -> t.Dict[str, t.Any]:
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(argument_spec=OPTIONS)
        for name, least in (("seconds", 1), ("times", 0)):
            if options[name] < least:
                raise AnsibleActionFail(f"{name} is {options[name]:g}; give {least} or more")
        passwords = {"conn_pass": self._play_context.password, "become_pass": self._play_context.become_pass}
        rounds = Rounds((task_vars or {})["ansible_play_hosts_all"], self._loader, passwords)
        result.update(self._watch(rounds, options["seconds"], options["times"]))
        return result

    def _watch(self, rounds: Rounds, seconds: float, times: int) -> t.Dict[str, t.Any]:
        done = 0
        while True:
            start = time.monotonic()
            answers = rounds.read()
            not_read = {host: answer for host, answer in answers.items() if "ansible_facts" not in answer}
            Display().display(_shown(answers, not_read, seconds))
            done += 1
            if done == times:
                if not_read:
                    said = f"{len(not_read)} of {len(answers)} hosts not read: {', '.join(not_read)}"
                    return {"failed": True, "msg": said, "rounds": done}
                return {"changed": False, "rounds": done}
            if not _wait(start + seconds - time.monotonic()):
                return {"changed": False, "rounds": done}


def _shown(answers: Answers, not_read: Answers, seconds: float) -> str:
    read = {host: answer for host, answer in answers.items() if host not in not_read}
    heading = f"{time.strftime('%H:%M:%S')}  {len(read)} of {len(answers)} hosts read, every {seconds:g} s"
    height = LINES - BESIDE_THE_TABLE if LINES else None
    lines = [heading, *report(counter_rows(read), not_read, Display().columns, height)]
    return CLEARED + "\n".join(lines) + "\n"


def _wait(seconds: float) -> bool:
    """Whether to go on. While it waits, Ctrl-C is a key that Ansible reads, and no signal that ends it."""
    seconds = max(0.0, seconds)
    try:
        Display().prompt_until("Ctrl-C ends", private=True, seconds=seconds, complete_input=())
    except AnsiblePromptInterrupt:
        return False
    except AnsiblePromptNoninteractive:
        time.sleep(seconds)
    return True
