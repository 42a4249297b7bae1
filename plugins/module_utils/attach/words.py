# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An XDP program on an interface as data, and as the sentence that users read. Pure: the controller imports it too."""

from __future__ import annotations

import typing as t

Data = t.Mapping[str, t.Any]
COMPARED = ("mode", "program_id", "tag", "by")  # not link_ids: a restored link has a new id


def sentence(program: Data) -> str:
    """`program`: mode, program_id, name, tag, by ('link' or 'netlink'), link_ids."""
    by = program["by"]
    if program["link_ids"]:
        by += f" {' or '.join(map(str, program['link_ids']))}"
    text = (
        f"XDP program {program['program_id']} '{program['name']}' (tag {program['tag']}),"
        f" attached by {by}, {program['mode']}"
    )
    return text + (", a libxdp dispatcher" if program["name"] == "xdp_dispatcher" else "")


def alike(one: t.Mapping[str, t.Sequence[Data]], two: t.Mapping[str, t.Sequence[Data]]) -> bool:
    """Whether the same programs run in the same way on each interface."""
    return _compared(one) == _compared(two)


def _compared(programs: t.Mapping[str, t.Sequence[Data]]) -> t.Dict[str, t.List[t.List[t.Any]]]:
    return {
        interface: [[program[key] for key in COMPARED] for program in found] for interface, found in programs.items()
    }
