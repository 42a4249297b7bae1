# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a driver does not take a program: its own sentence, and what to type. Imported only after a refusal."""

from __future__ import annotations

import contextlib
import errno
import re
import signal
import typing as t

from ..kernel import remedies
from ..kernel.symbols import kernel_has
from ..libbpf import links
from ..libbpf.library import BpfError, Libbpf
from .exactness import IN_THE_HYPERVISOR, fixed

# What a sentence is about, and the remedy. The first that is found counts. The sentences are those of the kernel's
# drivers, up to 6.18: NL_SET_ERR_MSG_MOD in their ndo_bpf.
REMEDIES = (
    (
        r"rx queues not less than peer tx queues",
        "give {interface} as many receive queues as its peer has transmit queues (`ethtool -L {interface} rx N`, or"
        " `ethtool -L PEER tx N` in the peer's namespace; `ethtool -l` shows both)",
    ),
    (r"peer mtu", "lower the MTU of its peer (`ip link set dev PEER mtu 1500`){frags}"),
    (r"\bmtu\b|jumbo|frame size|single page", "lower the MTU (`ip link set dev {interface} mtu 1500`){frags}"),
    (r"gro_hw.*csum", "turn both off: `ethtool -K {interface} rx-gro-hw off rx off`"),
    (r"lro.*csum", "turn both off: `ethtool -K {interface} lro off rx off`"),
    (r"gro_hw|hw.gro", "turn it off: `ethtool -K {interface} rx-gro-hw off`"),
    (r"\blro\b|\brsc\b", "turn it off: `ethtool -K {interface} lro off`"),
    (
        r"bonding mode",
        "bonds have native mode in balance-rr, active-backup, balance-xor and 802.3ad (without vlan+srcmac):"
        " `ip link set dev {interface} type bond mode MODE`, while it is down",
    ),
    (r"slave|\bport device", "each member needs it: `ip -d link show master {interface}`"),
    (
        r"queue|\brings?\b|channel|cpus?\b",
        "change the number of queues: `ethtool -L {interface} combined N` (`ethtool -l {interface}` shows how many"
        " there are)",
    ),
    (
        r"upper device",
        "detach the program of the interface above {interface} first: `ip -d link` shows it, and if it is in another"
        " network namespace, `ip -all netns exec ip -d link`",
    ),
)


def refusal(
    lib: Libbpf, interface: str, ifindex: int, program_fd: int, mode: str, error: BpfError
) -> t.Tuple[str, str]:
    """Why a link was just refused, in the kernel's words, and '; ' with the remedy, "" if none is known."""
    if error.errno == errno.EPERM:
        return str(error.strerror), f"; {remedies.not_permitted()}"
    if error.errno == errno.ENODEV:
        return f"{error.strerror}: it has just disappeared", "; run again when it is back"
    said = _ask(lib, ifindex, program_fd, mode)
    if not said:
        return str(error.strerror), ""
    found = remedy(said, interface, fixed(interface))
    return f"'{said}' ({error.strerror})", f"; {found}" if found else ""


def remedy(said: str, interface: str, cannot: t.Collection[str] = ()) -> str:
    """What to type; "" if it is not known. `cannot`: offloads that put frames together and cannot be turned off."""
    if cannot and re.search(r"gro_hw|hw.gro|\blro\b", said, re.IGNORECASE):
        return f"its driver cannot turn {' and '.join(cannot)} off: {IN_THE_HYPERVISOR}"
    found = next((words for about, words in REMEDIES if re.search(about, said, re.IGNORECASE)), "")
    # Drivers that take such programs say so in this sentence, but for veth. Others refuse them as well.
    takes_frags = re.search(r"peer mtu|frag|multi.?buf|single.?buf", said, re.IGNORECASE)
    frags = ""
    if "{frags}" in found and takes_frags and kernel_has("bpf_xdp_get_buff_len"):  # 5.18 and later
        frags = ", or use a program in section xdp.frags"
    return found.format(interface=interface, frags=frags)


def _ask(lib: Libbpf, ifindex: int, program_fd: int, mode: str) -> str:
    """Ask again, by netlink: only that way does the kernel say why (netlink(7), NETLINK_EXT_ACK).

    The request replaces nothing. Should the driver agree this time, the program is detached at once.
    """
    lib.messages.clear()
    with _without_signals():
        try:
            links.netlink_attach(lib, ifindex, program_fd, mode)
        except BpfError:
            said = lib.warnings().partition("Kernel error message: ")[2]
            return said.partition("\n")[0].rstrip(". ")
        links.netlink_replace(lib, ifindex, -1, program_fd, mode)
    return ""


@contextlib.contextmanager
def _without_signals() -> t.Iterator[None]:
    """Signals that end a task wait: none comes between two calls that belong together."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
