# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of this machine, above all bpftool, with whose output the modules' results are compared."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import time
import typing as t

SYSCTLS = {
    "bpf_jit_harden": "net/core/bpf_jit_harden",
    "bpf_stats_enabled": "kernel/bpf_stats_enabled",
    "kptr_restrict": "kernel/kptr_restrict",
}


def sh(*command: t.Any, **options: t.Any) -> str:
    """Run a command and return its output. If it fails, the error contains what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def bpftool(*words: t.Any) -> t.Any:
    """bpftool's own view, from JSON."""
    return json.loads(sh("bpftool", "--json", *words) or "null")


def program_ids() -> t.Set[int]:
    return {program["id"] for program in bpftool("prog", "list")}


def programs_since(before: t.Set[int], seconds: float = 10) -> t.List[t.Dict[str, t.Any]]:
    """The programs that are in the kernel, were not there `before`, and stay.

    The sets need not be equal when nothing stays: the kernel frees a program some time after its last user has gone,
    and systemd loads programs for cgroups when it likes.
    """
    deadline = time.monotonic() + seconds
    while True:
        new = [each for each in bpftool("prog", "list") if each["id"] not in before and "cgroup" not in each["type"]]
        if not new or time.monotonic() > deadline:
            return new
        time.sleep(0.2)


@contextlib.contextmanager
def sysctl(**values: int) -> t.Iterator[None]:
    """Set some of SYSCTLS, and restore them afterwards."""
    files = [pathlib.Path("/proc/sys", SYSCTLS[name]) for name in values]
    before = [file.read_text() for file in files]
    try:
        for file, value in zip(files, values.values()):
            file.write_text(str(value))
        yield
    finally:
        for file, text in zip(files, before):
            file.write_text(text)
