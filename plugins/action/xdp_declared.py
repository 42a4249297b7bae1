# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles xdp and xdp_counter declare of one program, on one host: in one task, whatever the way to build.

In tasks of their own, compiling and reading on the controller would cost a fleet more than all else.
"""

from __future__ import annotations

import base64
import contextlib
import os
import sys
import typing as t
from collections.abc import Mapping

from ansible import constants
from ansible.errors import AnsibleActionFail

from ..module_utils.state.files import sha256
from ..plugin_utils import declared
from ..plugin_utils.checked_action import Result
from ..plugin_utils.compiled_once import CannotCompile, Compiled, Wanted, compiled, known
from ..plugin_utils.role_options import problems, spec_of
from .xdp_program import ActionModule as Deploying

# Read as Ansible imports this, which is before it makes the processes of tasks.
COUNTER = spec_of("xdp_counter")
SAFE_SECONDS = 60
OTHER = {"little": "big", "big": "little"}
NEEDED = tuple("name stem prefix state build interfaces defines cflags clang directory pin_root".split())


class ActionModule(Deploying):
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[Result] = None) -> Result:
        variables = task_vars or {}
        given = self._task.args.get("program")
        missing = [name for name in NEEDED if name not in given] if isinstance(given, Mapping) else ["name"]
        if missing:
            raise AnsibleActionFail(f"program has no {missing[0]}: this module is for the roles xdp and xdp_counter")
        if given.get("validate"):
            self._check_counter(variables)
        if given["state"] == "absent":
            return {"changed": False, "skipped": True}
        forged = declared.forged(variables["inventory_hostname"], variables.get("ansible_facts") or ())
        if forged:
            raise AnsibleActionFail(forged)
        lists = declared.to_come(given) if self._task.check_mode else []
        self._program = self._with_defaults(given, variables)
        entries = given.get("map_entries") or ()
        self._program["map_entries"] = [each for each in entries if each.get("src") not in lists]
        lacks = declared.lacks(self._program)
        if lacks:
            raise AnsibleActionFail(lacks)
        self._declared = {**self._defaults_of_module(), **declared.options_of(self._program)}
        self._wanted: t.Optional[Wanted] = None
        if self._program["build"] == "controller":
            self._wanted = self._to_compile()
        elif self._program["build"] == "target" and not self._is_compiler_to_come():
            self._declared["build"] = declared.build_of(self._program, self._text(self._program["source"]))
        result = super().run(tmp, task_vars)
        # In check mode, a list that is still to be copied is not compared: its map is foretold to change.
        if lists:
            result["changed"] = True
        return result

    @property
    def options(self) -> Result:
        return self._declared

    def _check_counter(self, variables: Result) -> None:
        """The options of xdp_counter, which the playbook deploy does not have Ansible check."""
        given = {name: variables[name] for name in COUNTER if name in variables}
        wrong = problems(COUNTER, self._templar.template(given))
        if wrong:
            raise AnsibleActionFail(f"Validation of arguments failed:\n{wrong}")

    def _with_defaults(self, given: t.Mapping[str, t.Any], variables: Result) -> Result:
        """These depend on what else is known; in the roles' variables they would be evaluated whether needed or not."""
        program = dict(given)
        program["interfaces"] = given["interfaces"] or [self._variable("xdp_default_interface", variables)]
        program.setdefault("rollback_after", None)
        if program.setdefault("reachable", None) is None:
            pulled = "xdp_pulled" in variables
            program["reachable"] = declared.reachable_by_default(pulled, program["rollback_after"])
        if program["rollback_after"] is None:
            program["rollback_after"] = self._variable("xdp_safe_seconds", variables)
            if program["reachable"]:  # whatever the connection
                program["rollback_after"] = program["rollback_after"] or SAFE_SECONDS
        if not program["reachable"]:
            del program["reachable"]
        if "dispatcher" not in given:
            shared = declared.beside(program, lambda: str(self._variable("xdp_default_interface", variables)))
            if shared:  # the others could not come where this program is alone
                program["dispatcher"] = "always"
        return program

    def _variable(self, name: str, variables: Result) -> t.Any:
        return self._templar.template(variables[name])

    def _is_compiler_to_come(self) -> bool:
        """Check mode has only predicted that it will be installed."""
        return bool(self._task.check_mode and (self._program.get("installed") or {}).get("changed"))

    def _defaults_of_module(self) -> Result:
        """module_defaults of xdp_program, and those of the group that it is in: they are meant for this task too."""
        found: Result = {name: value for name, value in self._task.args.items() if name != "program"}
        for each in self._task.module_defaults or ():
            found.update(each.get("ebpf.fleet.xdp_program", {}))
        return t.cast(Result, self._templar.template(found)) if found else found

    # What is read on the controller

    def _text(self, source: str) -> str:
        path = self._find_needle("files", source)
        try:
            return _read(self._loader.get_real_file(path)).decode()  # of a file in a vault, a copy that can be read
        except UnicodeDecodeError as error:
            raise AnsibleActionFail(f"{path} is not text in UTF-8: {error}") from error

    def _to_compile(self) -> Wanted:
        program = self._program
        text = self._text(program["source"])
        return Wanted(
            path=os.path.join(self._loader.get_basedir(), program["source"]),
            text=text,
            stem=program["stem"],
            defines=program["defines"],
            cflags=program["cflags"],
            clang=program["clang"],
            folder=os.path.expanduser(program.get("controller_directory") or _cache()),
        )

    def ask(self, task_vars: t.Optional[Result], module: str = "", options: t.Optional[Result] = None) -> Result:
        if module:
            return super().ask(task_vars, module, options)
        answer = self._deploy(task_vars)
        # What was sent, the controller has: in the results of all hosts it would take more memory than all else.
        arguments = (answer.get("invocation") or {}).get("module_args") or {}
        arguments.pop("content", None)
        (arguments.get("build") or {}).pop("content", None)
        return answer

    def _deploy(self, task_vars: t.Optional[Result]) -> Result:
        if self._program["build"] == "target":
            return super().ask(task_vars, "xdp_program", dict(self.options))
        offered = self._prebuilt() if self._wanted is None else self._offered(self._wanted)
        answer = self._ask_for(task_vars, content_checksums=list(offered))
        needs = answer.get("needs_content")
        if needs is None:
            return answer
        if self._wanted is not None:
            try:
                found = compiled(self._wanted, needs["byte_order"])
            except CannotCompile as error:
                raise AnsibleActionFail(f"on the controller: {error}") from error
            if needs["checksum"] == found.checksum:  # a host of the byte order that was not compiled yet
                answer = self._ask_for(task_vars, content_checksums=[found.checksum])
                if "needs_content" not in answer:
                    return answer
            offered = {found.checksum: _content(found)}
        (content,) = offered.values()
        return self._ask_for(task_vars, content=base64.b64encode(content).decode())

    def _ask_for(self, task_vars: t.Optional[Result], **more: t.Any) -> Result:
        return super().ask(task_vars, "xdp_program", {**self.options, **more})

    def _prebuilt(self) -> t.Dict[str, bytes]:
        path = os.path.expandvars(os.path.expanduser(self._program["object"]))
        content = _read(os.path.join(self._loader.get_basedir(), path))
        return {sha256(content): content}

    def _offered(self, wanted: Wanted) -> t.Dict[str, bytes]:
        """By checksum, what the host may have already. Which byte order is its own, only the host knows: that of the
        controller is compiled, and the other one is offered if another host has needed it.
        """
        offered = [known(wanted, OTHER[sys.byteorder])]
        with contextlib.suppress(CannotCompile):  # a host of this byte order will ask for it, and then it matters
            offered.append(compiled(wanted, sys.byteorder))
        return {each.checksum: b"" for each in offered if each}


def _content(found: Compiled) -> bytes:
    content = _read(found.path)
    if sha256(content) != found.checksum:
        raise AnsibleActionFail(f"{found.path} was changed by somebody else while it was to be sent; run this again")
    return content


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise AnsibleActionFail(f"cannot read {path} on the controller: {error.strerror}") from error


def _cache() -> str:
    """Without HOME, Python asks who is running it. A user without a home has said where Ansible keeps its files."""
    home = os.path.expanduser("~")
    above = home if os.path.isdir(home) else str(constants.config.get_config_value("ANSIBLE_HOME"))
    return os.path.join(above, ".cache/ebpf.fleet")
