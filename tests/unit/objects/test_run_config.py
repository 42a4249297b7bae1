# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a program wants to stand in a dispatcher, from objects that clang compiles."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import Image, ObjectFacts
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.run_config import RunConfig, has_btf, run_config
from paths import ROOT

HEAD = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
BODY = 'SEC("xdp") int one(struct xdp_md *ctx) { return 2; }\n'


def compiled(folder: pathlib.Path, source: str, *flags: str) -> Image:
    path, made = folder / "x.bpf.c", folder / "x.bpf.o"
    path.write_text(source)
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    words: t.List[t.Any] = [
        "clang",
        "-O2",
        "-target",
        "bpf",
        f"-I/usr/include/{machine}-linux-gnu",
        *flags,
        "-c",
        path,
        "-o",
        made,
    ]
    subprocess.run(words, check=True)
    return Image(ObjectFacts(str(made), "sum"), made.read_bytes())


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ("", RunConfig(50, ("pass",))),
        ('struct { __uint(priority, 20); } _one SEC(".xdp_run_config");', RunConfig(20, ("pass",))),
        (
            'struct { __uint(XDP_DROP, 1); __uint(XDP_TX, 1); } _one SEC(".xdp_run_config");',
            RunConfig(50, ("drop", "tx")),
        ),
        ('struct { __uint(priority, 7); } _other SEC(".xdp_run_config");', RunConfig(50, ("pass",))),
    ],
)
def test_what_an_object_says(config: str, wanted: RunConfig, tmp_path: pathlib.Path) -> None:
    image = compiled(tmp_path, HEAD + config + BODY, "-g")
    assert has_btf(image) and run_config(image, "one") == wanted


def test_without_type_information(tmp_path: pathlib.Path) -> None:
    image = compiled(tmp_path, HEAD + BODY)
    assert (has_btf(image), run_config(image, "one")) == (False, RunConfig())


def test_the_counter_stands_first(tmp_path: pathlib.Path) -> None:
    image = compiled(tmp_path, (ROOT / "files/bpf/packet_count.bpf.c").read_text(), "-g")
    programs: t.Tuple[str, ...] = ("packet_count", "packet_count_frags")
    assert {run_config(image, each) for each in programs} == {RunConfig(5, ("pass",))}
