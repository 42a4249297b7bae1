# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""make demo, as a newcomer runs it: to its end, and interrupted with Ctrl-C."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import typing as t

from paths import ROOT


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
