# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of this machine, above all bpftool, with whose output the modules' results are compared."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
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


def program_ids() -> t.List[int]:
    return [program["id"] for program in bpftool("prog", "list")]


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
