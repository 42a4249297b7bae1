# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What prevents XDP programs on a host, as sentences with their remedies."""

from __future__ import annotations

import typing as t

from ..attach.exactness import IN_THE_HYPERVISOR
from ..objects.toolchain import ELSEWHERE

PLAIN_MTU = 1500
FRAGS_LIBBPF = (0, 8)


# What a problem stops.
ALL, BUILD, INTERFACE = "all", "build", "interface"


class Problem(t.NamedTuple):
    """`problem` and `remedy` are the same on all hosts that have it; the sentence also has what differs.

    `stops`: ALL deployments, BUILD those that compile on the host, INTERFACE those to `interface`, or None.
    """

    sentence: str
    problem: str
    remedy: str
    stops: t.Optional[str] = None
    interface: t.Optional[str] = None


def sentence(text: str, remedy: str = "", stops: t.Optional[str] = None) -> Problem:
    """A problem that is not one of an interface. It may have its remedy in the same sentence."""
    text = f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
    return Problem(f"{text} {remedy}".strip(), text, remedy, stops)


def _of_interface(
    interface: str, words: t.Callable[..., t.Tuple[str, str]], *values: t.Tuple[t.Any, str], stops: bool = False
) -> Problem:
    """`words` makes problem and remedy of the interface and of `values`; each has what it is in general beside it."""
    text, remedy = words(interface, *(value for value, _general in values))
    problem, general = words("the interface", *(general for _value, general in values))
    return Problem(
        f"{text} {remedy}", problem[0].upper() + problem[1:], general, INTERFACE if stops else None, interface
    )


def problems(facts: t.Mapping[str, t.Any], refusal: t.Optional[str] = None) -> t.List[Problem]:
    """The problems, each with its remedy, the worst first. Pure.

    refusal: the sentence about it, if the kernel refuses bpf().
    """
    can = facts["features"]
    found = []
    missing = [name for name in ("cap_bpf", "cap_net_admin", "cap_sys_admin") if name not in facts["capabilities"]]
    if missing:
        found.append(
            sentence(
                f"This ran without {', '.join(missing)}: no program can be loaded or attached.",
                "Run as root (become: true; in a container, --privileged).",
                ALL,
            )
        )
    elif refusal:
        found.append(sentence(f"No program can be loaded or attached: {refusal}", stops=ALL))
    if can["xdp_link"] is False:
        found.append(
            sentence(
                "The kernel does not support BPF links for XDP (added in 5.9): xdp_program cannot attach.",
                "Use a newer kernel.",
                ALL,
            )
        )
    return found + list(_of_kernel(facts)) + list(_of_interfaces(facts))


def _of_kernel(facts: t.Mapping[str, t.Any]) -> t.Iterator[Problem]:
    """Those that only concern some programs, or the way in which they are built."""
    if facts["lockdown"] == "confidentiality":
        yield sentence(
            "The kernel is locked down for confidentiality: this hides tracefs, so trace_seconds cannot be used,"
            " and programs that read the kernel's memory (bpf_probe_read_kernel) are rejected.",
            "Boot with lockdown=integrity to have both.",
        )
    if not facts["btf"]:
        yield sentence(
            "The kernel has no BTF (/sys/kernel/btf/vmlinux): objects with CO-RE relocations, or with functions or"
            " variables of the kernel, cannot be loaded, and others can.",
            "Use a kernel with CONFIG_DEBUG_INFO_BTF.",
        )
    if not facts["jit"]["available"]:
        yield sentence(
            "The kernel has no JIT compiler for BPF: it interprets programs, which is slow, and they have no native"
            " code to show.",
            "Use a kernel with CONFIG_BPF_JIT.",
        )
    if facts["jit"]["enable"] == 0:
        yield sentence(
            "The kernel interprets BPF programs, which is slow, and they have no native code to show.",
            "Set the sysctl net.core.bpf_jit_enable to 1, for programs that are loaded afterwards.",
        )
    if not facts["clang"]:
        yield sentence(
            "There is no clang: bpf_object cannot compile on this host.",
            f"Install the package clang, {ELSEWHERE}.",
            BUILD,
        )


