# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps as the source defines them. The BTF is clang's."""

from __future__ import annotations

import pathlib
import subprocess

from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.definitions import definition, definitions, inner_maps
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layouts
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf
from paths import BPF, ROOT


def test_maps_of_maps(tmp_path: pathlib.Path) -> None:
    (tmp_path / "slots.bpf.c").write_bytes((BPF / "slots.bpf.c").read_bytes())
    subprocess.run(["make", "-s", "-f", ROOT / "files/bpf/Makefile", "slots.bpf.o"], cwd=tmp_path, check=True)
    types = Layouts(read_elf((tmp_path / "slots.bpf.o").read_bytes(), "slots").sections[".BTF"])
    known = definitions(types)
    assert set(known) == {"first", "lists", "zones"}
    assert inner_maps(known) == {"first": "lists"}
    assert known["first"].shape == MapShape("lpm_trie", 8, 1, 200000, 1)
    assert known["lists"].shape._replace(value_size=4) == MapShape("array_of_maps", 4, 4, 2, 0)
    assert definition(types, known["lists"].inner) == known["first"]
    inner = definition(types, known["zones"].inner)
    assert inner.shape == MapShape("hash", 4, 8, 1024, 0)
    assert (types.type_name(known["zones"].key), types.type_name(inner.value)) == ("struct zone", "__u64")
