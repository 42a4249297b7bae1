# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes, requirements and options that several modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
requirements:
  - Python 3.8 or later on the target; 3.9 or later with ansible-core 2.20 or later on the controller
  - libbpf 0.3 or later on the target (package libbpf1 on Debian, Ubuntu and SUSE, libbpf0 on Debian 11 and Ubuntu
    20.04 and 22.04, libbpf on Fedora, RHEL and Amazon Linux), which most current distributions install with iproute2
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff
      mode.
  platform:
    description: Target OS/families that can be operated against.
    platforms: linux
    support: full
"""

    PIN_ROOT = r"""
options:
  pin_root:
    description:
      - The folder in bpffs below which everything is pinned, as C(PIN_ROOT/NAME/INTERFACE/{link,program,maps/MAP\}).
      - bpffs does not allow a dot in a name, so V(eth0.10) is written C(eth0%2E10).
      - In a network namespace other than the machine's own, C(@NAME) is appended if it is named in C(/run/netns), and
        otherwise C(@%COOKIE), with the number that the kernel gave only to that namespace. All network namespaces of a
        machine share bpffs, and each may have an V(eth0). If O(pin_root) is itself where a bpffs is mounted, this is a
        folder in it, as in C(/sys/fs/bpf/@NAME).
    type: path
    default: /sys/fs/bpf/ebpf_fleet
"""

    # A module that only reads: it changes nothing on the target.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
"""

    # Together with INFO_MODULE.
    FACTS = r"""
options: {}
attributes:
  facts:
    description: Action returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
"""
