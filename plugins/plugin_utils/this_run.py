# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether facts were read in this run of Ansible. A fact cache also has those of earlier runs."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping

from ansible import constants


def mark(facts: t.MutableMapping[str, t.Any]) -> None:
    if _are_cached():
        facts["run"] = _name()


def is_read_now(facts: t.Any) -> bool:
    """The hosts' clocks do not tell. Without a fact cache all facts are of this run, also those of gather_facts."""
    return not _are_cached() or (isinstance(facts, Mapping) and facts.get("run") == _name())


def _are_cached() -> bool:
    return constants.CACHE_PLUGIN not in ("memory", "ansible.builtin.memory")


def _name() -> str:
    """Of the temporary folder that Ansible makes for each run; its workers and plugins inherit it."""
    return os.path.basename(str(constants.DEFAULT_LOCAL_TMP))
