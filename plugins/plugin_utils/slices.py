# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of a playbook found on its part of a fleet, as text; and the texts of many runs, joined. Pure.

A slice of an inventory may run on another machine, as ansible-runner and AWX do it. What it wrote is taken for what
hosts say: whoever uses an answer checks it (border/answers.py), and what is more than answers is checked here.
"""

from __future__ import annotations

import collections
import json
import typing as t

from ..module_utils.border.text import one_line
from .readiness import Asked, Intended
from .versions import Versions

FORMAT = 1
MOST_NAMES = 10  # in a sentence
NO_SLICE = "no slice has this host"
Answers = t.Dict[str, t.Dict[str, t.Any]]  # by host: the result of xdp_counter_facts, which may be a failure
KEPT = ("ansible_facts", "msg")
Hosts = t.Dict[str, t.Any]


class Joined(t.NamedTuple):
    """By host, what the playbooks facts and report, preflight, and deploy have found; empty if no slice is of one.

    `problems`: sentences about what is wrong with the slices; then nothing is to be made of them.
    """

    counters: Answers
    preflight: t.Dict[str, Asked]
    versions: Versions
    problems: t.List[str]


def counters_text(answers: t.Mapping[str, t.Any]) -> str:
    """Of the registered results of a task xdp_counter_facts."""
    return _text("counters", {host: _kept(answer) for host, answer in answers.items()})


def preflight_text(asked: t.Mapping[str, Asked]) -> str:
    hosts = {
        host: {**each._asdict(), "answer": _kept(each.answer), "intended": [one._asdict() for one in each.intended]}
        for host, each in asked.items()
    }
    return _text("preflight", hosts)


def versions_text(versions: Versions) -> str:
    return _text("versions", versions)


def _text(kind: str, hosts: t.Mapping[str, t.Any]) -> str:
    return json.dumps({"format": FORMAT, "of": kind, "hosts": hosts}, default=str) + "\n"


def _kept(answer: t.Any) -> t.Dict[str, t.Any]:
    return {key: answer[key] for key in KEPT if key in answer} if isinstance(answer, t.Mapping) else {}


def joined(texts: t.Mapping[str, str], expected: t.Sequence[str]) -> Joined:
    """`texts`: by the name of their file. `expected`: all hosts there are; one that no slice has was not read."""
    found: t.Dict[str, Hosts] = {kind: {} for kind in _KINDS}
    origin: t.Dict[t.Tuple[str, str], str] = {}
    twice: t.Dict[t.Tuple[str, str], t.List[str]] = collections.defaultdict(list)
    problems: t.List[str] = []
    for name in sorted(texts):
        try:
            kind, slice_ = _parsed(texts[name])
        except _NoSlice as error:
            problems.append(f"{name} was not written by a slice: {error}")
            continue
        for host, value in slice_.items():
            if (kind, host) in origin:
                twice[origin[kind, host], name].append(host)
            origin[kind, host], found[kind][host] = name, value
    for (first, second), hosts in twice.items():
        problems.append(f"{first} and {second} both have {_listed(hosts)}: remove the one that is not to be used")
    known = set(expected)
    surplus = {host for hosts in found.values() for host in hosts if known and host not in known}
    if surplus:
        problems.append(f"the inventory does not have {_listed(sorted(surplus))}")
    every = {kind: _in_order(hosts, expected, kind) for kind, hosts in found.items()}
    return Joined(every["counters"], every["preflight"], every["versions"], problems)


def _in_order(hosts: Hosts, expected: t.Sequence[str], kind: str) -> Hosts:
    """As one run of all hosts would have them, if any slice is of this kind."""
    if not hosts:
        return {}
    lacking: t.Dict[str, t.Callable[[str], t.Any]] = {
        "counters": lambda host: {"msg": NO_SLICE},
        "preflight": lambda host: Asked({"msg": NO_SLICE}, [], host),
        "versions": lambda host: [("", NO_SLICE)],
    }
    every = {**hosts, **{host: lacking[kind](host) for host in expected if host not in hosts}}
    order = {host: place for place, host in enumerate(expected)}
    return dict(sorted(every.items(), key=lambda each: order.get(each[0], len(order))))


def _listed(hosts: t.Sequence[str]) -> str:
    more = f" and {len(hosts) - MOST_NAMES} more" if len(hosts) > MOST_NAMES else ""
    return ", ".join(map(one_line, hosts[:MOST_NAMES])) + more


class _NoSlice(Exception):
    """What is wrong with a text."""


def _parsed(text: str) -> t.Tuple[str, Hosts]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise _NoSlice(f"it is not JSON ({error})") from error
    if not isinstance(given, dict) or given.get("format") != FORMAT or not isinstance(given.get("hosts"), dict):
        raise _NoSlice(f"it has no hosts in format {FORMAT}")
    kind = given.get("of")
    if kind not in _KINDS:
        raise _NoSlice(f"it is of none of {', '.join(_KINDS)}")
    try:
        return kind, {host: _KINDS[kind](value) for host, value in given["hosts"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise _NoSlice("what it says of a host is not what a slice says") from error


def _answer(value: t.Any) -> t.Dict[str, t.Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _asked(value: t.Any) -> Asked:
    intended = [
        Intended(**{**each, "interfaces": tuple(map(_string, each["interfaces"]))}) for each in value["intended"]
    ]
    for each in intended:
        _string(each.name), _string(each.lacks)
    return Asked(_answer(value["answer"]), intended, _string(value["address"]))


def _interfaces(value: t.Any) -> t.List[t.Tuple[str, str]]:
    return [(one_line(_string(interface)), one_line(_string(version))) for interface, version in value]


def _string(value: t.Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_KINDS: t.Dict[str, t.Callable[[t.Any], t.Any]] = {"counters": _answer, "preflight": _asked, "versions": _interfaces}
