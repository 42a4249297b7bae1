# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rooms of plugins/module_utils: imports in one direction, without circles. docs/architecture.md shows them."""

from __future__ import annotations

import ast
import pathlib
import typing as t

import pytest

MODULE_UTILS = pathlib.Path(__file__).parents[2] / "plugins/module_utils"

# From the bottom up. A room may import from itself and from lower storeys, not from other rooms of its storey. A room
# is a package, or a file directly in module_utils.
STOREYS = (
    ("errors", "background", "once"),
    ("libbpf", "kernel", "border", "reach"),
    ("values",),
    ("entry", "state"),
    ("sharing",),
    ("attach", "entries", "objects", "persist"),
    ("deploy",),
    ("counting", "filling", "inspection"),
    ("metrics", "pulling"),
    ("boot",),
)
STOREY = {room: number for number, rooms in enumerate(STOREYS) for room in rooms}

Imports = t.Dict[str, t.Set[str]]  # by file, the files that it imports: "deploy.plan", "errors"


def imports_of(sources: t.Mapping[str, str]) -> Imports:
    """All imports between these files, including those inside functions and for types."""
    found: Imports = {}
    for name, source in sources.items():
        found[name] = set()
        assert "import ansible_collections" not in source and "from ansible_collections" not in source, name
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.level:
                package = name.split(".")[: -node.level]
                base = [*package, *(node.module.split(".") if node.module else ())]
                names = [".".join([*base, each.name]) for each in node.names]
                found[name] |= {each if each in sources else ".".join(base) for each in names}
        found[name].discard("")
    return found


def wrong(imports: Imports) -> t.List[str]:
    """A sentence for each import that goes up or sideways, and for each circle."""
    found = []
    for name, others in imports.items():
        for other in sorted(others):
            room, to = name.split(".")[0], other.split(".")[0]
            if room != to and STOREY[to] >= STOREY[room]:
                found.append(f"{name} imports {other}, which lies above it or beside it")
    return found + [" -> ".join(circle) for circle in circles(imports)]


def circles(imports: Imports) -> t.List[t.List[str]]:
    found: t.List[t.List[str]] = []
    done: t.Set[str] = set()

    def walk(name: str, path: t.List[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in sorted(imports.get(name, ())):
                walk(other, [*path, name])
            done.add(name)

    for name in sorted(imports):
        walk(name, [])
    return found


def sources() -> t.Dict[str, str]:
    paths = sorted(path for path in MODULE_UTILS.rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(MODULE_UTILS).with_suffix("").parts): path.read_text() for path in paths}


def test_one_direction_and_no_circle() -> None:
    every = sources()
    assert {name.split(".")[0] for name in every} == set(STOREY), "a room without a storey, or a storey without a room"
    imports = imports_of(every)
    assert all(other in every for others in imports.values() for other in others)
    assert wrong(imports) == []


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("state.records", "from ..deploy.plan import plan", "state.records imports deploy.plan"),
        ("state.records", "def f():\n    from ..deploy import plan", "state.records imports deploy.plan"),
        ("objects.elf", "from ..persist.manifests import Manifest", "objects.elf imports persist.manifests"),
        ("persist.systemd", "from .persistence import observe", "persist.persistence -> persist.systemd"),
        ("errors", "from .entry import message_of", "errors imports entry"),
    ],
)
def test_a_wrong_import_is_found(name: str, line: str, words: str) -> None:
    every = sources()
    every[name] += f"\n{line}\n"
    assert any(words in each for each in wrong(imports_of(every)))


def test_each_room_has_an_empty_init() -> None:
    """ansible-core needs the file below module_utils, and a target compiles its content in each task."""
    rooms = {path for path in MODULE_UTILS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {(room / "__init__.py").read_text() for room in rooms} == {""}
