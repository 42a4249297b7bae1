# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of a module whose changes are provisional until they are confirmed over a new connection."""

from __future__ import annotations

import re
import time
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.validation import check_type_int
from ansible.plugins.connection import ConnectionBase

from .checked_action import CheckedAction, Result

# Beyond rollback_after: for a run that waits for its turn, and for a host to become reachable again.
GRACE_SECONDS = 180
RETRY_SECONDS = 1
# What ssh prints if an established connection broke; if it was shared (ControlMaster, Ansible's default) and has no
# terminal (pipelining), nothing. All other failures mean that the host was not reached at all.
BROKEN = (
    r"[Cc]onnection to \S+ closed|[Cc]onnection reset|[Bb]roken pipe|not responding|Read from remote host|ssh:\s*\Z"
)
NOT_MADE = r"_exchange_identification|banner exchange|connect to host"

# When a rollout began: Ansible imports the action of a module before it hands the first such task to another process.
BEGAN = time.monotonic()


def broke(error: AnsibleConnectionFailure) -> bool:
    """Whether it was an established connection, so the module may have made its change."""
    return bool(re.search(BROKEN, str(error)) and not re.search(NOT_MADE, str(error)))


class ConfirmingAction(CheckedAction):
    def rollback_after(self) -> int:
        try:
            return 0 if self._task.check_mode else t.cast(int, check_type_int(self.options.get("rollback_after", 0)))
        except TypeError:  # the module says what is wrong with it
            return 0

    def confirm(self, token: str, interfaces: t.List[str], seconds: int, task_vars: t.Optional[Result]) -> Result:
        """The answer of xdp_confirm, over a new connection.

        Raises AnsibleActionFail if the host stays unreachable even after it must have rolled the change back: the
        status "unreachable" would not stop a rollout.
        """
        deadline = time.monotonic() + seconds + GRACE_SECONDS
        while True:
            what = "the host has been unreachable"
            try:
                self._reset_connection()
                answer = self.ask(task_vars, "xdp_confirm", {"token": token, "interfaces": interfaces})
                if "xdp" in answer:
                    return answer
                what, said = "the host is reachable, but xdp_confirm has failed", str(answer.get("msg"))
            except AnsibleActionFail:  # an answer that xdp_confirm does not give: to ask again would not help
                raise
            except AnsibleError as error:
                said = str(error)
            if time.monotonic() > deadline:
                self._cleanup_remote_tmp = False  # there is no connection for it
                raise AnsibleActionFail(
                    f"{what} since a change, which it rolls back by itself after {seconds} s (rollback_after): {said}"
                )
            time.sleep(RETRY_SECONDS)

    def _reset_connection(self) -> None:
        if type(self._connection).reset is ConnectionBase.reset:  # it has no reset() of its own, and would only warn
            self._connection.close()
        else:
            self._connection.reset()
