# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pin root belongs to a network namespace, on kernels old and new, seen from the machine and from a container."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.state import identity
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import escape, unescape

ROOT = "/sys/fs/bpf/ebpf_fleet"
FIRST = 0xEFFFFFF9


def namespace(
    monkeypatch: pytest.MonkeyPatch,
    inode: int = 0xF0000277,
    cookie: t.Optional[int] = 4097,
    name: t.Optional[str] = None,
    contained: bool = False,
    of_pid_1: t.Optional[bool] = False,
    sysctls: t.Optional[bool] = False,
) -> None:
    """Be in this network namespace; `contained`: in a pid namespace that is not the first; `sysctls` of the first."""
    for function, value in (
        ("_inode", inode),
        ("_cookie", cookie),
        ("_name", name),
        ("_in_first_pid_namespace", not contained),
        ("_is_that_of_pid_1", of_pid_1),
        ("_has_sysctls_of_the_first", sysctls),
    ):
        monkeypatch.setattr(identity, function, lambda value=value: value)


@pytest.mark.parametrize(
    ("here", "suffix"),
    [
        ({"inode": FIRST, "cookie": 3, "of_pid_1": True}, ""),  # 6.18
        ({"inode": FIRST, "cookie": 3, "of_pid_1": None}, ""),
        ({"inode": FIRST, "cookie": 3, "contained": True, "of_pid_1": False}, ""),
        ({"cookie": 1, "of_pid_1": True}, ""),  # 5.12 to 6.16
        ({"cookie": 1, "of_pid_1": None, "name": "machine"}, ""),
        ({"cookie": None, "sysctls": True, "of_pid_1": True}, ""),  # before 5.12
        ({"cookie": None, "sysctls": True, "of_pid_1": False, "name": "machine"}, ""),
        ({"cookie": None, "sysctls": True, "contained": True, "of_pid_1": True}, ""),  # as docker run --net=host
        ({"cookie": None, "sysctls": None, "of_pid_1": True}, ""),
        ({"cookie": None, "sysctls": None, "contained": True, "of_pid_1": True}, ""),
        ({"cookie": None, "sysctls": None, "of_pid_1": None}, ""),  # nothing can be told
        ({"cookie": None, "sysctls": None, "of_pid_1": False}, f"@{0xF0000277}"),
        ({"name": "blue"}, "@blue"),
        ({"name": "blue.1", "of_pid_1": None}, "@blue%2E1"),
        ({"cookie": None, "name": "blue"}, "@blue"),
        ({}, "@%4097"),
        ({"of_pid_1": None}, "@%4097"),
        ({"contained": True, "of_pid_1": True}, "@%4097"),
        ({"contained": True, "of_pid_1": False, "name": "blue"}, "@%4097"),
        ({"cookie": None}, f"@{0xF0000277}"),
        ({"cookie": None, "contained": True, "of_pid_1": True}, f"@{0xF0000277}"),
        ({"cookie": None, "contained": True, "of_pid_1": None, "name": "blue"}, f"@{0xF0000277}"),
    ],
)
def test_roots(here: t.Dict[str, t.Any], suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace(monkeypatch, **here)
    assert identity.root_of_namespace(ROOT) == identity.root_of_namespace(f"{ROOT}/") == ROOT + suffix
    inside = f"/sys/fs/bpf/{suffix}" if suffix else "/sys/fs/bpf"
    assert identity.root_of_namespace("/sys/fs/bpf") == inside


def test_no_name_is_written_as_a_cookie() -> None:
    assert escape("%4097") != "%4097"
    for root in (f"{ROOT}@%4097", f"{ROOT}@%2512", f"{ROOT}@%2F"):
        assert unescape(escape(root)) == root  # in the paths of records and manifests


INODE = f"@{0xF0000277}"
LOST = "@lost%2E1"  # no namespace has this name any more


@pytest.mark.parametrize(
    ("here", "suffixes"),
    [
        ({"inode": FIRST, "of_pid_1": True}, []),
        ({"cookie": None, "sysctls": True, "contained": True, "of_pid_1": True}, []),  # they are the machine's
        ({"name": "blue"}, [INODE, "@%4097", LOST]),  # of before it got a name, or a different one
        ({"cookie": None, "name": "blue"}, [INODE, LOST]),
        ({}, [INODE, LOST]),
        ({"of_pid_1": None}, ["", INODE, LOST]),
        ({"cookie": None, "of_pid_1": None}, ["", LOST]),
        ({"contained": True, "of_pid_1": True}, ["", INODE, "@blue", LOST, "@red"]),
        ({"cookie": None, "contained": True, "of_pid_1": True}, ["", "@blue", LOST, "@red"]),
        ({"contained": True, "of_pid_1": None}, ["", INODE, "@blue", LOST, "@red"]),
        ({"contained": True, "of_pid_1": False, "name": "blue"}, ["@blue", INODE, LOST, "@red"]),
    ],
)
def test_former_roots(
    here: t.Dict[str, t.Any], suffixes: t.List[str], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    namespace(monkeypatch, **here)
    monkeypatch.setattr(identity, "NAMES", str(tmp_path / "names"))
    for name in ("blue", "red"):
        (tmp_path / "names" / name).mkdir(parents=True)
    root = str(tmp_path / "pins")
    assert identity.former_roots(root) == []
    for each in ("", "@blue", "@red", LOST, INODE, "@%4097", "@%4098"):
        (tmp_path / f"pins{each}").mkdir()
    assert identity.former_roots(root) == [root + each for each in suffixes]
