# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""slices_joined, which runs on the controller only."""

from __future__ import annotations

import os
import pathlib
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..filter.fleet_report import fleet_report
from ..plugin_utils.checked_action import Result
from ..plugin_utils.fleet_rows import as_json, not_read
from ..plugin_utils.slices import joined

OPTIONS = {
    "folder": {"type": "path", "required": True},
    "page": {"type": "path"},
    "rows": {"type": "path"},
    "expected": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(ActionBase):
    BYPASS_HOST_LOOP = True
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[Result] = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(argument_spec=OPTIONS)
        texts = _texts(pathlib.Path(options["folder"]))
        found = joined(texts, options["expected"])
        if found.problems:
            raise AnsibleActionFail(f"nothing was written: {'; '.join(found.problems)}")
        missing = not_read(found.answers)
        result.update(slices=len(texts), read=len(found.answers) - len(missing), not_read=missing)
        if options["page"]:
            self._write(result, options["page"], fleet_report(found.answers))
        if options["rows"]:
            self._write(result, options["rows"], as_json(found.answers))
        if missing:
            said = f"{len(missing)} of {len(found.answers)} hosts not read: {', '.join(missing)}"
            result.update(failed=True, msg=said)
        return result

    def _write(self, result: Result, path: str, text: str) -> None:
        there = pathlib.Path(path)
        try:
            if there.is_file() and there.read_text(encoding="utf-8") == text:
                return
            result["changed"] = True
            if not self._task.check_mode:
                new = there.with_name(f".{there.name}.new")
                new.write_text(text, encoding="utf-8")
                os.replace(new, there)
        except OSError as error:
            raise AnsibleActionFail(f"cannot write {path}: {error.strerror}") from error


def _texts(folder: pathlib.Path) -> t.Dict[str, str]:
    try:
        found = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.suffix == ".json"}
    except (OSError, UnicodeDecodeError) as error:
        raise AnsibleActionFail(f"cannot read the slices in {folder}: {error}") from error
    if not found:
        raise AnsibleActionFail(
            f"{folder} has no file of a slice: run ebpf.fleet.facts for each slice with -e xdp_slice={folder}/NAME.json"
        )
    return found
