# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of a fleet, and of the hosts that were not read, out of what xdp_counter_facts answered. Pure."""

from __future__ import annotations

import json
import typing as t

from .answered import Answer, facts_of

Row = t.Dict[str, t.Any]


def rows_of(host: str, facts: Answer) -> t.Iterator[Row]:
    """`facts`: checked ones, as facts_of() returns them."""
    for interface, values in facts["interfaces"].items():
        yield {
            "packets_per_second": None,
            "bytes_per_second": None,
            **{key: value for key, value in values.items() if key != "per_cpu"},
            "program": facts["program"],
            "collected_at": facts["collected_at"],
            "boot_id": facts["boot_id"],
            # Last: nobody speaks for others.
            "interface": interface,
            "host": host,
        }


def in_order(rows: t.Iterable[Row]) -> t.List[Row]:
    return sorted(rows, key=lambda row: (row["host"], row["interface"]))


def not_read(answers: t.Mapping[str, Answer]) -> t.Dict[str, str]:
    """Why, by host."""
    found = {host: facts_of("xdp_counter_facts", host, answer) for host, answer in answers.items()}
    return {host: why for host, (facts, why) in found.items() if facts is None}


def as_json(answers: t.Mapping[str, Answer]) -> str:
    """What the playbook facts writes for xdp_counter_report."""
    rows: t.List[Row] = []
    left: t.List[Row] = []
    for host, answer in answers.items():
        facts, why = facts_of("xdp_counter_facts", host, answer)
        if facts is None:
            left.append({"host": host, "interface": None, "packets": None, "bytes": None, "error": why})
        else:
            rows += rows_of(host, facts)
    return json.dumps(in_order(rows) + left, indent=4, sort_keys=True, ensure_ascii=False) + "\n"
