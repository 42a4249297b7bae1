# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exception whose text is a message for the user."""

from __future__ import annotations


class FleetError(Exception):
    """One paragraph for the user: what failed, on what, the kernel's or tool's own words, and the remedy."""
