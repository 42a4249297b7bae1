# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted, beside what findmnt says."""

from __future__ import annotations

import json
import os

from ansible_collections.ebpf.fleet.plugins.module_utils.kernel.mounts import mounts
from commands import sh


def test_all_mounts_are_those_of_findmnt() -> None:
    theirs = json.loads(sh("findmnt", "--json", "--list", "--output=ID,MAJ:MIN,TARGET,FSTYPE"))["filesystems"]
    wanted = [(each["id"], each["maj:min"], each["target"], each["fstype"]) for each in theirs]
    ours = [(each.id, f"{os.major(each.device)}:{os.minor(each.device)}", each.point, each.kind) for each in mounts()]
    assert sorted(ours) == sorted(wanted)


def test_those_of_one_kind_are_picked_from_all() -> None:
    every = mounts()
    assert {"proc", "sysfs"} <= {each.kind for each in every}
    for kind in {each.kind for each in every}:
        assert mounts(kind=kind) == [each for each in every if each.kind == kind]
    assert mounts(kind="no such kind") == []
