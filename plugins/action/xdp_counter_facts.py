# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_counter_facts on the controller: runs the module, checks its answer, and marks it as of this run of Ansible."""

from __future__ import annotations

import typing as t

from ..plugin_utils.checked_action import CheckedAction, Result
from ..plugin_utils.this_run import mark


class ActionModule(CheckedAction):
    def ask(self, task_vars: t.Optional[Result], module: str = "", options: t.Optional[Result] = None) -> Result:
        answer = super().ask(task_vars, module, options)
        if "ansible_facts" in answer:
            mark(answer["ansible_facts"]["xdp_counter"])
        return answer
