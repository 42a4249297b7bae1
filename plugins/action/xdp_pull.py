# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_pull on the controller: runs the module, and checks its answer."""

from __future__ import annotations

from ..plugin_utils.checked_action import CheckedAction


class ActionModule(CheckedAction):
    pass
