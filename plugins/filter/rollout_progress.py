# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a rollout in batches is."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout_progress
author: ebpf.fleet contributors (@ebpf-fleet)
version_added: 0.2.0
short_description: How far a rollout in batches is
description:
  - Makes one line at the end of a batch; how many hosts are done, have failed and are still to come, and about how long
    those will take, from the time that the batches took so far.
  - If so many hosts of the batch have failed that Ansible begins no other one, it says how many hosts are not touched.
  - The time is counted from the first task M(ebpf.fleet.xdp_program) of the run.
positional: batch, failed, serial, forks, max_fail_percentage
options:
  _input:
    description: All hosts of the play in its order, as C(ansible_play_hosts_all) has them.
    type: list
    elements: str
    required: true
  batch:
    description: Those of the current batch, as C(ansible_play_batch) has them.
    type: list
    elements: str
    required: true
  failed:
    description: Those that have failed or could not be reached.
    type: list
    elements: str
    required: true
  serial:
    description: The sizes of the batches, as for the keyword C(serial).
    type: raw
    required: true
  forks:
    description: On how many hosts Ansible works at once, as C(ansible_forks) says.
    type: int
    required: true
  max_fail_percentage:
    description: The same as the keyword C(max_fail_percentage) of the play.
    type: float
    default: 100
seealso:
  - module: ebpf.fleet.xdp_program
"""

EXAMPLES = r"""
- name: How far it is
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | ebpf.fleet.rollout_progress(ansible_play_batch, [], [1, '10%'], ansible_forks) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The line.
  type: str
  sample: 11 of 100 hosts done, 0 failed, 89 to come, about 3 min left
"""

import time
import typing as t

from ..plugin_utils.confirming_action import BEGAN
from ..plugin_utils.rollout import progress


def rollout_progress(
    hosts: t.Sequence[str],
    batch: t.Sequence[str],
    failed: t.Collection[str],
    serial: t.Any,
    forks: int,
    max_fail_percentage: t.Any = 100,
) -> str:
    sizes = serial if isinstance(serial, t.Sequence) and not isinstance(serial, str) else [serial]
    most_fail = float(str(max_fail_percentage).rstrip("%"))  # Ansible takes both forms
    return progress(hosts, batch, failed, sizes, forks, most_fail, time.monotonic() - BEGAN)


class FilterModule:
    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"rollout_progress": rollout_progress}
