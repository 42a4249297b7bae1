# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that read counters."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  name:
    description:
      - The name under which the program is pinned.
    type: str
    default: packet_count
  interfaces:
    description:
      - The interfaces. The default is all interfaces on which O(name) is deployed.
    type: list
    elements: str
  allow_unsafe_paths:
    description:
      - Read a O(pin_root) that users other than root can write to, or that is in a folder that they can write to.
    type: bool
    default: false
    version_added: 0.2.0
"""
