# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of a module whose answers are checked as they arrive on the controller."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ..module_utils.border.answers import checked, refusal
from ..module_utils.border.kinds import Unacceptable
from ..module_utils.border.text import message, one_line, printable

Result = t.Dict[str, t.Any]


class CheckedAction(ActionBase):
    """Runs the module of the same name."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[Result] = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        result.update(self.ask(task_vars))
        return result

    @property
    def options(self) -> Result:
        """Those of the module."""
        return t.cast(Result, self._task.args)

    @property
    def wrap_async(self) -> bool:
        return bool(self._task.async_val and not self._connection.has_native_async)

    def ask(self, task_vars: t.Optional[Result], module: str = "", options: t.Optional[Result] = None) -> Result:
        """The checked answer of a module, by default the task's own.

        Raises AnsibleActionFail if it is not what the module returns, and what _execute_module() raises.
        """
        name = module or str(self._task.action).rpartition(".")[2]
        if module:
            return self._checked(
                name, self._execute_module(f"ebpf.fleet.{module}", options, task_vars=task_vars), task_vars
            )
        given = self._execute_module(task_vars=task_vars, wrap_async=self.wrap_async)
        if not self.wrap_async:
            return self._checked(name, given, task_vars)
        job = self._checked(name, given, task_vars, job=True)
        if job.get("failed") or not self._task.poll or "ansible_job_id" not in job:
            return job
        return self._awaited(name, job, task_vars)

    def _checked(self, name: str, given: Result, task_vars: t.Optional[Result], job: bool = False) -> Result:
        # Not the host's: it says which of its interpreters Ansible has found.
        found = getattr(self, "_discovered_interpreter_key", None)
        try:
            answer = checked(name, given, job)
        except Unacceptable as error:
            host = str((task_vars or {}).get("inventory_hostname", "the host"))
            raise AnsibleActionFail(refusal(host, name, error)) from None
        if found and "ansible_facts" in answer:
            answer["ansible_facts"][found] = self._discovered_interpreter
        return answer

    def _awaited(self, name: str, job: Result, task_vars: t.Optional[Result]) -> Result:
        """The answer of a job, with async and poll. Ansible would take what it fetches for the task as it is."""
        seconds, self._task.async_val = self._task.async_val, 0  # else Ansible fetches the answer as well
        deadline = time.monotonic() + seconds
        while True:
            time.sleep(self._task.poll)
            late = time.monotonic() > deadline
            try:
                given = self._of_job(job, "status", task_vars)
            except AnsibleConnectionFailure:  # for a moment, perhaps
                if late:
                    raise
                continue
            if given.get("finished"):
                self._of_job(job, "cleanup", task_vars)
                # What Ansible returns of a job that has ended.
                ended = {"ansible_job_id": job["ansible_job_id"], "started": True, "finished": True}
                return {**self._checked(name, given, task_vars), **ended}
            if late:
                said = f"async task did not complete within the requested time - {seconds}s"
                return {**job, "failed": True, "msg": said}

    def _of_job(self, job: Result, mode: str, task_vars: t.Optional[Result]) -> Result:
        folder = self.get_shell_option("async_dir", default="~/.ansible_async")
        options = {"jid": job["ansible_job_id"], "mode": mode, "_async_dir": folder}
        return self._execute_module("ansible.legacy.async_status", options, task_vars=task_vars)

    def _execute_module(self, *args: t.Any, **options: t.Any) -> Result:
        try:
            return t.cast(Result, super()._execute_module(*args, **options))
        except AnsibleConnectionFailure as error:  # with what the host's shell, or its ssh, said
            said = message(str(error))
            if said == str(error):
                raise
            raise AnsibleConnectionFailure(said) from None

    def _low_level_execute_command(self, *args: t.Any, **options: t.Any) -> Result:
        """What a host prints beside its answer gets into Ansible's warnings and errors; JSON has no such characters."""
        said: Result = super()._low_level_execute_command(*args, **options)
        for stream in ("stdout", "stderr"):
            said[stream] = printable(said.get(stream) or "", keep="\r\n\t")
            said[f"{stream}_lines"] = said[stream].splitlines()
        return said

    def _parse_returned_data(self, res: Result, *more: t.Any, **options: t.Any) -> Result:
        """Ansible warns of what follows the JSON, line by line; make one line of it."""
        answer, end, junk = res.get("stdout", "").rpartition("}")
        if junk.strip():
            res = {**res, "stdout": f"{answer}{end}\n{one_line(junk)}"}
        return t.cast(Result, super()._parse_returned_data(res, *more, **options))
