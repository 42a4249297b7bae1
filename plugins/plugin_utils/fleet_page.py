# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page of ebpf.fleet.report shows, out of what xdp_counter_facts answered: rows, remarks, versions. Pure."""

from __future__ import annotations

import collections
import typing as t

from ..module_utils.border.text import one_line
from .answered import SILENT, Answer, facts_of, shortened

# The worst first: in this order the page has them.
NOT_READ, NOT_ATTACHED, DIFFERENT, NOT_EXACT = "not read", "not attached", "different version", "not exact"
KINDS = (NOT_READ, NOT_ATTACHED, DIFFERENT, NOT_EXACT)

MOST_INTERFACES = 1000  # of one host, which else could make the page of any size
MOST_BARS = 20
MOST_CPUS = 32  # bars in the picture of a row; of CPUs next to each other, one shows the busiest


class Remark(t.NamedTuple):
    """What somebody should look at. `interface` is empty if it is about all of the host."""

    kind: str
    host: str
    interface: str
    text: str


class Version(t.NamedTuple):
    """Programs that have the same name, the same instructions and the same constants."""

    program: str
    tag: str
    digest: str
    interfaces: int
    hosts: int
    usual: bool


class Row(t.NamedTuple):
    """One interface. `share` is its part of the busiest one's rate, `cpus` the part of each CPU in the busiest's, both
    from 0 to 1.
    """

    host: str
    interface: str
    facts: Answer
    kinds: t.Tuple[str, ...]
    rate: t.Optional[float]
    share: float
    cpus: t.Tuple[float, ...]


class Page(t.NamedTuple):
    """`rows`: those with remarks first, then by rate. `busiest`: by rate. `rates`: whether there are any.

    `collected`: the first and the last reading, by the hosts' clocks.
    """

    programs: t.List[str]
    collected: t.Tuple[str, str]
    hosts: int
    read: int
    totals: t.Dict[str, float]
    rates: bool
    counts: t.List[t.Tuple[str, int]]
    remarks: t.List[Remark]
    versions: t.List[Version]
    busiest: t.List[Row]
    rows: t.List[Row]


def page(answers: t.Mapping[str, Answer]) -> Page:
    """`answers`: by host, the result of a task xdp_counter_facts, which may have failed."""
    read: t.Dict[str, Answer] = {}
    remarks: t.List[Remark] = []
    for host, answer in answers.items():
        facts, why = facts_of("xdp_counter_facts", host, answer)
        if facts is None:
            remarks.append(Remark(NOT_READ, one_line(host), "", why))
        else:
            read[host] = facts
    usual, versions = _versions(read)
    found: t.List[t.Tuple[str, str, Answer, t.List[Remark]]] = []
    for host, facts in read.items():
        interfaces = list(facts["interfaces"].items())
        remarks += _of_host(host, len(interfaces))
        for interface, given in interfaces[:MOST_INTERFACES]:
            values = {"packets_per_second": None, "bytes_per_second": None, **given}
            of_row = list(_of_row(host, interface, values, usual))
            remarks += of_row
            found.append((one_line(host), interface, values, of_row))
    rates = any(values["packets_per_second"] is not None for _host, _interface, values, _remarks in found)
    rows = _rows(found, "packets_per_second" if rates else "packets")
    times = sorted(facts["collected_at"] for facts in read.values()) or [""]
    return Page(
        programs=sorted({facts["program"] for facts in read.values()}),
        collected=(times[0], times[-1]),
        hosts=len(answers),
        read=len(read),
        totals={name: _total(rows, name) for name in ("packets", "bytes", "packets_per_second", "bytes_per_second")},
        rates=rates,
        counts=[(kind, len({(each.host, each.interface) for each in remarks if each.kind == kind})) for kind in KINDS],
        remarks=sorted(remarks, key=lambda each: (KINDS.index(each.kind), each.host, each.interface)),
        versions=versions,
        busiest=[row for row in sorted(rows, key=_busiest)[:MOST_BARS] if row.rate],
        rows=sorted(rows, key=lambda row: (min(map(KINDS.index, row.kinds), default=len(KINDS)), *_busiest(row))),
    )


