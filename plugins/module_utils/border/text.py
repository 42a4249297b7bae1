# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of a host as text that can do nothing on a terminal. Pure: the controller imports it too."""

from __future__ import annotations

import typing as t

INDENT = "    "


def printable(text: str, keep: str = "") -> str:
    """Each character that is no visible one becomes \\x…, as do ESC, line breaks and what changes the direction."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def one_line(value: t.Any) -> str:
    """Anything as one line: nobody can add a row to a table with it."""
    return printable(" ".join(str(value).split()))


def message(text: str) -> str:
    """A message that may have several lines. Only its first begins at the margin, where Ansible's own lines begin."""
    return printable(text.strip("\n"), keep="\n\t").replace("\n", f"\n{INDENT}")
