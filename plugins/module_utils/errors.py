# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exception whose text is a message for the user, and errors of others as words."""

from __future__ import annotations

import re


class FleetError(Exception):
    """One paragraph for the user: what failed, on what, the kernel's or tool's own words, and the remedy."""


def said(error: BaseException) -> str:
    """The error's own text, without the number with which that of an OSError begins."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error))
