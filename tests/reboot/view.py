# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ip, bpftool and systemd report in the guest."""

from __future__ import annotations

import re
import typing as t

from checks import MODES, PINS, RECORDS
from machine import Machine

# Where the collection writes, and SELinux's policy has labels for. It has none for what is in bpffs and /run.
LABELLED = "/etc/systemd/system /usr/local/lib/ebpf_fleet /var/lib/ebpf_fleet"
WRITTEN = f"{PINS} {RECORDS} {LABELLED}"
# What shows that a denial by SELinux concerns the collection: the shell or Python as the process, a shell of root's as
# its domain, a BPF object, or a path of the collection's.
OURS = re.compile(r'comm="(python|sh")|scontext=unconfined_u:|tclass=bpf\b|dev="bpf"|ebpf.fleet|packet_count')


class Carried(t.NamedTuple):
    """A program on an interface, and the settings that it may influence: everything but counts and ids."""

    mode: str
    program: str
    pins: t.Tuple[str, ...]
    pinned_link: bool  # whether the interface's pinned link is the one that attaches this program
    mtu: int
    up: bool
    members: t.Tuple[str, ...]  # of a bond


class Unit(t.NamedTuple):
    state: str
    reached: int  # this state; microseconds since the boot


class View:
    def __init__(self, machine: Machine) -> None:
        self._sh, self._json = machine.sh, machine.json

    def carried(self) -> t.Dict[str, Carried]:
        """By interface; interfaces without a program are left out."""
        interfaces, links, programs = self._json(
            "ip -json link show; bpftool --json --bpffs link list; bpftool --json prog list"
        )
        names = {program["id"]: f"{program['name']} {program['tag']}" for program in programs}
        linked = {(pin, link["prog_id"]) for link in links for pin in link.get("pinned", ())}
        pins = self._sh(f"find {PINS} -type f 2>/dev/null || :").split()
        found = {}
        for interface in interfaces:
            if "xdp" not in interface:
                continue
            name, xdp = interface["ifname"], interface["xdp"]
            folder = f"{_folder(name)}/"
            found[name] = Carried(
                mode=MODES[xdp["mode"]],
                program=names[xdp["prog"]["id"]],
                pins=tuple(sorted(pin[len(folder) :] for pin in pins if pin.startswith(folder))),
                pinned_link=(f"{folder}link", xdp["prog"]["id"]) in linked,
                mtu=interface["mtu"],
                up=interface["operstate"] == "UP",
                members=tuple(each["ifname"] for each in interfaces if each.get("master") == name),
            )
        return found

    def counts(self, interfaces: t.Sequence[str]) -> t.Dict[str, int]:
        """Packets: the sums over all CPUs, from bpftool."""
        dumps = self._json(
            "; ".join(f"bpftool --json map dump pinned {_folder(each)}/maps/counters" for each in interfaces)
        )
        return {
            name: sum(cpu["value"]["packets"] for cpu in dump[0]["formatted"]["values"])
            for name, dump in zip(interfaces, dumps)
        }

    def units(self) -> t.Dict[str, Unit]:
        """The collection's units that systemd knows, and network-online.target."""
        shown = self._sh(
            "systemctl show --property=Id,ActiveState,StateChangeTimestampMonotonic"
            " network-online.target 'ebpf-fleet@*'"
        )
        blocks = (dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n"))
        return {each["Id"]: Unit(each["ActiveState"], int(each["StateChangeTimestampMonotonic"])) for each in blocks}

    def failed_units(self) -> t.List[str]:
        return self._sh("systemctl list-units --failed --no-legend --plain | cut -d ' ' -f 1").split()

    def jobs(self) -> str:
        """What systemd still has to do."""
        return self._sh("systemctl list-jobs --no-legend").strip()

    def state(self) -> str:
        """The state of the system: running, degraded, starting …"""
        return self._sh("systemctl is-system-running || :").strip()

    def boot_seconds(self) -> float:
        """Seconds that kernel and systemd took until everything was started."""
        return int(self._sh("systemctl show --value --property=FinishTimestampMonotonic")) / 1e6

    def journal(self, unit: str, output: str) -> str:
        return self._sh(f"journalctl --boot --no-pager --output={output} --unit='{unit}' || :")

    def enforcement(self) -> str:
        """Of SELinux: Enforcing, Permissive or Disabled."""
        return self._sh("getenforce").strip()

    def denials(self) -> t.Tuple[t.List[str], int]:
        """SELinux's since the boot that concern the collection, and how many others there are."""
        # _TRANSPORT=audit also has those of programs that ask SELinux themselves, as systemd does.
        lines = self._sh("journalctl --boot --no-pager --output=cat _TRANSPORT=audit").splitlines()
        denied = [line for line in lines if re.search(r"avc: +denied", line)]
        ours = [line for line in denied if OURS.search(line)]
        return ours, len(denied) - len(ours)

    def mislabelled(self) -> t.List[str]:
        """What the policy would label differently, in restorecon's words."""
        return self._sh(f"restorecon -R -n -v {LABELLED}").splitlines()

    def types(self) -> t.List[str]:
        """SELinux's types of everything the collection wrote."""
        ours = f"find {WRITTEN} '(' -path '*ebpf_fleet*' -o -path '*ebpf-fleet*' ')' -printf '%Z\\n'"
        return sorted({context.split(":")[2] for context in self._sh(ours).split()})

    def persistent(self) -> str:
        """Checksums of everything that a reboot restores from."""
        return self._sh("find /var/lib/ebpf_fleet -type f -exec sha256sum {} + | sort")

    def left(self) -> str:
        """Everything that bears the collection's or its program's name."""
        return self._sh(
            "find /etc /run /sys/fs/bpf /usr/local /var -name '*ebpf*fleet*' -o -name 'packet_count*';"
            " for list in list-units list-unit-files; do systemctl $list --all --no-legend 'ebpf-fleet*'; done || :"
        )


def _folder(interface: str) -> str:
    return f"{PINS}/packet_count/{interface.replace('.', '%2E')}"
