# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An XDP program on an interface as data, and as the sentence that users read. Pure: the controller imports it too."""

from __future__ import annotations

import typing as t

Data = t.Mapping[str, t.Any]
COMPARED = ("mode", "program_id", "tag", "by")  # not link_ids: a restored link has a new id
OF_COMPONENTS = ("program_id", "tag", "priority", "chain_call_actions")


def sentence(program: Data) -> str:
    """`program`: mode, program_id, name, tag, by ('link' or 'netlink'), link_ids, components."""
    by = program["by"]
    if program["link_ids"]:
        by += f" {' or '.join(map(str, program['link_ids']))}"
    text = (
        f"XDP program {program['program_id']} '{program['name']}' (tag {program['tag']}),"
        f" attached by {by}, {program['mode']}"
    )
    if program["name"] != "xdp_dispatcher":
        return text
    inside = [
        f"{each['program_id']} '{each['name']}' (tag {each['tag']}, priority {each['priority']})"
        for each in program.get("components", ())
    ]
    return f"{text}, a libxdp dispatcher" + (f" with {' and '.join(inside)}" if inside else "")


def alike(one: t.Mapping[str, t.Sequence[Data]], two: t.Mapping[str, t.Sequence[Data]]) -> bool:
    """Whether the same programs run in the same way on each interface."""
    return _compared(one) == _compared(two)


def _compared(programs: t.Mapping[str, t.Sequence[Data]]) -> t.Dict[str, t.List[t.List[t.Any]]]:
    return {interface: [_compared_one(program) for program in found] for interface, found in programs.items()}


def _compared_one(program: Data) -> t.List[t.Any]:
    """A dispatcher is what is in it: each change makes a new one."""
    inside = program.get("components", ())
    if inside:
        return [program["mode"], *([each[key] for key in OF_COMPONENTS] for each in inside)]
    return [program[key] for key in COMPARED]
