# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_program on the controller: runs the module, checks its answer, confirms a change, and checks packets."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils.common.validation import check_type_float
from ansible.plugins.action import ActionBase

from ..module_utils.attach.words import alike, sentence
from ..plugin_utils.checked_action import Result
from ..plugin_utils.confirming_action import ConfirmingAction, broke


class ActionModule(ConfirmingAction):
    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[Result] = None) -> Result:
        result: Result = ActionBase.run(self, tmp, task_vars)
        seconds = self.rollback_after()
        build = self.options.get("build")
        if build is not None and not isinstance(build, (Mapping, str)):  # else ansible-core ends in a TypeError
            raise AnsibleActionFail(f"build is {build!r}: give its options, src and the others, as a dictionary")
        if seconds and self.wrap_async:
            raise AnsibleActionFail("with async, nothing can confirm the change: leave out async, or rollback_after")
        look = self._check_seconds()
        if look and self.wrap_async:
            raise AnsibleActionFail("with async, nothing can check the packets: leave out async, or check_seconds")
        try:
            result.update(self.ask(task_vars))
        except AnsibleConnectionFailure as error:
            if not seconds or not broke(error):
                raise
            return {**result, **self._connection_broke(seconds, error, task_vars)}
        provisional = result.pop("provisional", None)
        if "reached" in result and not provisional:  # the host has not reached all of it, and rolled the change back
            result["confirmed"] = False
        if provisional and seconds:  # else nothing is to be confirmed, whatever the host says
            self._settle(result, provisional, seconds, task_vars)
        if look and result.get("changed") and result.get("attachments") and not result.get("failed"):
            self._check(result, look, task_vars)
        return result

    def _check_seconds(self) -> float:
        """0 if there is nothing to check."""
        args = self.options
        try:
            seconds = t.cast(float, check_type_float(args.get("check_seconds", 0)))
        except TypeError:  # the module says what is wrong with it
            return 0
        return 0 if self._task.check_mode or args.get("state", "attached") != "attached" else seconds

    def _check(self, result: Result, seconds: float, task_vars: t.Optional[Result]) -> None:
        """Here and not in a separate task, which would cost time on all unchanged hosts too."""
        pins = [attachment.get("pin_path") for attachment in result["attachments"]]
        if not all(pins):
            raise AnsibleActionFail("the host says that it attached a program, and not where it is pinned")
        options = {
            "name": os.path.basename(os.path.dirname(pins[0])),
            "interfaces": [attachment["interface"] for attachment in result["attachments"]],
            "seconds": seconds,
        }
        for name in ("pin_root", "allow_unsafe_paths"):
            if name in self.options:
                options[name] = self.options[name]
        try:
            answer = self.ask(task_vars, "xdp_counter_check", options)
        except AnsibleConnectionFailure as error:  # the status "unreachable" would not stop a rollout
            self._cleanup_remote_tmp = False
            answer = {"failed": True, "msg": f"the host has been unreachable since the change: {error}"}
        result["check"] = {key: answer[key] for key in ("interfaces", "idle") if key in answer}
        if answer.get("failed"):
            result.update(failed=True, msg=answer.get("msg", "xdp_counter_check has failed"))

    def _settle(self, result: Result, provisional: Result, seconds: int, task_vars: t.Optional[Result]) -> None:
        """Confirm the change. The host may have rolled it back before its result arrived here."""
        before = provisional["before"]
        answer = self.confirm(provisional["token"], list(before), seconds, task_vars)
        now = answer["xdp"]
        # Then no holder is left to roll it back: the answer to an earlier confirmation did not arrive.
        final = alike(now, provisional["after"]) and not alike(now, before)
        result["confirmed"] = "attachments" in answer or final
        if result["confirmed"]:
            result["attachments"] = answer.get("attachments", result.get("attachments", []))
            return
        for key in ("diff", "build"):  # rolled back
            result.pop(key, None)
        running = (
            f"what it ran before: {_list(now)}" if alike(now, before) else f"{_list(now)} (before: {_list(before)})"
        )
        msg = (
            f"the change of {', '.join(before)} was not confirmed over a new connection within {seconds} s"
            f" (rollback_after): {answer.get('msg', 'it did not say why')}. The host is reachable again, and runs"
            f" {running}"
        )
        if result.get("failed"):
            msg = f"{result.get('msg', '')} {msg}"
        result.update(failed=True, changed=False, msg=msg, attachments=[], steps=[], xdp=now)

    def _connection_broke(self, seconds: int, error: AnsibleConnectionFailure, task_vars: t.Optional[Result]) -> Result:
        """The connection broke before the module's result arrived: report what the host now runs."""
        names = self.options.get("interfaces") or []
        interfaces = [name.strip() for name in (names if isinstance(names, list) else str(names).split(","))]
        answer = self.confirm("0", interfaces, seconds, task_vars)  # no change has this token: this only reads
        return {
            "failed": True,
            "confirmed": False,
            "xdp": answer["xdp"],
            "msg": (
                f"the connection broke while the change was made ({error}), so it was not confirmed, and the host rolls"
                f" it back after {seconds} s (rollback_after). The host is reachable again, and runs"
                f" {_list(answer['xdp'])}"
            ),
        }


def _list(xdp: t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]]) -> str:
    """What runs on each interface, in words."""
    return "; ".join(
        f"{interface}: {' and '.join(map(sentence, programs)) or 'no XDP program'}"
        for interface, programs in xdp.items()
    )
