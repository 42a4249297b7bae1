# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel without BTF: said beforehand, and an object that needs it is refused by a sentence, with nothing changed."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.elf import read_elf
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.kernel_btf import needs_kernel_btf
from host import Host

Compiled = t.Callable[..., str]
# Modules run in a mount namespace in which /sys/kernel/btf is empty.
WITHOUT_BTF = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$@"', "sh")
SENTENCE = "needs the type information (BTF) of the kernel, for"

NEEDS = [
    ("RELOCATION", ["its CO-RE relocations"]),
    ("FUNCTION", ["the kernel symbols bpf_xdp_metadata_rx_hash"]),
    ("VARIABLE", ["the kernel symbols nr_cpu_ids"]),
    ("UNTYPED", []),
    ("NOTHING", []),
]


@pytest.mark.parametrize(("define", "needs"), NEEDS)
def test_what_needs_it(compiled: Compiled, define: str, needs: t.List[str]) -> None:
    path = compiled("core", **{define: 1})
    assert needs_kernel_btf(read_elf(pathlib.Path(path).read_bytes(), path)) == needs


def test_our_counter_does_not_need_it(compiled: Compiled) -> None:
    path = compiled("packet_count")
    assert needs_kernel_btf(read_elf(pathlib.Path(path).read_bytes(), path)) == []


@pytest.mark.parametrize(("define", "needs"), [each for each in NEEDS if each[1]])
def test_refused_where_there_is_none(host: Host, compiled: Compiled, define: str, needs: t.List[str]) -> None:
    before = host.state()
    options = {"object": compiled("core", **{define: 1}), "interfaces": ["eth0"]}
    message = host.refused("xdp_program", wrap=WITHOUT_BTF, **options)
    assert f"{SENTENCE} {needs[0]}, and this kernel (" in message and "CONFIG_DEBUG_INFO_BTF" in message
    assert host.refused("xdp_program", check=True, wrap=WITHOUT_BTF, **options) == message
    assert host.state() == before


def test_what_needs_none_is_loaded(host: Host, compiled: Compiled) -> None:
    result = host.ok("xdp_program", wrap=WITHOUT_BTF, object=compiled("packet_count"), interfaces=["eth0"])
    assert result["attachments"][0]["mode"] == "native"
    host.ok("xdp_program", object=compiled("core", RELOCATION=1), interfaces=["eth0"], maps="reset")


def test_bpf_facts_says_it(host: Host) -> None:
    found = host.ok("bpf_facts", wrap=WITHOUT_BTF)["ansible_facts"]["bpf"]
    assert found["btf"] is False and any("CONFIG_DEBUG_INFO_BTF" in each for each in found["problems"])
    assert found["jit"]["available"] is True
