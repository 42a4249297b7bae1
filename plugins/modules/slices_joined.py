#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: slices_joined
short_description: Make one result of what was found on a fleet in slices
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Reads what several runs of the playbooks C(ebpf.fleet.facts), C(ebpf.fleet.report), C(ebpf.fleet.preflight) or
    C(ebpf.fleet.deploy) have written with C(-e xdp_slice=FILE), and makes of it what one run would have made of all
    hosts.
  - Runs on the controller only, and asks no host. The playbook C(ebpf.fleet.report) runs it with
    C(-e xdp_report_from=DIR).
  - It fails, and writes nothing, if two slices of the same playbook have the same host, or a file was not written by a
    slice. It does not fail because of what was found on hosts; RV(problems) says that.
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
  preflight:
    description: Where to write what the playbook C(ebpf.fleet.preflight) does with C(xdp_preflight_report).
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
hosts:
  description: How many hosts there are in the slices and in O(expected).
  returned: success
  type: int
  sample: 1000
not_read:
  description: Why hosts were not read, by host.
  returned: success
  type: dict
  sample: {web3: no slice has this host}
blocked:
  description: The hosts on which something stops a deployment, as preflight has found.
  returned: success
  type: list
  elements: str
  sample: []
failed_hosts:
  description: The hosts on which a deployment has failed.
  returned: success
  type: list
  elements: str
  sample: []
problems:
  description: A sentence for each of RV(not_read), RV(blocked) and RV(failed_hosts) that has hosts.
  returned: success
  type: list
  elements: str
  sample: ["1 of 1000 hosts in no slice: web3"]
lines:
  description: What one run of deploy and of preflight prints in the end.
  returned: success
  type: list
  elements: str
  sample: ["644ee9a75611c6d0  web1 eth0, web2 eth0"]
"""
