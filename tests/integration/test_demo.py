# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a newcomer runs on the demo's hosts: `make demo`, to its end and interrupted, and the stories of the pages."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import typing as t

import pytest
from commands import sh
from pages import Line, blocks, section
from paths import ROOT

WITHOUT_HOSTS = "Without hosts"
BETWEEN = "-- the output of the next command --"
Story = t.List[t.Tuple[Line, str]]


def start() -> subprocess.Popen[str]:
    # As from a terminal: a separate process group in which Ctrl-C is not ignored.
    return subprocess.Popen(
        ["make", "demo"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def left() -> t.List[str]:
    """What the demo has left on this machine."""
    found = [
        str(path)
        for folder in ("/run", "/run/netns", "/run/ebpf_fleet", "/sys/fs/bpf", "/sys/kernel/tracing/instances")
        for path in pathlib.Path(folder).glob("*ebpf*")
        if "ebpf-test" not in path.name and path.name != "ebpf_fleet"
    ]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "ebpf-demo" in words or "demo/run.sh" in words:
            found.append(words)
    return found


def test_demo_counts_every_packet_and_leaves_nothing() -> None:
    demo = start()
    text = demo.communicate(timeout=170)[0]
    assert demo.returncode == 0, text
    rows = [line.split() for line in text.splitlines() if line.endswith("equal")]
    assert len(rows) == 5
    assert all(row[3] == row[4] for row in rows)
    assert text.count("changed=0") >= 3, "the second deploy"
    assert "WARNING" not in text
    assert "\x1b" not in text, "colours are only for a terminal"
    assert left() == []


def test_demo_leaves_nothing_after_ctrl_c_and_runs_again() -> None:
    for words in ("PLAY [Deploy", "Attach the program", "PLAY [Read the counters"):
        demo = start()
        assert demo.stdout and any(words in line for line in demo.stdout)
        os.killpg(demo.pid, signal.SIGINT)
        text = demo.communicate(timeout=60)[0]
        assert demo.returncode != 0, text
        assert left() == []
    test_demo_counts_every_packet_and_leaves_nothing()


# The stories "without hosts", typed as they are printed


@pytest.fixture
def demo() -> t.Iterator[None]:
    yield
    sh(ROOT / "demo/fleet.sh", "down")


def follow(page: str, heading: str) -> Story:
    """Type a story into a shell of root's, in this checkout; returns each command with its output."""
    (block,) = (each for each in blocks(section(ROOT / page, heading)) if each.language == "console")
    lines = block.lines()
    assert {line.prompt for line in lines} == {"#"}
    typed = "".join(f"echo '{BETWEEN}'\n{line.command}\n" for line in lines)
    bin = str(pathlib.Path(sys.executable).parent)
    path = os.pathsep.join(each for each in os.environ["PATH"].split(os.pathsep) if each != bin)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    done = subprocess.run(
        ["bash"],
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**env, "PATH": f"{path}:/usr/sbin:/sbin", "ANSIBLE_NOCOLOR": "1"},
        cwd=ROOT,
        text=True,
        check=False,
    )
    outputs = done.stdout.split(f"{BETWEEN}\n")[1:]
    assert done.returncode == 0 and len(outputs) == len(lines), done.stdout
    assert "WARNING" not in done.stdout and "Traceback" not in done.stdout
    assert left() == []
    return list(zip(lines, outputs))


def of(story: Story, words: str) -> str:
    """The output of the last command that contains these words."""
    return [output for line, output in story if words in line.command][-1]


def comparable(lines: t.Iterable[str]) -> t.List[str]:
    return [re.sub(r"time \d+ms", "time …", line.rstrip()) for line in lines]


def counts(output: str) -> t.Dict[t.Any, t.Dict[str, int]]:
    """The values of a map, as ansible prints them in YAML, by key."""
    found = {}
    for key, value in re.findall(
        r"-   key:(.*?)\n +value:\n(.*?)(?=^ +-   key:|^ +entries_total)", output, re.M | re.S
    ):
        members = {name: int(number) for name, number in re.findall(r"(\w+): (\d+)", value)}
        found[" ".join(key.split())] = members
    return found


def test_the_readme(demo: None) -> None:
    story = follow("README.md", "Any other program, in three minutes")
    shown = [(line, output) for line, output in story if line.shown]
    assert len(shown) == 2, "before and after"
    for line, output in shown:
        assert comparable(output.splitlines()) == comparable(line.shown)
    assert counts(of(story, "bpf_map_info"))["2"] == {"bytes": 294, "packets": 3}


def test_a_blocklist(demo: None) -> None:
    story = follow("examples/blocklist/README.md", WITHOUT_HOSTS)
    answered = [
        re.findall(r"3 packets transmitted, \d received", output) for line, output in story if "ping" in line.command
    ]
    assert answered == [["3 packets transmitted, 3 received"], ["3 packets transmitted, 0 received"]]
    assert counts(of(story, "bpf_map_info"))["2"] == {"bytes": 294, "packets": 3}


def test_a_rate_limit(demo: None) -> None:
    story = follow("examples/ratelimit/README.md", WITHOUT_HOSTS)
    (received,) = re.findall(r"20 packets transmitted, (\d+) received", of(story, "ping"))
    assert "five or six are answered" in (ROOT / "examples/ratelimit/README.md").read_text()
    assert 4 <= int(received) <= 7  # on a busy machine
    assert counts(of(story, "bpf_map_info"))["192.0.2.7"]["over"] == 20 - int(received)


def test_counts_by_protocol(demo: None) -> None:
    story = follow("examples/protocols/README.md", WITHOUT_HOSTS)
    (found,) = [value for key, value in counts(of(story, "bpf_map_info")).items() if "ethertype: 34997" in key]
    assert found == {"bytes": 100000, "packets": 1000}
