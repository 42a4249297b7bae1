# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other side of a guest's NICs: a tap for each, and a bridge, in a network namespace of their own.

With a tap behind it a NIC gets TCP segments whole if it says that it takes them, and else as frames, cut by the kernel.
"""

from __future__ import annotations

import re
import typing as t

from nics import MAC, NICS, PORT_MAC, Nic
from processes import run

_PORT = Nic("port", device="virtio-net-pci")
# isolated: what one sends, only the port hears.
_TAP = "ip tuntap add dev {tap} mode tap vnet_hdr {more} && ip link set dev {tap} master wires up"
_ISOLATED = "ip link set dev {tap} type bridge_slave isolated on"


def version(emulator: str) -> str:
    found = re.search(r"version (\S+)", run(emulator, "--version"))
    return found.group(1) if found else "?"


def missing(emulator: str) -> t.List[str]:
    """Those of NICS that this version of qemu does not have."""
    known = run(emulator, "-device", "help")
    return [nic.name for nic in NICS if nic.device and f'name "{nic.device.split(",")[0]}"' not in known]


def wired(qemu: t.Sequence[str]) -> t.List[str]:
    """A command that wires all NICs, and becomes qemu with them."""
    lacks = missing(qemu[0])
    script = ["echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6", "ip link add name wires type bridge"]
    script.append("ip link set dev wires up")
    options: t.List[str] = []
    present = [(MAC.format(index), nic) for index, nic in enumerate(NICS) if nic.device and nic.name not in lacks]
    for number, (mac, nic) in enumerate([(PORT_MAC, _PORT), *present]):
        tap = f"t{number}"
        script.append(_TAP.format(tap=tap, more="multi_queue" if nic.queues > 1 else ""))
        if nic is not _PORT:
            script.append(_ISOLATED.format(tap=tap))
        netdev = f"tap,id=n{number},ifname={tap},script=no,downscript=no,vhost=off"
        options += ["-netdev", netdev + (f",queues={nic.queues}" if nic.queues > 1 else "")]
        options += ["-device", f"{nic.device},netdev=n{number},mac={mac},romfile="]
    script.append('exec "$@"')
    return ["unshare", "--net", "sh", "-c", " && ".join(script), "sh", *qemu, *options]