def _versions(read: t.Mapping[str, Answer]) -> t.Tuple[t.Dict[str, t.Tuple[str, str]], t.List[Version]]:
    """The most common tag and digest by name of the program; and all versions that run.

    A NIC with a jumbo MTU has a program of its own in the same object, so only those of one name are compared.
    """
    hosts: t.Dict[t.Tuple[str, str, str], t.List[str]] = collections.defaultdict(list)
    for host, facts in read.items():
        for values in facts["interfaces"].values():
            if values["attached"]:
                hosts[_version(values)].append(host)
    usual: t.Dict[str, t.Tuple[str, str]] = {}
    versions = []
    for (program, tag, digest), names in sorted(hosts.items(), key=lambda each: (each[0][0], -len(each[1]), each[0])):
        usual.setdefault(program, (tag, digest))
        is_usual = usual[program] == (tag, digest)
        versions.append(Version(program, tag, digest, len(names), len(set(names)), is_usual))
    return usual, versions


def _version(values: Answer) -> t.Tuple[str, str, str]:
    return values["program_name"] or "", values["tag"] or "", values["variables_digest"] or ""


def _of_host(host: str, interfaces: int) -> t.Iterator[Remark]:
    if not interfaces:
        yield Remark(NOT_ATTACHED, one_line(host), "", "the program is on no interface")
    if interfaces > MOST_INTERFACES:
        text = f"{interfaces - MOST_INTERFACES} more interfaces are not on this page"
        yield Remark(NOT_READ, one_line(host), "", text)


def _of_row(host: str, interface: str, values: Answer, usual: t.Mapping[str, t.Tuple[str, str]]) -> t.Iterator[Remark]:
    host = one_line(host)
    if not values["attached"]:
        moved = "the interface was moved into a different network namespace, and counts there"
        text = moved if values["moved"] else "deployed, but it does not run on the interface"
        yield Remark(NOT_ATTACHED, host, interface, text)
        return
    program, tag, digest = _version(values)
    usual_tag, usual_digest = usual[program]
    if tag != usual_tag:
        yield Remark(DIFFERENT, host, interface, f"tag {tag}, but {usual_tag} in most places")
    elif digest != usual_digest:
        text = f"constants {digest or 'none'}, but {usual_digest or 'none'} in most places"
        yield Remark(DIFFERENT, host, interface, text)
    if values["exact"] is False:
        yield Remark(NOT_EXACT, host, interface, shortened(values["inexact_because"] or SILENT))


def _rows(found: t.Sequence[t.Tuple[str, str, Answer, t.List[Remark]]], rate: str) -> t.List[Row]:
    most = max((values[rate] or 0 for _host, _interface, values, _remarks in found), default=0) or 1
    return [
        Row(
            host,
            interface,
            values,
            tuple(each.kind for each in remarks),
            values[rate],
            (values[rate] or 0) / most,
            _shares(values["per_cpu"]),
        )
        for host, interface, values, remarks in found
    ]


def _shares(cpus: t.Sequence[Answer]) -> t.Tuple[float, ...]:
    """Of each CPU from 0 to the last that counted, or of the busiest among neighbours: its part of the most."""
    if not cpus:
        return ()
    many = max(each["cpu"] for each in cpus) + 1
    together = -(-many // MOST_CPUS)
    packets = [0] * (-(-many // together))
    for each in cpus:
        packets[each["cpu"] // together] = max(packets[each["cpu"] // together], each["packets"])
    most = max(packets) or 1
    return tuple(each / most for each in packets)


def _total(rows: t.Iterable[Row], name: str) -> float:
    return sum(row.facts[name] or 0 for row in rows)


def _busiest(row: Row) -> t.Tuple[float, str, str]:
    return -(row.rate or 0), row.host, row.interface
