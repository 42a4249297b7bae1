# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook in slices, each by ansible-runner's transmit, worker and process, as AWX's job slices are run."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import typing as t

BIN = pathlib.Path(sys.executable).parent
HEADER = 300  # bytes that a worker writes before its first event, at most


class Slice:
    """Each `of`-th host of an inventory, from the one at `number` on, with a folder as ansible-runner wants it.

    The workers are of this machine; what is between them and it are files, as it might be a network.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        inventory: t.Mapping[str, t.Any],
        number: int,
        of: int,
        env: t.Mapping[str, str],
        binaries: pathlib.Path = BIN,
    ) -> None:
        self.name = f"slice{number}"
        self.folder = folder / self.name
        self.rows = self.folder / "artifacts" / self.name / "rows.json"
        self._runner = str(binaries / "ansible-runner")
        self._env = {**os.environ, **env, "PATH": f"{binaries}:{os.environ['PATH']}"}
        for part in ("inventory", "project"):
            (self.folder / part).mkdir(parents=True)
        group = next(iter(inventory))
        hosts = dict(list(inventory[group]["hosts"].items())[number::of])
        mine = {group: {**inventory[group], "hosts": hosts}}
        (self.folder / "inventory/hosts.json").write_text(json.dumps(mine))

    def transmit(self, playbook: str, *more: str) -> bytes:
        """What is sent to a worker. A path is that of the worker's copy of the folder, from its project on."""
        cmdline = " ".join(["-e", f"xdp_slice=../artifacts/{self.name}/rows.json", *more])
        words = ["transmit", str(self.folder), "-p", playbook, "-i", self.name, "--cmdline", cmdline]
        return self._run(*words)

    def work(self, sent: bytes) -> bytes:
        return self._run("worker", given=sent)

    def killed(self, sent: bytes, folder: pathlib.Path) -> bytes:
        """What arrives of a worker that is killed after its first event."""
        said = folder / f"{self.name}.killed"
        with said.open("wb") as file:
            worker = subprocess.Popen(
                [self._runner, "worker"], stdin=subprocess.PIPE, stdout=file, env=self._env, start_new_session=True
            )
            assert worker.stdin
            worker.stdin.write(sent)
            worker.stdin.close()
            while said.stat().st_size < HEADER:
                assert worker.poll() is None, "it has ended before it could be killed"
                time.sleep(0.01)
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        return said.read_bytes()

    def process(self, done: bytes) -> str:
        """Of half a run too, which ansible-runner takes without a word."""
        shutil.rmtree(self.folder / "artifacts", ignore_errors=True)
        return self._run("process", str(self.folder), "-i", self.name, given=done).decode()

    def events(self, name: str) -> t.List[t.Tuple[str, str]]:
        """Task and host of each event of that name."""
        found = [json.loads(path.read_text()) for path in (self.rows.parent / "job_events").glob("*.json")]
        return sorted(
            (each["event_data"]["task"], each["event_data"]["host"]) for each in found if each["event"] == name
        )

    def _run(self, *words: str, given: bytes = b"") -> bytes:
        done = subprocess.run([self._runner, *words], input=given, capture_output=True, env=self._env, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
        return done.stdout
