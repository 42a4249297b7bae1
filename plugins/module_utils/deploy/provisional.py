# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change that the host takes back by itself, unless it is confirmed in time.

The holder makes it: a child of the module, which neither the module's end nor that of its connection reaches. Nothing
else holds a link that is new, so if the holder ends in whatever way, the kernel takes that program off. It also keeps
the lock on bpffs, so that nobody builds on what may not last.
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
from ..errors import FleetError
from ..state.places import PROVISIONAL, RECORDS
from ..state.private_files import make_folder, remove_empty

CONFIRM = b"confirm\n"
PEER_SECONDS = 10.0  # for a peer to say why it has come

Answer = t.Dict[str, t.Any]


class Change(t.NamedTuple):
    """make() and keep() return what is to be told, and raise FleetError; make() has then changed nothing.

    take_back() raises FleetError where it cannot be done.
    """

    make: t.Callable[[], Answer]
    keep: t.Callable[[], Answer]
    take_back: t.Callable[[], None]


def hold(seconds: float, change: Change) -> t.Tuple[str, Answer]:
    """Have a holder make the change; returns the token with which confirm() reaches it, and what make() has returned.

    Raises FleetError, as make() has, or where the holder has ended before the change was made.
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
        fork_into_background(lambda: _Holder(listening, token, seconds, change).run(writing))
        os.close(writing)
        with open(reading, "rb") as report:
            text = report.read()
    if not text:
        raise FleetError("the process that was to make the change was killed; run again")
    answer: Answer = json.loads(text)
    if "error" in answer:
        raise FleetError(answer["error"])
    return token, answer


def confirm(token: str) -> Answer:
    """Make a change last; returns what its keep() has returned. Raises FleetError where it is not there to be kept."""
    with socket.socket(socket.AF_UNIX) as peer:
        try:
            peer.connect(f"{PROVISIONAL}/{token}")
        except ConnectionRefusedError as error:
            raise FleetError(
                "the process that held the change was killed: the kernel has taken a new program off by itself, and"
                " what has replaced another stays; run again"
            ) from error
        except OSError as error:
            raise FleetError(f"no provisional change {token} waits on this host any more") from error
        peer.sendall(CONFIRM)
        text = b""
        with contextlib.suppress(ConnectionResetError):
            while True:
                more = peer.recv(65536)
                if not more:
                    break
                text += more
    if not text:
        raise FleetError(f"the provisional change {token} was settled while it was to be confirmed")
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
        """`report`: a pipe to the module, which waits for what make() returns."""
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
                why = f"it could not be made to last: {error}"
        if not answer:
            why = self._take_back(why)
            answer = {"error": why}
        self._end()
        if peer:
            with contextlib.suppress(OSError):  # it has not waited for the answer
                peer.sendall(json.dumps(answer).encode())

    def _take_back(self, why: str) -> str:
        try:
            self._change.take_back()
        except FleetError as error:
            syslog.syslog(syslog.LOG_ERR, f"a change of XDP programs was to be taken back ({why}): {error}")
            return f"{why}; {error}"
        syslog.syslog(syslog.LOG_WARNING, f"a change of XDP programs was taken back: {why}")
        return f"{why}; the change was taken back"

    @staticmethod
    def _tell(report: int, what: Answer) -> None:
        with contextlib.suppress(BrokenPipeError):  # the module was killed meanwhile
            os.write(report, json.dumps(what).encode())
        os.close(report)

    def _end(self) -> None:
        os.unlink(self._path)
        remove_empty(PROVISIONAL, RECORDS)

    def _wait(self) -> t.Tuple[t.Optional[socket.socket], str]:
        """Who confirms; or, if nobody does in time, None and why.

        One that comes and says nothing only asks if we live. SIGTERM is the end of the waiting.
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
                return None, "its holder was ended by SIGTERM"
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
            except OSError:  # it has ended meanwhile
                pass
    remove_empty(PROVISIONAL, RECORDS)
