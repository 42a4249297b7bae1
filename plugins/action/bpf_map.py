# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_map on the controller: runs the module, checks its answer, and confirms a change."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ..plugin_utils.checked_action import Result
from ..plugin_utils.confirming_action import ConfirmingAction, broke


class ActionModule(ConfirmingAction):
    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[Result] = None) -> Result:
        result: Result = ActionBase.run(self, tmp, task_vars)
        seconds = self.rollback_after()
        if seconds and self.wrap_async:
            raise AnsibleActionFail("with async, nothing can confirm the change: leave out async, or rollback_after")
        try:
            result.update(self.ask(task_vars))
        except AnsibleConnectionFailure as error:
            if not seconds or not broke(error):
                raise
            self.confirm("0", [], seconds, task_vars)  # no change has this token: this only waits for the host
            return {
                **result,
                "failed": True,
                "confirmed": False,
                "msg": (
                    f"the connection broke while the entries were changed ({error}), so the change was not confirmed,"
                    f" and the host takes it back after {seconds} s (rollback_after). The host is reachable again"
                ),
            }
        provisional = result.pop("provisional", None)
        if provisional and seconds:
            self._settle(result, provisional["token"], seconds, task_vars)
        return result

    def _settle(self, result: Result, token: str, seconds: int, task_vars: t.Optional[Result]) -> None:
        """Confirm the change. The host may have taken it back before its result arrived here."""
        answer = self.confirm(token, [], seconds, task_vars)
        # Without an answer that it is kept, the answer to an earlier confirmation may not have arrived.
        result["confirmed"] = bool(answer.get("kept") or "attachments" in answer) or self._is_there(task_vars)
        if not result["confirmed"]:
            for key in ("added", "updated", "removed", "entries", "max_entries", "maps", "diff"):
                result.pop(key, None)
            result.update(
                failed=True,
                changed=False,
                steps=[],
                msg=(
                    f"the change was not confirmed over a new connection within {seconds} s (rollback_after):"
                    f" {answer.get('msg', 'it did not say why')}. The host is reachable again, without the declared"
                    " entries; ebpf.fleet.bpf_map_info shows what it has"
                ),
            )

    def _is_there(self, task_vars: t.Optional[Result]) -> bool:
        """Whether the host has all declared entries."""
        before, self._task.check_mode = self._task.check_mode, True
        try:
            return self.ask(task_vars).get("changed") is False
        finally:
            self._task.check_mode = before
