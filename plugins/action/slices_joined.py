# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""slices_joined, which runs on the controller only."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..filter.fleet_report import fleet_report
from ..plugin_utils.checked_action import Result
from ..plugin_utils.fleet_rows import as_json, not_read
from ..plugin_utils.readiness import told
from ..plugin_utils.slices import NO_SLICE, Joined, joined
from ..plugin_utils.terminal import width
from ..plugin_utils.versions import failed_hosts, lines_of

OPTIONS = {
    "folder": {"type": "path", "required": True},
    "page": {"type": "path"},
    "rows": {"type": "path"},
    "preflight": {"type": "path"},
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
        missing = {**_without_slice(found), **not_read(found.counters)}
        result.update(
            slices=len(texts), lines=lines_of(found.versions), blocked=[], failed_hosts=failed_hosts(found.versions)
        )
        if found.counters and options["page"]:
            self._write(result, options["page"], fleet_report(found.counters))
        if found.counters and options["rows"]:
            self._write(result, options["rows"], as_json(found.counters))
        if found.preflight:
            ready = told(found.preflight, width())
            result["lines"] += ready.pop("lines")
            result["blocked"] = ready["blocked"]
            missing.update(ready["not_read"])
            if options["preflight"]:
                self._write(result, options["preflight"], json.dumps(ready, indent=4, sort_keys=True) + "\n")
        every = {**found.counters, **found.preflight, **found.versions}
        result.update(hosts=len(every), not_read=missing, problems=_problems(len(every), result, missing))
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


def _without_slice(found: Joined) -> t.Dict[str, str]:
    return {host: NO_SLICE for host, each in found.versions.items() if ("", NO_SLICE) in each}


def _problems(hosts: int, result: Result, missing: t.Mapping[str, str]) -> t.List[str]:
    """For each, a sentence with the hosts that have it."""
    having = {
        "in no slice": [host for host, why in missing.items() if why == NO_SLICE],
        "not read": [host for host, why in missing.items() if why != NO_SLICE],
        "not ready": result["blocked"],
        "failed": result["failed_hosts"],
    }
    return [f"{len(names)} of {hosts} hosts {what}: {', '.join(names)}" for what, names in having.items() if names]


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
