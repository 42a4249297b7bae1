# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of this machine, above all bpftool, with whose output the modules' results are compared."""

from __future__ import annotations

import json
import subprocess
import typing as t


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
