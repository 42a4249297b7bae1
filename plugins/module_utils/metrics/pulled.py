# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When this host last kept itself as a git repository declares it (xdp_pull), as metrics."""

from __future__ import annotations

import json
import typing as t

from ..state.files import read_file
from ..state.places import PULLED
from .declared import PREFIX
from .exposition import Family, Number


def about_pulling() -> t.Iterator[Family]:
    """Of the note that each run leaves; nothing if there is none, or it is damaged."""
    try:
        last = json.loads(read_file(PULLED) or b"{}")
        failed, kept_at, commit = last.get("problem") is not None, last.get("kept_at"), last.get("kept_commit")
    except (ValueError, AttributeError):
        return
    if not last:
        return
    samples: t.Dict[t.Any, Number] = {(): int(failed)}
    yield Family(
        f"{PREFIX}pull_failed", "gauge", "Whether the host's last run to keep itself as declared failed.", samples
    )
    if isinstance(kept_at, int) and isinstance(commit, str):
        words = "When the last run began that did not fail."
        yield Family(f"{PREFIX}pull_timestamp_seconds", "gauge", words, {(): kept_at})
        info: t.Dict[t.Any, Number] = {(("commit", commit),): 1}
        yield Family(f"{PREFIX}pull_info", "gauge", "The commit of that run. Always 1.", info)
