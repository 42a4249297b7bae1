# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands, each in a separate process group, so that everything they start can be ended too."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import typing as t

GRACE_SECONDS = 10


class Failed(Exception):
    """A command failed; the message is its own output."""


_running: t.Set[subprocess.Popen[str]] = set()
_lock = threading.Lock()
_over = False


def run(*command: t.Any, seconds: t.Optional[float] = None, **options: t.Any) -> str:
    """Run a command; returns its output. Raises Failed, also after `seconds`."""
    # setpriv: if this process is killed, the kernel ends the command.
    words = ["setpriv", "--pdeathsig", "TERM", *map(str, command)]
    with _lock:
        if _over:
            raise Failed(f"{command[0]} was not started, as the run is ending")
        process: subprocess.Popen[str] = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        _running.add(process)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{command[0]} did not end within {seconds:.0f} s") from error
    finally:
        _end(process)
        _running.discard(process)
    if process.returncode:
        raise Failed(f"{command[0]} failed: {' '.join((err or out).split())[-600:]}")
    return out


@contextlib.contextmanager
def session(name: str, cache: pathlib.Path) -> t.Iterator[None]:
    """One run of a tool that starts guests: locks its cache, and ends with one line at a failure or a signal."""
    if os.geteuid():
        sys.exit(f"{name}: mmdebstrap unpacks guests as root; run it as root (`make test-{name}` uses sudo).")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cache.mkdir(parents=True, exist_ok=True)
    with open(os.open(cache / "lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob("tmp*"):  # left by a killed run
            shutil.rmtree(left)
        try:
            yield
        except Failed as error:
            sys.exit(f"{name}: {error}")
        except KeyboardInterrupt:
            sys.exit(130)


def end_all() -> None:
    """End all commands, and start no more."""
    global _over
    with _lock:
        _over = True
    for process in list(_running):
        _end(process)


def ended() -> bool:
    return _over


def _end(process: subprocess.Popen[str]) -> None:
    """End its whole group; TERM first, so that mmdebstrap can tidy up."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
