# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest contains besides the userland: the collection, ansible-core's part for targets, objects, checks."""

from __future__ import annotations

import pathlib
import shutil
import typing as t

import ansible
from debian import archive
from processes import run

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]

# By name in the guest: the source and its defines.
OBJECTS: t.Dict[str, t.Tuple[pathlib.Path, t.Tuple[str, ...]]] = {
    "packet_count": (ROOT / "files/bpf/packet_count.bpf.c", ()),
    "counter-1": (ROOT / "tests/integration/bpf/counter.bpf.c", ("VERSION=1",)),
    "counter-2": (ROOT / "tests/integration/bpf/counter.bpf.c", ("VERSION=2", "MORE=1")),
    "tail-1": (ROOT / "tests/integration/bpf/tail.bpf.c", ("VERSION=1",)),
    **{
        f"maps-{version}-{newer}": (ROOT / "tests/integration/bpf/maps.bpf.c", (*defines, f"NEWER={newer}"))
        for version, defines in {
            "1": ("VERSION=1",),
            "2": ("VERSION=2",),
            "more": ("VERSION=2", "MORE=1"),
            "moved": ("VERSION=2", "MOVED=1"),
        }.items()
        for newer in (0, 1, 2)
    },
    "variables-1": (ROOT / "tests/integration/bpf/maps.bpf.c", ("VERSION=1", "VARIABLES=1")),
    "variables-2": (ROOT / "tests/integration/bpf/maps.bpf.c", ("VERSION=2", "VARIABLES=1", "MOVED=1", "MORE=1")),
    "rings-1": (ROOT / "tests/integration/bpf/rings.bpf.c", ()),
    "rings-2": (ROOT / "tests/integration/bpf/rings.bpf.c", ("MORE=1",)),
    "second": (ROOT / "tests/integration/bpf/second.bpf.c", ()),
    "slow": (ROOT / "tests/integration/bpf/second.bpf.c", ("SLOW=20000000",)),
    "slower": (ROOT / "tests/integration/bpf/second.bpf.c", ("SLOW=150000000",)),
    "core": (ROOT / "tests/integration/bpf/core.bpf.c", ("RELOCATION=1",)),
    "kernel_memory": (ROOT / "tests/integration/bpf/kernel_memory.bpf.c", ()),
    "blocklist": (ROOT / "examples/blocklist/blocklist.bpf.c", ()),
    "slots": (ROOT / "tests/integration/bpf/slots.bpf.c", ()),
    "protocols": (ROOT / "examples/protocols/protocols.bpf.c", ()),
    "walkthrough": (ROOT / "tests/integration/bpf/walkthrough.bpf.c", ()),
}


def make_payload(work: pathlib.Path, target: str) -> pathlib.Path:
    """Returns a cpio archive of /init and /tests. `target`: clang's, which is the byte order of the objects."""
    folder = work / f"payload-{target}"
    tests = folder / "tests"
    plugins = tests / "ansible_collections/ebpf/fleet/plugins"
    leave = shutil.ignore_patterns("__pycache__")
    for each in ("modules", "module_utils"):
        shutil.copytree(ROOT / "plugins" / each, plugins / each, ignore=leave)
    core = pathlib.Path(ansible.__file__).parent
    shutil.copytree(core / "module_utils", tests / "ansible/module_utils", ignore=leave)
    (tests / "ansible/__init__.py").write_text(f'__version__ = "{ansible.__version__}"\n')  # as on a target
    for each in ("checks.py", "cost.py", "kills.py", "nics.py", "sharing.py", "upgrades.py"):
        shutil.copy(HERE / each, tests)
    for each in ("docs/coexistence.md", "demo/send.py", "tests/support/map_types.py"):
        shutil.copy(ROOT / each, tests)
    shutil.copy(HERE / "init.sh", folder / "init")
    (folder / "init").chmod(0o755)
    (tests / "objects").mkdir()
    for name, (source, defines) in OBJECTS.items():
        copy = tests / "objects" / f"{name}.bpf.c"
        shutil.copy(source, copy)
        flags = " ".join(f"-D{define}" for define in defines)
        makefile = ROOT / "files/bpf/Makefile"
        run("make", "-s", "-f", makefile, f"CFLAGS=-Wall -target {target} {flags}", f"{name}.bpf.o", cwd=copy.parent)
        copy.unlink()
    made = work / f"payload-{target}.cpio"
    archive(made, "-C", folder, "init", "tests")
    return made
