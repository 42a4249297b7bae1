# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container of a Molecule scenario that is a controller itself."""

from __future__ import annotations

import re
import subprocess
import time
import typing as t

from paths import ROOT

SECONDS = 120  # for a command
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # ansible-runner asks for them
LOUD = ("[WARNING]", "[DEPRECATED]", "[DEPRECATION WARNING]", "[ERROR]", "Traceback")


class Differs(Exception):
    """What is seen is not what ought to be."""


def expect(true: t.Any, what: str, said: str) -> None:
    if not true:
        raise Differs(f"{what}; it said:\n{said}")


class Container:
    def __init__(self, name: str, **env: str) -> None:
        self._name, self.env = name, env

    def run(self, *words: str, given: str = "", fails: bool = False) -> str:
        """What it said, on both streams."""
        settings = [f"--env={name}={value}" for name, value in self.env.items()]
        done = subprocess.run(
            ["podman", "exec", "--interactive", "--workdir=/srv", *settings, self._name, *words],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        said = COLOURS.sub("", done.stdout)
        expect((done.returncode != 0) == fails, f"{' '.join(words)} ended with {done.returncode}", said)
        return said

    def quietly(self, shown: str, *words: str, fails: bool = False) -> str:
        """The same, of what must not warn. `shown` is printed, with the time."""
        began = time.monotonic()
        said = self.run(*words, fails=fails)
        print(f"{shown}  ({time.monotonic() - began:.0f} s)", flush=True)
        expect(fails or not any(word in said for word in LOUD), f"{shown} warns", said)
        return said

    def write(self, path: str, text: str) -> None:
        self.run("tee", path, given=text)

    def install(self, folder: str, *packages: str) -> str:
        """A virtual environment with these and the collection; returns the versions of ansible-core and Python."""
        done = subprocess.run(
            [ROOT / "molecule/shared/controller.sh", self._name, folder, *packages],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        expect(done.returncode == 0, f"{folder} cannot be made", done.stdout)
        return done.stdout.strip()
