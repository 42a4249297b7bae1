# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bpf_facts returns: can this host run XDP programs, and what prevents it?"""

from __future__ import annotations

import os
import typing as t

from ..entry import message_of, require_libbpf
from ..errors import FleetError
from ..kernel import jit, remedies
from ..objects.toolchain import Run
from ..state.bpffs import open_to_others, trouble_with
from . import host
from .features import features, refused
from .problems import ALL, problems, problems_of_joining, problems_of_names, sentence


def facts(run: Run, roots: t.Sequence[str], check: bool) -> t.Dict[str, t.Any]:
    """ansible_facts.bpf. In check mode no program is loaded, not even to probe the kernel.

    `roots`: the pin root of this network namespace, and where older releases pinned.
    """
    lib, obstacles = None, []
    try:
        lib = require_libbpf()
    except FleetError as error:
        obstacles.append(sentence(str(error), stops=ALL))
    prevented, opened = trouble_with(roots[0]), open_to_others(roots[0])
    if prevented or opened:
        obstacles.append(sentence(prevented or opened or "", stops=ALL if prevented else None))
    may_ask = lib if os.geteuid() == 0 else None
    refusal = refused(may_ask, check) if may_ask else None
    found = {
        "kernel": os.uname().release,
        "architecture": os.uname().machine,
        "btf": os.path.exists("/sys/kernel/btf/vmlinux"),
        "jit": jit.jit(),
        "lockdown": remedies.lockdown(),
        "capabilities": host.capabilities(),
        "bpffs": host.mounted("bpf"),
        "tracefs": host.mounted("tracefs"),
        "libbpf": lib.version if lib else None,
        "clang": host.tool_version(run, "clang", "--version"),
        "bpftool": host.tool_version(run, "bpftool", "version"),
        "features": features(None if check else may_ask),
        "interfaces": host.interfaces(may_ask, roots),
    }
    every = problems(found, message_of(refusal) if refusal else None) + obstacles
    every.sort(key=lambda each: each.stops != ALL)
    every += problems_of_joining(host.fixed_joining(), remedies.panics_on_warn())
    every += problems_of_names(host.unusable_names())
    return {
        **found,
        "problems": [each.sentence for each in every],
        "obstacles": [{name: value for name, value in each._asdict().items() if name != "sentence"} for each in every],
    }
