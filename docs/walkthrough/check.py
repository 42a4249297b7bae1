# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""check.py: run all commands of docs/walkthrough.md again, and fail if their output differs from the document.

Ids, addresses and times change with each run and are not compared. Code depends on the compiler and the kernel: if they
differ from those that the document was made with, listings of code are not compared either, and a message says so.
"""

from __future__ import annotations

import difflib
import pathlib
import re
import subprocess
import sys
import typing as t

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "walkthrough.md"

VOLATILE = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| ?\+0000)?", "TIME"),
    (r"0x[0-9a-fA-F]{12,16}|-\d{10,}", "ADDRESS"),
    (r"^\d+: xdp", "ID: xdp"),
    (r"((?:map_ids|btf_id|uid) )[\d,]+", r"\1ID"),
    (r"map\[id:\d+\]", "map[id:ID]"),
    (r"((?:program_id|link_id|btf_id|ifindex|id|pid|cpu|timestamp|seconds): )[\d.]+", r"\1N"),
    (r"^( *- )\d+$", r"\1ID"),
    (r"(call \w+#)-?\d+", r"\1OFFSET"),
    (r"boot_id: \S+", "boot_id: ID"),
    (r"message: '\d+'", "message: 'N'"),
    (r"^ *\S+-\d+ +\[\d+\] \S+ +[\d.]+:", "TASK:"),
    (r"task: \S+", "task: TASK"),
    (r"\d+ lines printed", "N lines printed"),
    (r"<\w*return_thunk>", "<return_thunk>"),
)
# What depends on the compiler, or on the kernel's translation.
CODE = re.compile(
    r"\b[0-9a-f]{16}\b|\b[0-9a-f]{64}\b|^[-+ ]*'? *[0-9a-f]+:|\d+B?\b|^[-+ ]+; |^@@|No libbfd|\bint \w+\("
)
MADE_WITH = re.compile(r"^Made with (.*?);.*?; ansible .*?; (.*)\.$", re.M)


def comparable(text: str) -> t.List[str]:
    """The lines, without what changes with each run."""
    text = MADE_WITH.sub("Made with …", text)
    for pattern, name in VOLATILE:
        text = re.sub(pattern, name, text, flags=re.M)
    return text.splitlines()


def without_code(lines: t.Iterable[str]) -> t.List[str]:
    return [line for line in lines if not CODE.search(line)]


def main() -> int:
    shown = DOCUMENT.read_text()
    cog = [sys.executable, "-m", "cogapp", "-P", "-I", str(HERE), str(DOCUMENT)]
    done = subprocess.run(cog, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return done.returncode
    before, after = comparable(shown), comparable(done.stdout)
    made, now = (MADE_WITH.search(text) for text in (shown, done.stdout))
    what = "every line"
    if not made or not now or made.groups() != now.groups():
        before, after = without_code(before), without_code(after)
        what = (
            f"all but code, as it was made with {made and made.groups()}, and this machine has {now and now.groups()}"
        )
    differences = list(
        difflib.unified_diff(before, after, "docs/walkthrough.md", "what its commands print", lineterm="", n=2)
    )
    if differences:
        print(*differences, sep="\n")
        print("docs: docs/walkthrough.md no longer shows what its commands print; renew it with `make docs`.")
        return 1
    commands = len(re.findall(r"^(?:edge1#|\$) ", shown, re.M))
    print(f"docs: {commands} commands of docs/walkthrough.md print what it shows ({what})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
