# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of a deployment to a fleet, grouped by problem, out of what bpf_facts answered. Pure."""

from __future__ import annotations

import collections
import re
import textwrap
import typing as t

from ..module_utils.border.text import one_line
from .answered import Answer, facts_of, shortened

MOST_NAMES = 20  # in a list for people
MOST_OBSTACLES = 500  # of one host, which else could make the page of any size


class Intended(t.NamedTuple):
    """A program that is to be deployed to a host. `interfaces` empty: not known. `lacks`: what has not been given."""

    name: str
    builds: bool
    interfaces: t.Tuple[str, ...]
    replaces: bool
    in_driver: bool = False
    lacks: str = ""


class Group(t.NamedTuple):
    """Hosts that have the same problem, with the interfaces that have it; none if it is one of the host."""

    problem: str
    remedy: str
    blocks: bool
    hosts: t.Dict[str, t.List[str]]


class Readiness(t.NamedTuple):
    """`not_read`: why, by host. Each host is in one of the first three; a host that is ready may have problems too."""

    ready: t.List[str]
    blocked: t.List[str]
    not_read: t.Dict[str, str]
    problems: t.List[Group]


class Asked(t.NamedTuple):
    """A host: its answer, which may be anything, the programs that are to come, and what a connection calls it."""

    answer: t.Any
    intended: t.List[Intended]
    address: str


def told(asked: t.Mapping[str, Asked], width: int) -> t.Dict[str, t.Any]:
    """What the filter preflight returns."""
    found = readiness(
        {host: each.answer for host, each in asked.items()}, {host: each.intended for host, each in asked.items()}
    )
    addresses = {host: asked[host].address for host in found.not_read}
    plain = {**found._asdict(), "problems": [each._asdict() for each in found.problems]}
    return {**plain, "lines": lines(found, width, addresses)}


def readiness(answers: t.Mapping[str, Answer], intended: t.Mapping[str, t.Sequence[Intended]]) -> Readiness:
    """`answers`: by host, the result of a task bpf_facts, which may have failed. `intended`: by host, its programs."""
    hosts: t.Dict[t.Tuple[bool, str, str], t.Dict[str, t.List[str]]] = collections.defaultdict(dict)
    ready: t.List[str] = []
    blocked: t.List[str] = []
    not_read: t.Dict[str, str] = {}
    for host, answer in answers.items():
        facts, why = facts_of("bpf_facts", host, answer)
        if facts is None:
            not_read[host] = why
            continue
        blocks_any = False
        for each in [*facts["obstacles"][:MOST_OBSTACLES], *_of_programs(facts, intended[host])]:
            blocks = any(_blocks(each, program) for program in intended[host])
            blocks_any |= blocks
            interfaces = hosts[blocks, shortened(each["problem"]), shortened(each["remedy"])].setdefault(host, [])
            if each["interface"]:
                interfaces.append(each["interface"])
        (blocked if blocks_any else ready).append(host)
    groups = [Group(problem, remedy, blocks, found) for (blocks, problem, remedy), found in hosts.items()]
    return Readiness(ready, blocked, not_read, sorted(groups, key=lambda each: (not each.blocks, -len(each.hosts))))


def _of_programs(facts: Answer, programs: t.Sequence[Intended]) -> t.Iterator[Answer]:
    """What only shows beside what is to be deployed."""
    for each in programs:
        if each.lacks:
            yield _obstacle(each.lacks, "")
        for interface in each.interfaces:
            found = facts["interfaces"].get(interface)
            if found is None:
                words = f"There is no such interface, on which {each.name} is to run."
                yield _obstacle(words, "Make the interface first, or leave it out.", interface)
            elif each.in_driver and not found["driver"]:
                words = f"The interface has no driver that is known, and {each.name} is to run in native mode."
                yield {**_obstacle(words, "Set the mode to auto, unless you know better.", interface), "stops": None}


def _obstacle(problem: str, remedy: str, interface: t.Optional[str] = None) -> Answer:
    return {"problem": problem, "remedy": remedy, "stops": "all", "interface": interface}


def _blocks(obstacle: Answer, intended: Intended) -> bool:
    if obstacle["stops"] == "build":
        return intended.builds
    if obstacle["stops"] == "interface":
        return not intended.replaces and (not intended.interfaces or obstacle["interface"] in intended.interfaces)
    return obstacle["stops"] is not None


def lines(found: Readiness, width: int, addresses: t.Optional[t.Mapping[str, str]] = None) -> t.List[str]:
    """For a terminal. What hosts say is indented, and so is not taken for a heading.

    `addresses`: by host, what it is called in words about its connection, if not by its name.
    """
    hosts = len(found.ready) + len(found.blocked) + len(found.not_read)
    written = [f"{len(found.ready)} of {hosts} hosts are ready"]
    for group in found.problems:
        names = [f"{host} ({_several(each)})" if each else host for host, each in group.hosts.items()]
        heading = "stops a deployment" if group.blocks else "does not stop a deployment"
        written += ["", f"{_hosts(names)}: {heading}"]
        written += _wrapped(group.problem, width)
        written += _wrapped(group.remedy, width)
        written += _wrapped(_several(names), width)
    same: t.Dict[str, t.List[str]] = collections.defaultdict(list)
    for host, why in found.not_read.items():
        same[_without_names(why, host, (addresses or {}).get(host, host))].append(host)
    for why, names in same.items():
        words = why if len(names) > 1 else found.not_read[names[0]]
        written += ["", f"{_hosts(names)}: not read", *_wrapped(words, width), *_wrapped(_several(names), width)]
    if found.ready:
        written += ["", f"{_hosts(found.ready)}: ready", *_wrapped(_several(found.ready), width)]
    return written


def _without_names(why: str, *names: str) -> str:
    """So that hosts with the same problem have the same words: ssh's have the host's name in them."""
    for name in names:
        if name in why:  # a pattern is compiled for each
            why = re.sub(rf"(?<![\w.:-]){re.escape(name)}(?![\w-]|[.:]\w)", "HOST", why)
    return why


def _hosts(names: t.Sequence[str]) -> str:
    return f"{len(names)} host{'' if len(names) == 1 else 's'}"


def _several(names: t.Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(map(one_line, names[:MOST_NAMES])) + more


def _wrapped(text: str, width: int) -> t.List[str]:
    return textwrap.wrap(one_line(text), width, initial_indent="  ", subsequent_indent="    ")
