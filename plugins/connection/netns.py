# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network namespace of the local machine as a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: netns
author: ebpf.fleet contributors (@ebpf-fleet)
version_added: 0.1.0
short_description: Run tasks in a network namespace of this machine
description:
  - Treats a named network namespace, as created by C(ip netns add), as a host.
  - Only the network namespace is entered. C(ip netns exec) would also mount a new C(/sys), which hides bpffs.
  - Files, processes and users are those of this machine. Ansible must run as root.
notes:
  - All network namespaces of a machine share bpffs, so the modules of this collection pin below C(PIN_ROOT@NAME).
extends_documentation_fragment:
  - connection_pipelining
  - ebpf.fleet.netns
"""

import os
import shlex
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as LocalConnection


class Connection(LocalConnection):
    """The local connection, with every command run through nsenter."""

    transport = "ebpf.fleet.netns"

    def exec_command(
        self, cmd: str, in_data: t.Optional[bytes] = None, sudoable: bool = True
    ) -> t.Tuple[int, bytes, bytes]:
        name = self.get_option("netns")
        path = os.path.join("/run/netns", name)
        if "/" in name or name in ("", ".", "..") or not os.path.exists(path):
            raise AnsibleConnectionFailure(
                f"there is no network namespace {name!r}; `ip netns list` lists the existing ones"
            )
        if os.geteuid() != 0:
            raise AnsibleConnectionFailure(f"entering the network namespace {name} needs root; run ansible with sudo")
        entered = shlex.join(["nsenter", f"--net={path}", "--", "/bin/sh", "-c", cmd])
        return t.cast("tuple[int, bytes, bytes]", super().exec_command(entered, in_data=in_data, sudoable=sudoable))
