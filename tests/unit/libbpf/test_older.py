# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libbpf.so.0 does otherwise. tests/kernels has a guest with libbpf 0.3."""

from __future__ import annotations

import os
import pathlib
import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import older


def test_no_file_of_ours_is_closed_with_an_object(tmp_path: pathlib.Path) -> None:
    """libbpf 0.3 closes 0 with an object that has a map of maps and was not loaded."""
    stdin = os.dup(0)
    ours = os.open(tmp_path, os.O_RDONLY)
    os.dup2(ours, 0)

    def close(_handle: t.Any) -> None:
        os.close(0)

    try:
        older._without_closing_0(close)(None)
        assert os.path.samestat(os.fstat(0), os.fstat(ours))
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
        os.close(ours)
