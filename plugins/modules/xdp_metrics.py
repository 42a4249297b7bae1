#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_metrics
short_description: Have a host write Prometheus metrics of its XDP programs
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Installs a systemd timer that writes one file for the textfile collector of Prometheus's node_exporter. There is no
    agent; each tick runs this collection's own code from one file, as after a reboot.
  - Of each program that this collection has deployed, the file has the counters of packet_count, the program's tag
    and a digest of its constants, whether it is attached as it was deployed, and how full its maps are.
  - Other maps are written as O(maps) declares. Labels come from members of the key, and values from members of the
    value, by BTF.
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.attributes.pin_root
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  state:
    description:
      - V(present) installs the timer, or changes it.
      - V(absent) removes the timer and the file, and all else that V(present) has written.
    type: str
    choices: [present, absent]
    default: present
  removed_programs:
    description:
      - Names of programs that were removed, or in check mode would have been. O(state=absent) then leaves everything
        as it is while a program with a different name is deployed in O(pin_root).
      - By default O(state=absent) removes the metrics whatever is deployed.
    type: list
    elements: str
  interval:
    description:
      - Seconds between two runs. Give at most the interval in which Prometheus scrapes the host.
    type: int
    default: 15
  textfile_directory:
    description:
      - The directory of node_exporter's option C(--collector.textfile.directory).
      - V(auto) takes the first that exists of C(/var/lib/prometheus/node-exporter) (Debian's package),
        C(/var/lib/node_exporter/textfile_collector) (RPM packages) and C(/var/lib/node_exporter) (the role
        prometheus.prometheus.node_exporter).
    type: path
    default: auto
  maps:
    description:
      - Maps of deployed programs that are to be written as metrics. Others are not.
    type: list
    elements: dict
    default: []
    suboptions:
      program:
        description:
          - Name of the program, as O(ebpf.fleet.xdp_program#module:name).
        type: str
        required: true
      map:
        description:
          - Name of the map in the C file. It must have BTF, and a type whose entries can be read, such as a hash, an
            array or an LPM trie. Values of per-CPU maps are summed.
        type: str
        required: true
      metric:
        description:
          - The metric is named C(ebpf_fleet_METRIC), followed by the member of the value if that is a struct, and by
            C(_total) if it is a counter. By default it is the name of the map.
        type: str
      help:
        description:
          - What the metric tells, in a sentence.
        type: str
      type:
        description:
          - V(counter) for values that only grow, V(gauge) for others.
        type: str
        choices: [counter, gauge]
        default: counter
      key_label:
        description:
          - Label of the key, if that has no members. A key with members has a label for each.
        type: str
        default: key
      key_names:
        description:
          - What is written instead of a key that has no members.
        type: dict
        default: {}
  series_limit:
    description:
      - Entries of a map that are written at most, on each interface. C(ebpf_fleet_metrics_series_dropped) has the
        number of the others.
    type: int
    default: 1000
seealso:
  - module: ebpf.fleet.xdp_counter_facts
  - module: ebpf.fleet.bpf_map_info
"""

EXAMPLES = r"""
- name: Write metrics for the node_exporter that is installed here
  ebpf.fleet.xdp_metrics:

- name: Write what a filter does with packets, too
  ebpf.fleet.xdp_metrics:
    maps:
      - program: blocklist
        map: verdicts
        metric: verdict
        help: Packets by verdict.
        key_label: reason
        key_names:
          0: passed
          1: allowed
          2: blocked

- name: Remove them
  ebpf.fleet.xdp_metrics:
    state: absent

- name: Remove them if blocklist was the last program
  ebpf.fleet.xdp_metrics:
    state: absent
    removed_programs: [blocklist]
"""

RETURN = r"""
file:
  description: The file that node_exporter reads; null if there are no metrics, as after O(state=absent).
  returned: always
  type: str
  sample: /var/lib/prometheus/node-exporter/ebpf_fleet.prom
series:
  description: Number of samples of programs and maps.
  returned: always
  type: int
  sample: 12
problems:
  description: What cannot be read, and why. The timer goes on without it.
  returned: always
  type: list
  elements: str
  sample: []
steps:
  description: What was done, or in check mode would be done.
  returned: always
  type: list
  elements: str
  sample:
    - write /var/lib/ebpf_fleet/metrics.json
    - write /var/lib/prometheus/node-exporter/ebpf_fleet.prom
    - start the timer
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.metrics.declared import KINDS, declared_by
from ..module_utils.metrics.installation import install, uninstall
from ..module_utils.metrics.writer import runner

MAPPED = {
    "program": {"type": "str", "required": True},
    "map": {"type": "str", "required": True},
    "metric": {"type": "str"},
    "help": {"type": "str"},
    "type": {"choices": list(KINDS), "default": "counter"},
    "key_label": {"type": "str", "default": "key", "no_log": False},
    "key_names": {"type": "dict", "default": {}, "no_log": False},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"choices": ["present", "absent"], "default": "present"},
            "removed_programs": {"type": "list", "elements": "str"},
            "interval": {"type": "int", "default": 15},
            "textfile_directory": {"type": "path", "default": "auto"},
            "maps": {"type": "list", "elements": "dict", "options": MAPPED, "default": []},
            "series_limit": {"type": "int", "default": 1000},
            "pin_root": {"type": "path", "default": "/sys/fs/bpf/ebpf_fleet"},
        },
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        entry.require_root("installing a systemd timer")
        if module.params["state"] == "absent":
            result = uninstall(module.params["removed_programs"], module.params["pin_root"], module.check_mode)
        else:
            lib = entry.require_libbpf()
            result = install(lib, declared_by(module.params), runner(), module.check_mode)
        module.exit_json(**result)


if __name__ == "__main__":
    main()
