# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ebpf.fleet.netns, but it records each command and how many bytes it sends to the host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: counted_netns
author: ebpf.fleet contributors (@ebpf-fleet)
short_description: The connection netns, with a count of its commands and bytes
description:
  - For each command and each file that it sends, appends a line to the file named in the environment variable
    C(BENCH_COUNTS).
extends_documentation_fragment:
  - connection_pipelining
  - ebpf.fleet.netns
"""

import os
import typing as t

from ansible_collections.ebpf.fleet.plugins.connection.netns import Connection as Netns


class Connection(Netns):
    """Counts; otherwise works like netns."""

    transport = "counted_netns"

    def exec_command(
        self, cmd: str, in_data: t.Optional[bytes] = None, sudoable: bool = True
    ) -> t.Tuple[int, bytes, bytes]:
        self._count(len(cmd) + len(in_data or b""))
        return super().exec_command(cmd, in_data=in_data, sudoable=sudoable)

    def put_file(self, in_path: str, out_path: str) -> None:
        self._count(os.path.getsize(in_path))
        super().put_file(in_path, out_path)

    def _count(self, size: int) -> None:
        with open(os.environ["BENCH_COUNTS"], "a", encoding="ascii") as file:
            file.write(f"{size}\n")
