# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible sends in a zip is compiled once, and is what it would be without our help."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import zipfile

import pytest

MODULE_UTILS = pathlib.Path(__file__).parents[2] / "plugins/module_utils"

# Imports one more module than the first, and says how often each file was compiled and where it is.
COUNTING = """
import builtins, collections, json, sys
sys.path.insert(0, sys.argv[1])
compiled = collections.Counter()
real = builtins.compile
def counting(source, name, *args, **more):
    compiled[name.rpartition(".zip/")[2]] += 1
    return real(source, name, *args, **more)
builtins.compile = counting
import fleet.entry, fleet.room.late
modules = [fleet, fleet.room, fleet.room.late]
print(json.dumps([compiled, [[each.__file__.rpartition(".zip/")[2], each.__spec__.origin == each.__file__,
    list(getattr(each, "__path__", []))[:1] == [each.__file__[:-len("/__init__.py")]]] for each in modules]]))
try:
    import fleet.room.missing
except ModuleNotFoundError as error:
    assert error.name == "fleet.room.missing"
else:
    sys.exit("a module that is not there was imported")
"""


@pytest.mark.parametrize("helped", [False, True])
def test_each_source_is_compiled_once(tmp_path: pathlib.Path, helped: bool) -> None:
    path = tmp_path / "sent.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fleet/__init__.py", "")
        archive.writestr("fleet/once.py", (MODULE_UTILS / "once.py").read_text())
        archive.writestr("fleet/entry.py", "from . import once\n" if helped else "")
        archive.writestr("fleet/room/__init__.py", "")
        archive.writestr("fleet/room/late.py", "HERE = __name__\n")
    done = subprocess.run([sys.executable, "-c", COUNTING, str(path)], capture_output=True, text=True, check=True)
    compiled, found = json.loads(done.stdout)
    fixed = compiled["fleet/room/late.py"] == 1  # in Pythons that have no such bug, with and without
    assert fixed or not helped
    assert found == [
        ["fleet/__init__.py", True, True],
        ["fleet/room/__init__.py", True, True],
        ["fleet/room/late.py", True, False],
    ]


def test_it_comes_first() -> None:
    """Of ours, only the module itself and the empty packages are imported before."""
    lines = (MODULE_UTILS / "entry.py").read_text().splitlines()
    ours = [line for line in lines if line.startswith("from .")]
    assert ours[0] == "from . import once  # first"
    for path in (MODULE_UTILS.parent / "modules").glob("*.py"):
        text = path.read_text()
        if "from ..module_utils" in text:
            first = text[text.index("from ..module_utils") :].splitlines()[0]
            assert first == "from ..module_utils import entry", path.name


def test_only_processes_of_ansible_are_changed() -> None:
    """This one imports it from a folder."""
    import zipimport

    from ansible_collections.ebpf.fleet.plugins.module_utils import once

    assert zipimport.zipimporter.get_filename is not once._get_filename
