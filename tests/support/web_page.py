# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an HTML page shows, by a parser that we did not write."""

from __future__ import annotations

import html.parser
import pathlib
import typing as t


class WebPage(html.parser.HTMLParser):
    """`tables`: the texts of the cells by row, the headings first, by id. `tags`: each with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: t.Dict[str, t.List[t.List[str]]] = {}
        self.tags: t.List[t.Tuple[str, t.Dict[str, t.Optional[str]]]] = []
        self.text: t.List[str] = []
        self._rows: t.List[t.List[str]] = []
        self._in_cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: t.List[t.Tuple[str, t.Optional[str]]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "table":
            self._rows = self.tables.setdefault(given.get("id") or f"table {len(self.tables)}", [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._in_cell = True
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self._rows[-1][-1] += data
        self.text.append(data)

    def rows(self, table: str) -> t.List[t.Dict[str, str]]:
        """The rows of a table by heading."""
        headings, *rows = self.tables[table]
        assert all(len(row) == len(headings) for row in rows)
        return [dict(zip(headings, (cell.strip() for cell in row))) for row in rows]


def read_page(path: t.Union[str, pathlib.Path]) -> WebPage:
    return WebPage(pathlib.Path(path).read_text(encoding="utf-8"))
