# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change that the host rolls back by itself, unless it is confirmed in time.

The holder makes it: a child process that outlives the module and its connection. Only the holder has a new link open,
so whatever ends the holder, the kernel then detaches that program. The holder also keeps the locks of the change: no
other run builds on what may be rolled back, and rolling back waits for nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import syslog
import time
import typing as t

from ..background import fork_into_background
from ..errors import FleetError, said
from ..state import locks
from ..state.places import PROVISIONAL, RECORDS
from ..state.private_files import make_folder, remove_empty

CONFIRM = b"confirm\n"
PEER_SECONDS = 10.0  # how long a peer may take to say what it wants

Answer = t.Dict[str, t.Any]


class Change(t.NamedTuple):
    """make() and keep() return the answer for their caller.

    If make() raises FleetError, it has rolled back by itself, or says that this failed; roll_back() is not called.
    keep() may raise it too, and then roll_back() is called, which raises it where it fails.
    """

    make: t.Callable[[], Answer]
    keep: t.Callable[[], Answer]
    roll_back: t.Callable[[], None]


def hold(seconds: float, change: Change) -> t.Tuple[str, Answer]:
    """Have a holder make the change; returns the token for confirm(), and what make() returned.

    Raises FleetError if make() did, or if the holder was killed before the change was made.
    """
    make_folder(PROVISIONAL)
    token = os.urandom(8).hex()
    with socket.socket(socket.AF_UNIX) as listening:
        umask = os.umask(0o177)
        try:
            listening.bind(f"{PROVISIONAL}/{token}")
        finally:
            os.umask(umask)
        listening.listen(4)
        reading, writing = os.pipe()

        def work() -> None:
            try:
                _Holder(listening, token, seconds, change).run(writing)
            finally:
                locks.let_go()

        fork_into_background(work, keep=(listening.fileno(), writing, *locks.held()))
        os.close(writing)
        with open(reading, "rb") as report:
            text = report.read()
    if not text:
        raise FleetError("the process that makes the change was killed; run the task again")
    answer: Answer = json.loads(text)
    if "error" in answer:
        raise FleetError(answer["error"])
    return token, answer


def confirm(token: str) -> Answer:
    """Make a change final; returns what its keep() returned. Raises FleetError if there is no such change any more."""
    with socket.socket(socket.AF_UNIX) as peer:
        try:
            peer.connect(f"{PROVISIONAL}/{token}")
        except ConnectionRefusedError as error:
            raise FleetError(
                "the process that held the change was killed: the kernel has detached a newly attached program; a"
                " replaced program stays replaced; run the task again"
            ) from error
        except OSError as error:
            raise FleetError(f"provisional change {token} is no longer pending on this host") from error
        peer.sendall(CONFIRM)
        text = b""
        with contextlib.suppress(ConnectionResetError):
            while True:
                more = peer.recv(65536)
                if not more:
                    break
                text += more
    if not text:
        raise FleetError(f"provisional change {token} ended while it was being confirmed")
    answer: Answer = json.loads(text)
    if "error" in answer:
        raise FleetError(answer["error"])
    return answer


class _Holder:
    def __init__(self, listening: socket.socket, token: str, seconds: float, change: Change) -> None:
        self._listening = listening
        self._path = f"{PROVISIONAL}/{token}"
        self._seconds = seconds
        self._change = change

    def run(self, report: int) -> None:
        """`report`: a pipe to the module, which waits for the result of make()."""
        syslog.openlog("ebpf.fleet", 0, syslog.LOG_DAEMON)
        try:
            made = self._change.make()
        except FleetError as error:
            self._end()
            self._tell(report, {"error": str(error)})
            return
        self._tell(report, made)
        peer, why = self._wait()
        answer: Answer = {}
        if peer:
            try:
                answer = self._change.keep()
            except (OSError, FleetError) as error:
                why = f"it could not be confirmed: {said(error)}"
        if not answer:
            why = self._roll_back(why)
            answer = {"error": why}
        self._end()
        if peer:
            with contextlib.suppress(OSError):  # it did not wait for the answer
                peer.sendall(json.dumps(answer).encode())

    def _roll_back(self, why: str) -> str:
        try:
            self._change.roll_back()
        except FleetError as error:
            words = f"{why}, and {error}"
            syslog.syslog(syslog.LOG_ERR, f"a change of XDP programs: {words}")
            return words
        syslog.syslog(syslog.LOG_WARNING, f"a change of XDP programs was rolled back: {why}")
        return f"{why}; the change was rolled back"

    @staticmethod
    def _tell(report: int, what: Answer) -> None:
        with contextlib.suppress(BrokenPipeError):  # the module was killed meanwhile
            os.write(report, json.dumps(what).encode())
        os.close(report)

    def _end(self) -> None:
        os.unlink(self._path)
        remove_empty(PROVISIONAL, RECORDS)

    def _wait(self) -> t.Tuple[t.Optional[socket.socket], str]:
        """The peer that confirms; or, if none does in time, None and why.

        A peer that connects and sends nothing only checks that the holder lives. SIGTERM ends the wait.
        """
        asleep, awake = os.pipe()
        os.set_blocking(awake, False)
        signal.set_wakeup_fd(awake)
        signal.signal(signal.SIGTERM, lambda *_signal: None)
        deadline = time.monotonic() + self._seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            ready = select.select([self._listening.fileno(), asleep], [], [], left)[0]
            if not ready:
                return None, f"it was not confirmed within {self._seconds:g} s"
            if asleep in ready:
                return None, "its holder received SIGTERM"
            peer = self._listening.accept()[0]
            peer.settimeout(PEER_SECONDS)
            with contextlib.suppress(OSError):
                if peer.recv(len(CONFIRM), socket.MSG_WAITALL) == CONFIRM:
                    return peer, ""
            peer.close()


def sweep() -> None:
    """Remove the sockets of holders that were killed."""
    for name in os.listdir(PROVISIONAL):
        with socket.socket(socket.AF_UNIX) as asking:
            try:
                asking.connect(f"{PROVISIONAL}/{name}")
            except ConnectionRefusedError:
                os.unlink(f"{PROVISIONAL}/{name}")
            except OSError:  # it ended meanwhile
                pass
    remove_empty(PROVISIONAL, RECORDS)
