# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents have a reader type and write, as it is printed there."""

from __future__ import annotations

import pathlib
import re
import textwrap
import typing as t


class Line(t.NamedTuple):
    """A command. `prompt`: "$", or "#" for root. `shown`: the output that the page shows below it."""

    prompt: str
    command: str
    shown: t.List[str]


class Block(t.NamedTuple):
    """The text between two fences, without its indentation."""

    language: str
    text: str

    def lines(self) -> t.List[Line]:
        """Of a block of commands."""
        found: t.List[Line] = []
        for each in self.text.splitlines():
            if each[:2] in ("$ ", "# "):
                found.append(Line(each[0], each[2:], []))
            else:
                found[-1].shown.append(each)
        return found


def section(page: pathlib.Path, heading: str) -> str:
    """The text below a heading of the second level, to the next one."""
    (text,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(), re.M | re.S)
    return str(text)


def blocks(text: str) -> t.List[Block]:
    found = re.findall(r"^( *)```(\w+)\n(.*?)^\1```$", text, re.M | re.S)
    return [Block(language, textwrap.dedent(inside)) for _indent, language, inside in found]


def queries(text: str) -> t.Dict[str, str]:
    """Of a table of panels: the query of each title."""
    return dict(re.findall(r"^\| (.+?) \| `(.+)` \|$", text, re.M))
