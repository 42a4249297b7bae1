#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_counter_watch
short_description: Show the counters of a fleet again and again
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Reads the counters of all hosts of the play, prints them as a table, and begins again after some time, until it is
    interrupted with Ctrl-C. The interfaces with the highest rates come first.
  - On a terminal the table takes the place of the one before, and has as many rows as fit. Without a terminal one
    follows the other.
  - A host that cannot be read is named below the table with the reason, and asked again in the next round.
  - It reads as the playbook C(ebpf.fleet.facts) does, by the variables C(xdp_counter_name),
    C(xdp_counter_interval) (1 second), C(xdp_counter_pin_root) and C(xdp_counter_become).
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed, or possibly needs changing in check_mode, when in diff mode.
    support: none
  platform:
    description: Target OS/families that can be operated against.
    platforms: linux
    support: full
options:
  seconds:
    description: From the beginning of one round to that of the next. A round that takes longer is followed by the next.
    type: float
    required: true
  times:
    description:
      - How many rounds; 0 for no end.
      - After the last one, the task fails if that could not read a host.
    type: int
    default: 0
seealso:
  - module: ebpf.fleet.xdp_counter_facts
  - plugin: ebpf.fleet.counter_table
    plugin_type: filter
"""

EXAMPLES = r"""
- name: A minute of packets
  ebpf.fleet.xdp_counter_watch:
    seconds: 10
    times: 6
"""

RETURN = r"""
rounds:
  description: How often the counters were read.
  returned: always
  type: int
  sample: 6
"""
