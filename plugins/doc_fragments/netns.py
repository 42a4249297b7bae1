# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the connection netns, and of those that are made from it."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  netns:
    description: Name of the network namespace.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
  become_success_timeout:
    description: Seconds to wait for become to succeed. A value below 1 means the default.
    type: int
    default: 10
    vars:
      - name: ansible_netns_become_success_timeout
  become_strip_preamble:
    description: Remove what become prints before the output of the command itself.
    type: bool
    default: true
    vars:
      - name: ansible_netns_become_strip_preamble
"""
