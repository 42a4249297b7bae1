# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must reach for a change to become final (option reachable), and how it is asked. Each time anew."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import typing as t
import urllib.parse

from ..errors import FleetError, said
from .gateway import Gateway, answers_arp, answers_icmp, default_gateway

FORMS = "gateway, HOST:PORT, or a URL that begins with http:// or https://"
_HOST_PORT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[^\]\s]+)?)\]|(?P<host>[^\s\[\]:/@]+)):(?P<port>[0-9]{1,5})")
_FIRST = 3.0  # seconds in which what is reachable now answers


class Unanswered(Exception):
    """Why, in words that follow "did not answer"."""


class Target:
    """One of them. `text`: as it was given."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def prepare(self) -> None:
        """Before the change. Raises FleetError if an answer afterwards could not tell anything."""

    def ask(self, seconds: float) -> str:
        """Over the network, by a new connection: what has answered, in words. Raises Unanswered."""
        raise NotImplementedError


class _Gateway(Target):
    """Asked afterwards in the way in which it answered before: ARP alone may pass a filter of IP addresses."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._by = ""
        self._gateway: t.Optional[Gateway] = None

    def prepare(self) -> None:
        self._gateway = gateway = default_gateway()
        errors = []
        for by, answers in (("ICMP", answers_icmp), ("ARP", answers_arp)):
            for _attempt in range(2):  # the first may be lost while the neighbour is looked up
                try:
                    if answers(gateway, _FIRST / 4):
                        self._by = by
                        return
                except OSError as error:
                    errors.append(f"{by}: {said(error)}")
        raise FleetError(
            f"{gateway} answers neither ICMP nor ARP even now{_listed(errors)}, so it cannot tell whether a"
            " change cuts this host off, and nothing was changed. Name something else in reachable that answers:"
            " HOST:PORT, or a URL; or reachable: [] to do without"
        )

    def ask(self, seconds: float) -> str:
        if not self._gateway:
            self.prepare()
        gateway = t.cast(Gateway, self._gateway)
        try:
            if (answers_icmp if self._by == "ICMP" else answers_arp)(gateway, min(seconds, 1.0)):
                return f"{gateway} answered by {self._by}"
        except OSError as error:
            raise Unanswered(f"{gateway}: {said(error)}") from error
        raise Unanswered(f"{gateway} was silent, which had answered by {self._by} before")


def _listed(errors: t.Iterable[str]) -> str:
    found = "; ".join(dict.fromkeys(errors))
    return f" ({found})" if found else ""


class _Port(Target):
    def __init__(self, text: str, host: str, port: int) -> None:
        super().__init__(text)
        self._where = (host, port)

    def ask(self, seconds: float) -> str:
        try:
            with socket.create_connection(self._where, timeout=seconds) as connected:
                return f"{self.text} accepted a connection, as {connected.getpeername()[0]}"
        except OSError as error:
            raise Unanswered(said(error)) from error


class _Url(Target):
    """Asked without a proxy, as the host itself must reach it; a redirection is an answer."""

    def __init__(self, text: str, parts: urllib.parse.SplitResult) -> None:
        super().__init__(text)
        self._parts = parts

    def ask(self, seconds: float) -> str:
        parts = self._parts
        by = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        asking = by(str(parts.hostname), parts.port, timeout=seconds)
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        try:
            asking.request("GET", path, headers={"User-Agent": "ebpf.fleet", "Cache-Control": "no-cache"})
            answer = asking.getresponse()
        except OSError as error:
            raise Unanswered(said(error)) from error
        except http.client.HTTPException as error:
            raise Unanswered(
                f"what answers there does not speak HTTP: {said(error) or type(error).__name__}"
            ) from error
        finally:
            asking.close()
        if answer.status >= 400:
            raise Unanswered(f"it answered {answer.status} {answer.reason}")
        return f"{self.text} answered {answer.status}"


def target_of(text: str) -> Target:
    """Raises FleetError if it is none of FORMS."""
    if text == "gateway":
        return _Gateway(text)
    if re.match(r"(?i)https?://", text):
        with contextlib.suppress(ValueError):
            parts = urllib.parse.urlsplit(text)
            if parts.hostname and parts.port != 0 and "@" not in parts.netloc and re.fullmatch(r"[!-~]+", text):
                return _Url(text, parts)
    found = _HOST_PORT.fullmatch(text)
    if found and 0 < int(found["port"]) < 1 << 16:
        return _Port(text, found["six"] or found["host"], int(found["port"]))
    raise FleetError(f"reachable has {text!r}: give {FORMS}")


def targets_of(texts: t.Iterable[str]) -> t.Tuple[Target, ...]:
    """Raises FleetError if one of them is not any of FORMS."""
    return tuple(target_of(each) for each in dict.fromkeys(texts))
