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
from ..state.places import PROVISIONAL, PULLING, RECORDS
from ..state.private_files import make_folder, remove_empty, write_private

if t.TYPE_CHECKING:
    from ..reach.targets import Target

CONFIRM = b"confirm\n"
GIVE_UP = b"give up\n"  # and why, to the end of what is sent
MOST_BYTES = 4096
PEER_SECONDS = 10.0  # how long a peer may take to say what it wants

Answer = t.Dict[str, t.Any]


class Held(t.NamedTuple):
    """A change that is not confirmed yet: the token for confirm(), what make() returned, and what answered since."""

    token: str
    made: Answer
    reached: t.List[Answer]


class Change(t.NamedTuple):
    """make() and keep() return the answer for their caller.

    If make() raises FleetError, it has rolled back by itself, or says that this failed; roll_back() is not called.
    keep() may raise it too, and then roll_back() is called, which raises it where it fails.
    """

    make: t.Callable[[], Answer]
    keep: t.Callable[[], Answer]
    roll_back: t.Callable[[], None]


def hold(seconds: float, change: Change, reachable: t.Sequence[Target] = ()) -> Held:
    """Have a holder make the change.

    reachable: what the host must reach afterwards; else the change is rolled back, and Unreached is raised. Raises
    FleetError if make() did, if an answer of these could tell nothing, or if the holder was killed before the change.
    """
    for each in reachable:
        each.prepare()
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
    return Held(token, answer, _reached(token, reachable, seconds) if reachable else [])


def _reached(token: str, reachable: t.Sequence[Target], seconds: float) -> t.List[Answer]:
    from ..reach.waiting import Unreached, await_answers, patience  # here: most tasks ask for nothing

    try:
        return await_answers(reachable, patience(seconds))
    except Unreached as error:
        words = give_up(token, str(error))
        if os.path.isdir(PULLING):
            write_private(f"{PULLING}/rolled_back", words.encode(errors="replace"))
        raise Unreached(words, error.facts) from error


def confirm(token: str) -> Answer:
    """Make a change final; returns what its keep() returned. Raises FleetError if there is no such change any more."""
    return _tell_holder(token, CONFIRM)


def give_up(token: str, why: str) -> str:
    """Have a change rolled back now; returns what became of it, in words. `why`: what its holder is to say of it."""
    try:
        _tell_holder(token, GIVE_UP + why.encode(errors="replace")[:MOST_BYTES])
    except FleetError as error:
        return str(error) if why in str(error) else f"{why}; {error}"  # its time may just have been over
    return why  # it was being confirmed by another


def _tell_holder(token: str, words: bytes) -> Answer:
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
        peer.sendall(words)
        peer.shutdown(socket.SHUT_WR)
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
        if peer and not why:
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
        """The peer that confirms; or, if none does in time, None and why; or a peer that gives up, and why.

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
                words = peer.recv(len(CONFIRM), socket.MSG_WAITALL)
                if words == CONFIRM:
                    return peer, ""
                if words == GIVE_UP:
                    why = peer.recv(MOST_BYTES, socket.MSG_WAITALL).decode(errors="replace")
                    return peer, why or "it was given up"  # without a reason, it would be kept
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
