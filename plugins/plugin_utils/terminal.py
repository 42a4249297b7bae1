# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The terminal in which Ansible runs."""

from __future__ import annotations

import os
import sys

from ansible.utils.display import Display

BESIDE = 12  # characters with which the default callback surrounds a line of a list

# Asked as this is imported, which Ansible does before it makes the processes of tasks: those have no terminal.
IS_TERMINAL = sys.stdout.isatty()
LINES = os.get_terminal_size(sys.stdout.fileno()).lines if IS_TERMINAL else 0
CLEARED = "\x1b[H\x1b[2J" if IS_TERMINAL else ""  # to the upper left, and nothing below it


def width() -> int:
    """Of a line of a list that a task prints. Ansible takes what is no terminal for one of 79 columns."""
    return int(Display().columns) - BESIDE
