# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change that the host takes back by itself, unless it is confirmed in time.

Between the two a holder has it: a child of the module that made the change. Nothing else holds a link that is
new, so if the holder ends in whatever way, the kernel takes that program off. It also keeps the lock on bpffs,
so that nobody builds on what may not last.
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

from .background import fork_into_background
from .errors import FleetError
from .pins import PROVISIONAL, RECORDS, make_folder, remove_empty

CONFIRM = b"confirm\n"
PEER_SECONDS = 10.0  # for a peer to say why it has come

Answer = t.Dict[str, t.Any]


def hold(seconds: float, keep: t.Callable[[], Answer], take_back: t.Callable[[], None]) -> str:
    """Start a holder; returns the token with which confirm() reaches it.

    Confirmed, it calls keep(), whose answer goes to the confirmer. Else, or if keep() raises OSError or
    FleetError, it calls take_back(), which may raise FleetError.
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
        fork_into_background(lambda: _Holder(listening, token, seconds).run(keep, take_back), stop_at_sigterm=True)
    return token


def confirm(token: str) -> Answer:
    """Make a change last; returns what its keep() has returned. Raises FleetError where it is not there to be kept."""
    gone = FleetError(
        f"no provisional change {token} waits on this host any more: its time was over, or its holder was ended"
    )
    with socket.socket(socket.AF_UNIX) as peer:
        try:
            peer.connect(f"{PROVISIONAL}/{token}")
        except OSError as error:
            raise gone from error
        peer.sendall(CONFIRM)
        text = b""
        while True:
            more = peer.recv(65536)
            if not more:
                break
            text += more
    if not text:
        raise gone
    answer: Answer = json.loads(text)
    if "error" in answer:
        raise FleetError(f"{answer['error']}; the provisional change was taken back")
    return answer


class _Holder:
    def __init__(self, listening: socket.socket, token: str, seconds: float) -> None:
        self._listening = listening
        self._path = f"{PROVISIONAL}/{token}"
        self._seconds = seconds

    def run(self, keep: t.Callable[[], Answer], take_back: t.Callable[[], None]) -> None:
        syslog.openlog("ebpf.fleet", 0, syslog.LOG_DAEMON)
        why = f"no confirmation within {self._seconds:g} s"
        try:
            peer = self._wait()
        except KeyboardInterrupt:
            peer, why = None, "ended by SIGTERM"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        answer: Answer = {}
        if peer:
            try:
                answer = keep()
            except (OSError, FleetError) as error:
                answer, why = {"error": str(error)}, str(error)
        if not peer or "error" in answer:
            try:
                take_back()
                syslog.syslog(syslog.LOG_WARNING, f"{why}: a change of XDP programs was taken back")
            except FleetError as error:
                syslog.syslog(syslog.LOG_ERR, f"{why}: a change of XDP programs was to be taken back: {error}")
                answer = {"error": f"{why}; {error}"}
        os.unlink(self._path)
        remove_empty(PROVISIONAL, RECORDS)
        if peer:
            with contextlib.suppress(OSError):  # it has not waited for the answer
                peer.sendall(json.dumps(answer).encode())

    def _wait(self) -> t.Optional[socket.socket]:
        """Who confirms, None if nobody does in time. One that comes and says nothing only asks if we live."""
        deadline = time.monotonic() + self._seconds
        while select.select([self._listening], [], [], max(0.0, deadline - time.monotonic()))[0]:
            peer = self._listening.accept()[0]
            peer.settimeout(PEER_SECONDS)
            with contextlib.suppress(OSError):
                if peer.recv(len(CONFIRM), socket.MSG_WAITALL) == CONFIRM:
                    return peer
            peer.close()
        return None


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
