# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ebpf.fleet.netns, but cut at the first reset or after the first command, and working again CUT_SECONDS later."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cut_netns
author: ebpf.fleet contributors (@ebpf-fleet)
short_description: The connection netns, interrupted for some seconds
description:
  - Fails for the number of seconds in the environment variable C(CUT_SECONDS), from the first reset on.
  - With C(CUT_AFTER) the interruption begins after the first command, whose result still arrives.
  - With C(CUT_BREAKS) the connection breaks during the first command: the command runs, but its result is lost.
extends_documentation_fragment:
  - connection_pipelining
  - ebpf.fleet.netns
"""

import os
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.ebpf.fleet.plugins.connection.netns import Connection as Netns


class Connection(Netns):
    """Fails for some seconds; otherwise works like netns."""

    transport = "cut_netns"
    _cut_until: t.Optional[float] = None

    def reset(self) -> None:
        self._cut()
        super().reset()

    def _cut(self) -> None:
        if self._cut_until is None:
            self._cut_until = time.monotonic() + float(os.environ["CUT_SECONDS"])

    def exec_command(
        self, cmd: str, in_data: t.Optional[bytes] = None, sudoable: bool = True
    ) -> t.Tuple[int, bytes, bytes]:
        if self._cut_until and time.monotonic() < self._cut_until:
            raise AnsibleConnectionFailure("ssh: connect to host: cut")
        done = super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        if in_data and not self._cut_until and "CUT_AFTER" in os.environ:
            self._cut()
        if in_data and not self._cut_until and "CUT_BREAKS" in os.environ:
            self._cut()
            raise AnsibleConnectionFailure(f"Shared connection to {self.get_option('netns')} closed.")
        return done
