# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts run, as text that is equal if they run the same, and where they differ. Pure.

The text contains no ids and addresses, because these differ between hosts and after each boot.
"""

from __future__ import annotations

import re
import typing as t

from .stable import stable_jited, stable_xlated

Facts = t.Mapping[str, t.Any]


class Host(t.NamedTuple):
    """Data collected from one host: ansible_facts.bpf and .xdp_counter, and the results of the info modules."""

    name: str
    bpf: Facts
    counter: Facts
    programs: t.Sequence[Facts]
    disassembler: t.Optional[str]
    objects: t.Sequence[Facts]


class Instance(t.NamedTuple):
    """The program on one interface. `xlated` and `jited` are stable text, empty if there is none."""

    host: Host
    interface: str
    counter: Facts
    program: Facts
    xlated: t.Tuple[str, ...]
    jited: t.Tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.host.name} {self.interface}"


class Difference(t.NamedTuple):
    """`groups` are the instances by value, the most common first; `about` is what they have in common."""

    what: str
    about: str
    groups: t.List[t.Tuple[str, t.List[str]]]

    def __str__(self) -> str:
        about = f" of {self.about}" if self.about else ""
        sides = [f"{value} on {_several(names)}" for value, names in [*self.groups[1:], self.groups[0]]]
        return f"{self.what}{about}: {', but '.join(sides)}"


def _several(names: t.Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def instances(hosts: t.Iterable[Host]) -> t.List[Instance]:
    found = []
    for host in hosts:
        programs = {program["id"]: program for program in host.programs}
        for interface, counter in sorted(host.counter["interfaces"].items()):
            program = programs.get(counter["program_id"], {})
            found.append(
                Instance(
                    host,
                    interface,
                    counter,
                    program,
                    tuple(stable_xlated(program.get("xlated", ()))),
                    tuple(stable_jited(program.get("jited", ()))),
                )
            )
    return found


def differences(hosts: t.Sequence[Host]) -> t.List[Difference]:
    """Differences between instances that should be equal. Code is compared only if its input is the same."""
    all_of_them = instances(hosts)
    found = [_compare("object", "", all_of_them, lambda each: _checksum(each.program))]
    found += _within(all_of_them, _by_program, "tag", lambda each: each.program.get("tag", "unknown"))
    found += _within(
        [each for each in all_of_them if each.xlated],
        lambda each: f"{_by_program(each)} with tag {each.program['tag']}",
        "translation",
        lambda each: each.xlated,
        lambda each: f"{_code_lines(each.xlated)} instructions by kernel {each.host.bpf['kernel']}",
    )
    found += _within(
        [each for each in all_of_them if each.jited],
        lambda each: (
            f"{_by_program(each)} with tag {each.program['tag']} and the same translation,"
            f" for {each.host.bpf['architecture']} by {str(each.host.disassembler).rpartition('/')[2]}"
        ),
        "native code",
        lambda each: each.jited,
        lambda each: f"{_code_lines(each.jited)} instructions by kernel {each.host.bpf['kernel']}",
        also=lambda each: each.xlated,
    )
    found.append(_compare("mode", "", all_of_them, lambda each: each.counter["mode"] or "not attached"))
    without = [host.name for host in hosts if not host.counter["interfaces"]]
    if without and all_of_them:
        found.append(
            Difference("interfaces", "", [("some", sorted({e.host.name for e in all_of_them})), ("none", without)])
        )
    return [each for each in found if each]


def _within(
    among: t.Iterable[Instance],
    about: t.Callable[[Instance], str],
    what: str,
    value: t.Callable[[Instance], t.Any],
    shown: t.Optional[t.Callable[[Instance], str]] = None,
    also: t.Callable[[Instance], t.Any] = lambda each: None,
) -> t.List[t.Optional[Difference]]:
    """Compare those for which `about` and `also` return the same."""
    sets: t.Dict[t.Any, t.List[Instance]] = {}
    for each in among:
        sets.setdefault((about(each), also(each)), []).append(each)
    return [_compare(what, key[0], members, value, shown) for key, members in sets.items()]


def _compare(
    what: str,
    about: str,
    among: t.Iterable[Instance],
    value: t.Callable[[Instance], t.Any],
    shown: t.Optional[t.Callable[[Instance], str]] = None,
) -> t.Optional[Difference]:
    groups: t.Dict[t.Any, t.List[Instance]] = {}
    for each in among:
        groups.setdefault(value(each), []).append(each)
    if len(groups) < 2:
        return None
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return Difference(
        what,
        about,
        [(shown(members[0]) if shown else str(key), [str(each) for each in members]) for key, members in ordered],
    )


def _by_program(each: Instance) -> str:
    return str(each.program.get("name", "unknown"))


def _checksum(program: Facts) -> str:
    return f"sha256 {program['object']['checksum']}" if program.get("object") else "unknown"


def _code_lines(lines: t.Iterable[str]) -> int:
    return sum(1 for line in lines if re.match(r" *[0-9a-f]+: ", line))


def texts(host: Host) -> t.Dict[t.Tuple[str, ...], str]:
    """Files of one host, by what their path below its folder consists of: an interface, if any, and the file."""
    programs = f"kernel {host.bpf['kernel']} {host.bpf['architecture']}\n"
    counters = ""
    files: t.Dict[t.Tuple[str, ...], str] = {}
    for each in instances([host]):
        programs += _listing(each)
        counter = each.counter
        counters += f"{each.interface} packets {counter['packets']} bytes {counter['bytes']}\n"
        problems = [f"! {problem}" for problem in each.program.get("problems", ())]
        for name, lines in (("xlated", each.xlated), ("jited", each.jited)):
            if lines or problems:
                files[each.interface, f"{name}.txt"] = _lines(lines or problems)
    objects = "\n".join(map(_object, host.objects))
    return {**files, ("programs.txt",): programs, ("object.txt",): objects, ("counters.txt",): counters}


def _listing(each: Instance) -> str:
    program, counter = each.program, each.counter
    attachment = next((a for a in program.get("attachments", ()) if a["interface"] == each.interface), None)
    lines = [
        "",
        f"{each.interface}: {_by_program(each)}",
        f"  attached {counter['mode'] or 'nowhere'}{_way(attachment) if attachment else ''}",
    ]
    if program:
        lines += [
            f"  {program['type']}  tag {program['tag']}{'  gpl' if program['gpl'] else ''}  uid {program['uid']}",
            f"  xlated {program['bytes_xlated']}B  jited {program['bytes_jited']}B  memlock {program['memlock']}B"
            f"  maps {len(program['map_ids'])}",
            f"  object {program['object']['path'] if program['object'] else 'unknown'}  {_checksum(program)}",
        ]
    return _lines(lines)


def _way(attachment: Facts) -> str:
    there = attachment.get("dispatcher")
    place = f", slot {there['slot']}, priority {there['priority']}" if there else ""
    return f", by {attachment['by']}{place}"


def _object(found: Facts) -> str:
    if not found["exists"]:
        return f"{found['path']}: does not exist (any more)\n"
    lines = [
        f"{found['path']}: {found['file_type']}",
        f"  sha256 {found['checksum']}",
        f"  license {found['license']}, {'with' if found['has_btf'] else 'without'} BTF",
        *(
            f"  program {p['name']}, section {p['section']}, {p['instructions']} instructions"
            for p in found["programs"]
        ),
        *(
            f"  map {each['name']}, {each['type']}, key {each['key_size']}B, value {each['value_size']}B,"
            f" {each['max_entries']} entries"
            for each in found["maps"]
        ),
        *(f"! {problem}" for problem in found["problems"]),
        "",
        *found.get("disassembly", ()),
    ]
    return _lines(lines)


def _lines(lines: t.Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
