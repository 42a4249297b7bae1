# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The refusal of an object that needs the kernel's BTF. What clang writes: tests/integration/test_kernel_btf.py."""

from __future__ import annotations

import struct
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.objects import kernel_btf
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import Elf

INT, FUNC, FUNC_PROTO, VAR, CONST, DATASEC = 1, 12, 13, 14, 10, 15


def btf(*types: t.Tuple[str, int, int, t.Sequence[int]], length: int = 1) -> bytes:
    """Of name, kind, target or size, and the words that follow; `length`: that of the last, a section."""
    strings, body = b"\0", b""
    for name, kind, target, words in types:
        info = kind << 24 | (length if kind == DATASEC else 0)
        body += struct.pack(f"={3 + len(words)}I", len(strings) if name else 0, info, target, *words)
        strings += name.encode() + b"\0"
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings)) + body + strings


KFUNC = btf(("", FUNC_PROTO, 0, []), ("bpf_kfunc", FUNC, 1, []), (".ksyms", DATASEC, 0, [2, 0, 0]))
TYPED = btf(("int", INT, 4, [32]), ("", CONST, 1, []), ("nr", VAR, 2, [2]), (".ksyms", DATASEC, 0, [3, 0, 0]))
UNTYPED = btf(("", CONST, 0, []), ("init_net", VAR, 1, [2]), (".ksyms", DATASEC, 0, [2, 0, 0]))
OTHER = btf(("int", INT, 4, [32]), ("nr", VAR, 1, [1]), (".data", DATASEC, 4, [2, 0, 4]))
DAMAGED = btf((".ksyms", DATASEC, 0, [77, 0, 0]))


def ext(relocations: int) -> bytes:
    return struct.pack("=HBBIIIIIII", 0xEB9F, 1, 0, 32, 0, 8, 8, 8, 16, relocations)


@pytest.mark.parametrize(
    ("sections", "needs"),
    [
        ({}, []),
        ({".BTF.ext": ext(0), ".BTF": OTHER}, []),
        ({".BTF.ext": ext(24)[:24]}, []),  # the header of clang before 10
        ({".BTF.ext": ext(24)}, ["its CO-RE relocations"]),
        ({".BTF": KFUNC}, ["the kernel symbols bpf_kfunc"]),
        ({".BTF": TYPED}, ["the kernel symbols nr"]),
        ({".BTF": UNTYPED}, []),
        ({".BTF": DAMAGED}, []),
        ({".BTF": KFUNC, ".BTF.ext": ext(24)}, ["its CO-RE relocations", "the kernel symbols bpf_kfunc"]),
    ],
)
def test_what_needs_it(monkeypatch: pytest.MonkeyPatch, sections: t.Dict[str, bytes], needs: t.List[str]) -> None:
    monkeypatch.setattr(kernel_btf, "_ON_DISK", ())
    elf = Elf("", sections, "little")
    assert kernel_btf.needs_kernel_btf(elf) == needs
    if not needs:
        kernel_btf.check_kernel_btf(elf, "/opt/a.bpf.o")
        return
    with pytest.raises(FleetError, match=f"BTF. of the kernel, for {' and '.join(needs)}, and this kernel"):
        kernel_btf.check_kernel_btf(elf, "/opt/a.bpf.o")


def test_btf_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """libbpf finds that of an uncompressed kernel too."""
    monkeypatch.setattr(kernel_btf, "_ON_DISK", ("/nowhere/{0}", "/proc/version"))
    kernel_btf.check_kernel_btf(Elf("", {".BTF.ext": ext(24)}, "little"), "/opt/a.bpf.o")
