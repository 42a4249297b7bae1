# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.border.text import message, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("eth0 naïve 例", "eth0 naïve 例"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_what_is_kept() -> None:
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\x0d"


def test_one_line() -> None:
    assert one_line(" a \n\r\n b\u2028c\x0cd \x00") == "a b c d \\x00"
    assert one_line(None) == "None" and one_line(["\n"]) == "['\\n']"


def test_only_the_first_line_of_a_message_is_at_the_margin() -> None:
    assert message("\nno\nok: [web1]\n") == "no\n    ok: [web1]"
