# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that carries a sentence for the user."""

from __future__ import annotations


class FleetError(Exception):
    """What is wrong, with what, in whose words, and the remedy: one paragraph for the user."""
