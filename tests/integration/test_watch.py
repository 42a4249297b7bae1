# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook facts with xdp_counter_watch: on a terminal and without one, ended in each way."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import re
import subprocess
import threading
import time
import typing as t

import pytest
from fleet import BIN, Fleet

TABLE = re.compile(r"^\d\d:\d\d:\d\d  (\d) of (\d) hosts read, every \d+ s$", re.M)
CLEARED = "\x1b[H\x1b[2J"


class OnTerminal:
    """A command of Ansible in a terminal of its own, with 24 lines and 100 columns, and what it writes there."""

    def __init__(self, fleet: Fleet, *more: str) -> None:
        self.text = ""
        main, side = pty.openpty()
        os.set_inheritable(side, True)
        subprocess.run(["stty", "rows", "24", "columns", "100"], stdin=side, check=True)
        env = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "true", "PWD": str(fleet.folder)}
        words = [str(BIN / "ansible-playbook"), "-i", str(fleet.inventory), "ebpf.fleet.facts", *more]
        # setsid --ctty: Ctrl-C is a signal only to what has the terminal.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *words], stdin=side, stdout=side, stderr=side, env=env, cwd=fleet.folder
        )
        os.close(side)
        self._main = main
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self.text += os.read(self._main, 4096).decode()
            except OSError:  # nobody has the other side any more
                return

    def wait_for(self, words: str, times: int = 1) -> None:
        end = time.monotonic() + 60
        while self.text.count(words) < times:
            assert time.monotonic() < end and self.process.poll() is None, self.text
            time.sleep(0.02)

    def interrupt_a_pause(self) -> None:
        words = "Ctrl-C ends"
        self.wait_for(words, self.text.count(words) + 1)
        time.sleep(0.5)  # Ansible drops what was typed before it has set the terminal up
        self.interrupt()

    def interrupt(self) -> None:
        os.write(self._main, b"\x03")

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait(60)
        self._reader.join(60)
        assert not self._reader.is_alive(), "a process that it started still has the terminal"
        os.close(self._main)
        return code


def started_by(fleet: Fleet) -> t.List[str]:
    """The processes that name its folder, as those of its Ansible and its modules do."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(fleet.inventory) in words:
            found.append(words)
    return found


def test_one_table_after_the_other(fleet: Fleet) -> None:
    fleet.play("deploy")
    one, two = fleet.hosts
    with two.traffic("eth0.10"):
        one.send("eth0", 321)
        text = fleet.play("facts", "-e", "xdp_counter_watch=2", "-e", "xdp_counter_watch_times=3")
    assert TABLE.findall(text) == [("2", "2")] * 3 and CLEARED not in text and "Ctrl-C" not in text
    rounds = [each.splitlines() for each in re.split(TABLE, text)[3::3]]
    counted = []
    for lines in rounds:
        assert re.match(r"HOST +INTERFACE +MODE +PACKETS +BYTES +PACKETS/S$", lines[1])
        first = re.fullmatch(r"two +eth0\.10 +native +(\d+) +\d+ +([\d.]+)", lines[2])
        assert first and float(first[2]) > 0, "the busiest is first"
        assert re.fullmatch(r"one +eth0 +native +321 +20544 +0\.0", next(each for each in lines if "one  " in each))
        total = re.fullmatch(r"TOTAL +(\d+) +\d+ +([\d.]+)", lines[6])
        assert total and float(total[2]) >= float(first[2])
        counted.append(int(first[1]))
    assert counted == sorted(set(counted)), "read again each time"
    assert "PLAY RECAP" in text and "Write xdp_counter_report" not in text


def test_a_host_that_fails_in_between(fleet: Fleet) -> None:
    """`two` goes away after the first round and is back for the last."""
    fleet.play("deploy")
    gate = fleet.folder / "gate"
    inventory = json.loads(fleet.inventory.read_text())
    there = inventory["fleet"]["hosts"]["two"]["ansible_host"]
    address = f"{{{{ lookup('ansible.builtin.file', '{gate}') }}}}"
    inventory["fleet"]["hosts"]["two"]["ansible_host"] = address
    fleet.inventory.write_text(json.dumps(inventory))
    gate.write_text(there)
    watch = OnTerminal(fleet, "-e", "xdp_counter_watch=5", "-e", "xdp_counter_interval=0.1")
    watch.wait_for("2 of 2 hosts read")
    gate.write_text("gone")
    watch.wait_for("1 of 2 hosts read", 2)
    assert re.search(r"two +not read: .*no network namespace 'gone'", watch.text)
    shown = len(watch.text)
    gate.write_text(there)
    while "2 of 2 hosts read" not in watch.text[shown:]:
        watch.wait_for("hosts read", watch.text.count("hosts read") + 1)
    watch.interrupt_a_pause()
    assert watch.end() == 0


def test_the_last_round_decides(fleet: Fleet) -> None:
    fleet.play("deploy", "--limit", "one")
    inventory = json.loads(fleet.inventory.read_text())
    inventory["fleet"]["hosts"]["two"]["ansible_host"] = "gone"
    fleet.inventory.write_text(json.dumps(inventory))
    text = fleet.play("facts", "-e", "xdp_counter_watch=1", "-e", "xdp_counter_watch_times=2", fails=True)
    assert TABLE.findall(text) == [("1", "2")] * 2 and "1 of 2 hosts not read: two" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"xdp_counter_watch": 0}, "seconds is 0; give 1 or more"),
        ({"xdp_counter_watch": 1, "xdp_counter_watch_times": -1}, "times is -1; give 0 or more"),
        ({"xdp_counter_watch": 1, "xdp_counter_report": "x.json"}, "a watch writes no file"),
    ],
)
def test_refused(fleet: Fleet, options: t.Dict[str, t.Any], words: str) -> None:
    assert words in fleet.play("facts", "-e", json.dumps(options), fails=True)


def test_on_a_terminal_until_ctrl_c(fleet: Fleet) -> None:
    fleet.play("deploy")
    watch = OnTerminal(fleet, "-e", "xdp_counter_watch=5")
    watch.wait_for("Ctrl-C ends")
    watch.interrupt_a_pause()
    assert watch.end() == 0
    first, second = watch.text.split(CLEARED)[1:]
    assert re.search(r"two +eth0.10 +native +0 +0 +0.0\r\nTOTAL", first) and len(first.splitlines()) < 24
    assert "2 of 2 hosts read" in second and re.search(r"one +: ok=\d+ .* failed=0 ", second)
    assert started_by(fleet) == []


def test_ctrl_c_while_it_reads(fleet: Fleet) -> None:
    """Ansible says so itself; nothing is left behind."""
    fleet.play("deploy")
    watch = OnTerminal(fleet, "-e", "xdp_counter_watch=1", "-e", "xdp_counter_interval=20")
    watch.wait_for("Read the counters again and again")
    time.sleep(5)
    watch.interrupt()
    assert watch.end() == 99
    assert "User interrupted execution" in watch.text and "Traceback" not in watch.text
    assert started_by(fleet) == []
