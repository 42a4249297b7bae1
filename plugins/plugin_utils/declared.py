# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles xdp and xdp_counter declare of one program, as options of xdp_program. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.parsing.convert_bool import BOOLEANS_TRUE

from ..module_utils.border.text import one_line

Program = t.Mapping[str, t.Any]

PASSED_ON = (
    "name",
    "program",
    "interfaces",
    "mode",
    "on_conflict",
    "dispatcher",
    "priority",
    "chain_call_actions",
    "maps",
    "variables",
    "map_sizes",
    "map_entries",
    "rollback_after",
    "reachable",
    "check_seconds",
    "pin_root",
)
# As the roles' argument specs take it, also as a string: -e xdp_persist=no is one.
TRUE = {str(word).lower() for word in BOOLEANS_TRUE} | {"true", "1", "1.0"}


def options_of(program: Program) -> t.Dict[str, t.Any]:
    """Without the object, or what it is compiled from: where that comes from, only the controller knows."""
    options = {name: program[name] for name in PASSED_ON if name in program}
    if not options.get("map_entries"):
        options.pop("map_entries", None)
    options["object"] = f"{program['directory']}/{program['stem']}.bpf.o"
    persist = program.get("persist", "auto")
    options["persist"] = "auto" if persist == "auto" else str(str(persist).lower() in TRUE).lower()
    return options


def reachable_by_default(pulled: bool, rollback_after: t.Any) -> t.List[str]:
    """Where nobody comes back over a new connection, the gateway must answer; unless changes are final at once."""
    return ["gateway"] if pulled and (rollback_after is None or str(rollback_after) != "0") else []


def beside(program: Program, default_interface: t.Callable[[], str]) -> t.List[str]:
    """The interfaces of the program on which others of the list are too."""

    def interfaces(of: Program) -> t.List[str]:
        return list(of.get("interfaces") or [default_interface()])

    others = [each for each in program.get("among") or () if each["name"] != program["name"]]
    taken = {name for each in others if each.get("state", "present") == "present" for name in interfaces(each)}
    return [name for name in interfaces(program) if name in taken] if taken else []


def to_come(program: Program) -> t.List[str]:
    """The files of the program that check mode has only predicted to copy."""
    mine = {each["dest"] for each in program.get("files") or ()}
    copied = (program.get("copied") or {}).get("results") or ()
    return [each["item"]["dest"] for each in copied if each.get("changed") and each["item"]["dest"] in mine]


def build_of(program: Program, source: str) -> t.Dict[str, t.Any]:
    """The option build, by which the host compiles it. `source`: the text of the C file."""
    return {
        "src": f"{program['directory']}/{program['stem']}.bpf.c",
        "content": source,
        "defines": program["defines"],
        "cflags": program["cflags"],
        "clang": program["clang"],
    }


def lacks(program: Program) -> str:
    """What the user has not said, in a sentence; empty if nothing is missing."""
    if program["build"] == "prebuilt":
        how = f"{program['name']} is prebuilt: set {program['prefix']}object to the object file on the controller"
        return "" if program.get("object") else how
    how = f"{program['name']} is to be compiled: set its source to the C file on the controller"
    return "" if program.get("source") else how


def forged(host: str, facts: t.Iterable[str]) -> str:
    """A sentence about facts that are settings of the roles; empty if there are none.

    Facts of a host are variables too, stronger than those of the inventory: a host must not say what is read or
    compiled on the controller. `xdp_counter` is what xdp_counter_facts returns.
    """
    made_up = [one_line(name) for name in facts if re.match("xdp_(?!counter$)", str(name))]
    return (
        f"{host} has the facts {', '.join(made_up)}, which are settings of the roles xdp and xdp_counter: set them in"
        " the inventory, and clear a fact cache"
        if made_up
        else ""
    )
