# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of a playbook read on its part of a fleet, as text; and the texts of many runs, joined. Pure.

A slice of an inventory may run on another machine, as ansible-runner and AWX do it. What it wrote is taken for what
hosts say: whoever uses it checks each answer (border/answers.py).
"""

from __future__ import annotations

import collections
import json
import typing as t

from ..module_utils.border.text import one_line

FORMAT = 1
MOST_NAMES = 10  # in a sentence
Answers = t.Dict[str, t.Dict[str, t.Any]]  # by host: the result of xdp_counter_facts, which may be a failure
KEPT = ("ansible_facts", "msg")


class Joined(t.NamedTuple):
    """`problems`: sentences about what is wrong with the slices; then nothing is to be made of them."""

    answers: Answers
    problems: t.List[str]


def text_of(answers: t.Mapping[str, t.Any]) -> str:
    """Of the registered results of a task xdp_counter_facts."""
    kept = {
        host: {key: answer[key] for key in KEPT if key in answer} if isinstance(answer, t.Mapping) else {}
        for host, answer in answers.items()
    }
    return json.dumps({"format": FORMAT, "hosts": kept}, default=str) + "\n"


def joined(texts: t.Mapping[str, str], expected: t.Sequence[str]) -> Joined:
    """`texts`: by the name of their file. `expected`: all hosts there are; one that no slice has was not read."""
    found: Answers = {}
    origin: t.Dict[str, str] = {}
    twice: t.Dict[t.Tuple[str, str], t.List[str]] = collections.defaultdict(list)
    problems: t.List[str] = []
    for name in sorted(texts):
        slice_ = _hosts(texts[name])
        if isinstance(slice_, str):
            problems.append(f"{name} was not written by a slice: {slice_}")
            continue
        for host, answer in slice_.items():
            if host in origin:
                twice[origin[host], name].append(host)
            origin[host], found[host] = name, answer
    for (first, second), hosts in twice.items():
        problems.append(f"{first} and {second} both have {_listed(hosts)}: remove the one that is not to be used")
    known = set(expected)
    surplus = [host for host in found if known and host not in known]
    if surplus:
        problems.append(f"the inventory does not have {_listed(sorted(surplus))}")
    missing = {host: {"msg": "no slice has this host"} for host in expected if host not in found}
    # In the order of the inventory, as one run has them.
    order = {host: place for place, host in enumerate(expected)}
    every = {**found, **missing}
    return Joined(dict(sorted(every.items(), key=lambda each: order.get(each[0], len(order)))), problems)


def _listed(hosts: t.Sequence[str]) -> str:
    more = f" and {len(hosts) - MOST_NAMES} more" if len(hosts) > MOST_NAMES else ""
    return ", ".join(map(one_line, hosts[:MOST_NAMES])) + more


def _hosts(text: str) -> t.Union[Answers, str]:
    """What a slice has, or what is wrong with it."""
    try:
        given = json.loads(text)
    except ValueError as error:
        return f"it is not JSON ({error})"
    if not isinstance(given, dict) or given.get("format") != FORMAT or not isinstance(given.get("hosts"), dict):
        return f"it has no hosts in format {FORMAT}"
    if not all(isinstance(answer, dict) for answer in given["hosts"].values()):
        return "an answer in it is none"
    return t.cast(Answers, given["hosts"])
