# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts in the registered result of a task, or why there are none, for what shows a fleet. Pure."""

from __future__ import annotations

import typing as t

from ..module_utils.border.answers import BPF, COUNTERS, refusal
from ..module_utils.border.kinds import Unacceptable
from ..module_utils.border.text import one_line

Answer = t.Mapping[str, t.Any]

LONGEST = 600  # characters of what a host says
SILENT = "it did not say why"
KINDS = {"xdp_counter_facts": ("xdp_counter", COUNTERS), "bpf_facts": ("bpf", BPF)}  # by module: the fact's name


def facts_of(module: str, host: str, answer: t.Any) -> t.Tuple[t.Optional[Answer], str]:
    """What the module has found on a host, or why that is not known. `answer`: a result, which may be a failure."""
    name, kind = KINDS[module]
    given = answer if isinstance(answer, dict) else {}
    facts = given.get("ansible_facts")
    if not isinstance(facts, dict):
        return None, shortened(given.get("msg") or SILENT)
    try:
        return t.cast(Answer, kind(facts.get(name), name)), ""
    except Unacceptable as error:
        return None, shortened(refusal(host, module, error))


def shortened(value: t.Any) -> str:
    text = one_line(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
