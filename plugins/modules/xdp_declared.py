#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_declared
short_description: Deploy a program as the roles declare it
version_added: 0.2.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - The task of P(ebpf.fleet.xdp#role) and P(ebpf.fleet.xdp_counter#role) that attaches a program. In a play of your
    own, use the roles, or M(ebpf.fleet.xdp_program).
  - Runs M(ebpf.fleet.xdp_program) on the host, with what the controller has; an object that was compiled elsewhere, or
    that is compiled here, once in a run for all hosts of a byte order.
  - Sends an object only to hosts that do not have it.
  - The C(module_defaults) of M(ebpf.fleet.xdp_program) hold for it too.
extends_documentation_fragment:
  - ebpf.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  program:
    description:
      - An item of C(xdp_programs) in P(ebpf.fleet.xdp#role), with all that holds for it. The roles make it.
    type: dict
    required: true
seealso:
  - module: ebpf.fleet.xdp_program
"""

EXAMPLES = r"""
- name: Deploy the packet counter
  ansible.builtin.import_role:
    name: ebpf.fleet.xdp_counter
  vars:
    xdp_counter_build: controller
"""

RETURN = r"""
attachments:
  description: As RV(ebpf.fleet.xdp_program#module:attachments), like all else that M(ebpf.fleet.xdp_program) returns.
  returned: always
  type: list
  elements: dict
"""
