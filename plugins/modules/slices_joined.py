#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: slices_joined
short_description: Make one report of a fleet that was read in slices
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Reads what several runs of the playbooks C(ebpf.fleet.facts) or C(ebpf.fleet.report) have written with
    C(-e xdp_slice=FILE), and makes of it what one run would have made of all hosts.
  - Runs on the controller only, and asks no host. The playbook C(ebpf.fleet.report) runs it with
    C(-e xdp_report_from=DIR).
  - It fails, and writes nothing, if two slices have the same host, or a file was not written by a slice.
  - It fails after it has written all if a host was not read, or is in O(expected) and in no slice.
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
  folder:
    description: The folder with the files of the slices, which end in C(.json).
    type: path
    required: true
  page:
    description: Where to write the page, as P(ebpf.fleet.fleet_report#filter) makes it.
    type: path
  rows:
    description: Where to write the rows, as the playbook C(ebpf.fleet.facts) does with C(xdp_counter_report).
    type: path
  expected:
    description: The names of all hosts. A host that no slice has counts as not read.
    type: list
    elements: str
    default: []
seealso:
  - plugin: ebpf.fleet.slice_of
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Join what the slices have read
  ebpf.fleet.slices_joined:
    folder: "{{ playbook_dir }}/rows"
    page: "{{ playbook_dir }}/fleet.html"
    expected: "{{ groups.all }}"
"""

RETURN = r"""
slices:
  description: How many files there were.
  returned: success
  type: int
  sample: 4
read:
  description: How many hosts were read.
  returned: success
  type: int
  sample: 998
not_read:
  description: Why hosts were not read, by host.
  returned: success
  type: dict
  sample: {web3: no slice has this host}
"""