def _of_interfaces(facts: t.Mapping[str, t.Any]) -> t.Iterator[Problem]:
    can, libbpf = facts["features"], facts["libbpf"]
    for name, interface in facts["interfaces"].items():
        for program in interface["xdp"] or ():
            if program["owner"] != "ebpf.fleet":
                yield from _of_program(name, program, can.get("dispatcher"))
        if interface["driver"] and interface["mtu"] > PLAIN_MTU:
            lacks = "the kernel does not support packets of several buffers (added in 5.18)"
            if can["frags"] and libbpf and _version(libbpf) < FRAGS_LIBBPF:
                lacks = f"libbpf {libbpf} cannot load programs for packets of several buffers (added in 0.8)"
            elif can["frags"] is not False:
                continue
            yield _of_interface(name, _large, (interface["mtu"], f"more than {PLAIN_MTU}"), (lacks, lacks))


def _of_program(interface: str, program: t.Mapping[str, t.Any], can_share: t.Optional[bool]) -> t.Iterator[Problem]:
    shown = f"XDP program {program['program_id']} '{program['name']}' (tag {program['tag']})"
    there = program.get("dispatcher")
    if not there:
        yield _of_interface(interface, _foreign, (shown, "an XDP program"), stops=True)
    elif there["trouble"]:
        why = (there["trouble"], "of a kind that cannot be joined")
        yield _of_interface(interface, _closed, (shown, "a dispatcher"), why, stops=True)
    elif can_share is False:
        yield _of_interface(interface, _unshared, (shown, "a dispatcher"), stops=True)


def _closed(interface: str, program: str, why: str) -> t.Tuple[str, str]:
    why = why if why.startswith("of ") else f"which cannot be joined: {why}"
    return (
        f"{interface} runs {program}, {why}.",
        f"Leave {interface} out, or set on_conflict: replace to take its place.",
    )


def _unshared(interface: str, program: str) -> t.Tuple[str, str]:
    return (
        f"{interface} runs {program}, which other programs could join, but this kernel does not put a program in the"
        f" place of a function of another one (type ext).",
        f"Leave {interface} out, or set on_conflict: replace to take its place.",
    )


def _foreign(interface: str, program: str) -> t.Tuple[str, str]:
    return (
        f"{interface} runs {program}, which this collection did not attach.",
        f"Leave {interface} out, or set on_conflict: replace to take its place. To have both, let its owner load it"
        f" with xdp-loader, or through libxdp: xdp_program joins it then.",
    )


def _large(interface: str, mtu: t.Any, lacks: str) -> t.Tuple[str, str]:
    return (
        f"{interface} has an MTU of {mtu}, but {lacks}: it may reject native mode.",
        "Lower the MTU, or set mode: generic.",
    )


def problems_of_joining(fixed: t.Mapping[str, t.Sequence[str]], panics: bool) -> t.List[Problem]:
    """`fixed`: what puts frames together and cannot be turned off, by interface. `panics`: a WARNING stops the host.

    Pure.
    """

    def words(interface: str, features: str) -> t.Tuple[str, str]:
        return (
            f"{interface} gets packets that are put together from several frames ({features}), and its driver cannot"
            f" turn that off: it may reject native mode, and counts in generic mode are not exact. "
            + (
                "Attaching in generic mode would make the kernel panic, as the sysctl kernel.panic_on_warn is set and"
                " it writes a WARNING then, so xdp_program refuses."
                if panics
                else "Attaching in generic mode makes the kernel write a WARNING to its log."
            ),
            f"{IN_THE_HYPERVISOR[0].upper()}{IN_THE_HYPERVISOR[1:]}.",
        )

    every = ((name, ", ".join(features)) for name, features in fixed.items())
    return [_of_interface(name, words, (features, features), stops=panics) for name, features in every]


def problems_of_names(unusable: t.Mapping[str, int]) -> t.List[Problem]:
    """`unusable`: the indexes of interfaces whose names cannot be given to a module. Pure."""

    def words(interface: str, index: t.Any) -> t.Tuple[str, str]:
        of = f"interface {index}, {interface}," if isinstance(index, int) else interface
        return (
            f"The name of {of} is not UTF-8, and cannot be given to a module.",
            f"Rename the interface: `ip link set dev if{index} name NAME`.",
        )

    return [_of_interface(name, words, (index, "INDEX")) for name, index in unusable.items()]


def _version(text: str) -> t.Tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
