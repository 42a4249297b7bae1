#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_counter_facts
short_description: Read packet counters and trace output of an XDP program
version_added: 0.1.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Reads the counters that M(ebpf.fleet.xdp_program) has pinned, on all interfaces of a host, and on request the
    program's trace output.
  - Counters are read from a per-CPU array named C(counters) whose value consists of two 64-bit numbers, packets and
    bytes, as in C(packet_count.bpf.c). For a program without such a map C(packets) and C(bytes) are null.
  - Trace lines come from a separate tracefs instance, so no other reader of C(trace_pipe) loses a line.
  - C(packet_count) prints only while somebody reads, and its lines are recognised among all others. The lines of other
    programs cannot be recognised, so for them all lines of the host are returned.
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.attributes.info_module
  - ebpf.fleet.attributes.facts
  - ebpf.fleet.attributes.pin_root
  - ebpf.fleet.counter
attributes:
  check_mode:
    details:
      - In check mode nothing is traced.
options:
  interval:
    description: Seconds between two readings, from which rates are computed. With V(0) there are no rates.
    type: float
    default: 0
  trace_seconds:
    description:
      - How many seconds to read the program's trace output. V(0) does not trace.
      - Tracing is switched off afterwards, even if this module is killed.
    type: float
    default: 0
  trace_lines:
    description: Stop tracing after this many lines.
    type: int
    default: 100
  trace_every:
    description: While tracing, print every Nth packet of each CPU.
    type: int
    default: 1
seealso:
  - module: ebpf.fleet.xdp_program
  - plugin: ebpf.fleet.counter_rows
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the counters
  ebpf.fleet.xdp_counter_facts:

- name: Show them
  ansible.builtin.debug:
    var: ansible_facts.xdp_counter.totals

- name: Packets per second, and a trace of every 1000th packet for two seconds
  ebpf.fleet.xdp_counter_facts:
    interval: 2
    trace_seconds: 2
    trace_every: 1000
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to ansible_facts.
  returned: always
  type: dict
  contains:
    xdp_counter:
      description: What was read.
      type: dict
      returned: always
      sample:
        collected_at: "2026-02-12T16:55:51Z"
        boot_id: 0d7c1f4c-6e1c-4d52-93d5-9a5b1f7d4f0a
        program: packet_count
        totals:
          packets: 189
          bytes: 18522
        interfaces:
          eth0:
            packets: 189
            bytes: 18522
            per_cpu:
              - cpu: 0
                packets: 189
                bytes: 18522
            mode: native
            exact: true
            inexact_because: null
            program_id: 238
            program_name: packet_count
            tag: 644ee9a75611c6d0
            variables_digest: 0f343b0931126a20
            loaded_at: "2026-02-12T16:40:02Z"
            attached: true
            moved: false
      contains:
        collected_at:
          description: Time of the reading, ISO 8601 in UTC.
          type: str
        boot_id:
          description: The kernel's id of this boot; counts start at zero after a reboot.
          type: str
        program:
          description: The O(name).
          type: str
        totals:
          description: Sums over all interfaces; null if none has counters.
          type: dict
          contains:
            packets:
              description: Packets received.
              type: int
            bytes:
              description: Bytes received, Ethernet header included.
              type: int
        interfaces:
          description: The interfaces, by name.
          type: dict
          contains:
            packets:
              description: Packets received on all CPUs.
              type: int
            bytes:
              description: Bytes received, Ethernet header included.
              type: int
            per_cpu:
              description: The CPUs that have counted packets.
              type: list
              elements: dict
            packets_per_second:
              description: Rate of packets over O(interval).
              type: float
              returned: if O(interval) is above 0
            bytes_per_second:
              description: Rate of bytes over O(interval).
              type: float
              returned: if O(interval) is above 0
            mode:
              description: V(native), V(generic) or V(offload); null if the program is not attached.
              type: str
            exact:
              description: Whether the program sees each frame as it was on the wire, on this interface in this mode. If
                not, one packet of the count may be several frames. Null if the program is not attached.
              type: bool
              version_added: 0.2.0
            inexact_because:
              description: Why C(exact) is false, and where to count instead; else null.
              type: str
              version_added: 0.2.0
            program_id:
              description: The kernel's id of the program.
              type: int
            program_name:
              description: The kernel's name of the program, the first 15 characters.
              type: str
              version_added: 0.2.0
            tag:
              description: The kernel's digest of the program's instructions.
              type: str
            variables_digest:
              description: Tells programs with the same tag apart whose constants have different values, as in
                RV(ebpf.fleet.xdp_program#module:attachments[].variables_digest). Null if there are no constants.
              type: str
              version_added: 0.2.0
            loaded_at:
              description: When the program was loaded, ISO 8601 in UTC.
              type: str
            attached:
              description: Whether the program is attached to the interface of this name, in this network namespace.
              type: bool
            moved:
              description: Whether the program runs and counts on an interface of a different network namespace. Either
                the interface was moved there, or the pins are of a container that shares this bpffs.
              type: bool
              version_added: 0.2.0
        run:
          description:
            - Identifies the run of Ansible on the controller that read this. By it, P(ebpf.fleet.counter_rows#filter)
              recognises what a fact cache has of earlier runs.
          type: str
          returned: with a fact cache (C(fact_caching)); not with C(async), nor if C(gather_facts) runs this module
          version_added: 0.2.0
          sample: ansible-local-4711x8k2q1ab
        trace:
          description: The trace output.
          type: dict
          returned: if O(trace_seconds) is above 0
          contains:
            lines:
              description: The lines, in order. C(timestamp) is in seconds since boot.
              type: list
              elements: dict
              sample:
                - task: ping
                  pid: 4711
                  cpu: 1
                  timestamp: 21068.249939
                  message: ifindex 2 packets 189
            lost:
              description: Number of lines lost because they were printed faster than they could be read.
              type: int
            seconds:
              description: How long tracing took.
              type: float
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.counting.counters import OPTIONS
from ..module_utils.counting.facts import facts


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "interval": {"type": "float", "default": 0},
            "trace_seconds": {"type": "float", "default": 0},
            "trace_lines": {"type": "int", "default": 100},
            "trace_every": {"type": "int", "default": 1},
        },
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        entry.require_root("reading BPF maps")
        module.exit_json(ansible_facts={"xdp_counter": facts(module, entry.require_libbpf())})


if __name__ == "__main__":
    main()
