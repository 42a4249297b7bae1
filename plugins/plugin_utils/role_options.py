# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a role, checked as Ansible checks them, but without a task of its own.

With such a task, each of a fleet's hosts sends the whole argument spec through Ansible and back, with its
descriptions: for a thousand hosts that takes more time and memory of the controller than the deployment.
"""

from __future__ import annotations

import pathlib
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load

ROLES = pathlib.Path(__file__).parents[2] / "roles"
CHECKED = ("type", "elements", "choices", "required", "options")

Spec = t.Dict[str, t.Dict[str, t.Any]]


def spec_of(role: str) -> Spec:
    """The argument spec of the role's tasks/main.yml, without its descriptions and defaults."""
    text = (ROLES / role / "meta/argument_specs.yml").read_text(encoding="utf-8")
    return _checked(yaml_load(text)["argument_specs"]["main"]["options"])


def _checked(options: t.Mapping[str, t.Any]) -> Spec:
    spec = {name: {key: option[key] for key in CHECKED if key in option} for name, option in options.items()}
    for option in spec.values():
        if "options" in option:
            option["options"] = _checked(option["options"])
    return spec


def problems(spec: Spec, values: t.Mapping[str, t.Any]) -> str:
    """What Ansible says about values of the wrong type, and unknown choices; empty if there are none."""
    return "\n".join(ArgumentSpecValidator(spec).validate(dict(values)).error_messages)
