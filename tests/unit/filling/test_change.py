# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of the entries of maps, with a kernel that answers as it is told."""

from __future__ import annotations

import errno
import types
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.steps import Fill
from ansible_collections.ebpf.fleet.plugins.module_utils.entries import writing
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.difference import Difference, Updated
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.filling import change
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import BpfError

SHAPE = MapShape("hash", 1, 1, 8, 0)
MADE = Difference(added=((b"\1", b"\1"), (b"\2", b"\1")), removed=((b"\3", b"\1"),))


class Full:
    """Elements of a map in which there is no room any more, and of which none can be removed."""

    def __init__(self, *_arguments: t.Any, may_update: bool = False) -> None:
        self.may_update = may_update

    def lookup(self, keys: t.Iterable[bytes]) -> t.Dict[bytes, bytes]:
        return dict.fromkeys(keys, b"\0")

    def update(self, pairs: t.Sequence[t.Any]) -> None:
        if pairs and not self.may_update:
            raise BpfError(errno.E2BIG, "bpf_map_update_batch")

    def delete(self, keys: t.Sequence[bytes]) -> None:
        if keys:
            raise BpfError(errno.EPERM, "bpf_map_delete_batch")


def test_what_cannot_be_undone_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is no FleetError would end a holder without a word in the log."""
    monkeypatch.setattr(change, "Elements", Full)
    found = types.SimpleNamespace(fd=3, info=types.SimpleNamespace(shape=SHAPE), place=None)
    plan = change.Plan(t.cast(t.Any, found), t.cast(t.Any, None), Fill("block", MADE))
    changes = change.Changes(t.cast(t.Any, None), [plan])
    with pytest.raises(FleetError, match=r"it is full.*; the rollback failed: .*Run the task again"):
        changes.make()


def test_all_that_was_written_is_counted() -> None:
    with pytest.raises(FleetError, match="2 of 3 changes were written to block, then the kernel said"):
        writing.write("block", t.cast(t.Any, Full(may_update=True)), SHAPE, MADE)


def test_no_entry_of_a_full_trie_is_updated() -> None:
    """Kernels before 6.13 refuse that (ENOSPC); there is room for it in all other maps."""
    made = Difference(updated=(Updated(b"\1", b"\1", b"\2"),))
    for kind, seen, refused in (("lpm_trie", 8, True), ("lpm_trie", 7, False), ("hash", 8, False)):
        shape = SHAPE._replace(type=kind)
        if refused:
            with pytest.raises(FleetError, match=r"block is full, with 8 entries.*replace: at_once"):
                writing.check_room("block", shape, seen, made)
        else:
            writing.check_room("block", shape, seen, made)
