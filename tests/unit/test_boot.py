# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restoring programs after a reboot: the names of units, and the file that they run."""

from __future__ import annotations

import io
import pathlib
import zipfile

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils import boot
from ansible_collections.ebpf.fleet.plugins.module_utils.persist import systemd

PLUGINS = pathlib.Path(__file__).parents[2] / "plugins"


@pytest.mark.parametrize(
    ("interface", "instance"),  # as from systemd-escape(1)
    [("eth0", "eth0"), ("eth0.10", "eth0.10"), ("br-lan", r"br\x2dlan"), ("ä", r"\xc3\xa4"), (".a", r"\x2ea")],
)
def test_units_are_named_as_systemd_escapes_them(interface: str, instance: str) -> None:
    assert systemd.unit_of(interface) == f"ebpf-fleet@{instance}.service"


def test_the_file_has_the_sources_of_the_modules() -> None:
    with zipfile.ZipFile(io.BytesIO(boot.runner())) as archive:
        names = archive.namelist()
        for name in ("boot", "deploy/change", "deploy/plan", "deploy/apply", "libbpf/__init__", "libbpf/objects"):
            assert archive.read(f"ebpf_fleet/{name}.py") == (PLUGINS / f"module_utils/{name}.py").read_bytes()
    assert "__main__.py" in names and len(names) == len(set(names))
