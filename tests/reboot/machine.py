# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest in qemu, and the ways into it: SSH, the collection's playbooks over SSH, and frames on wan0's wire."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import socket
import time
import typing as t

from image import Image
from processes import Failed, run

BOOT_SECONDS = 300  # about 30 are usual on an idle machine
SECONDS = 300  # for a command or a playbook
REACHED = r"Reached target \S*multi-user\.target"  # systemd's words on the console
ESCAPES = r"\x1b(\[[0-9;?]*[A-Za-z]|c)"  # systemd's colours, and the firmware's code to clear the screen
WAYS = ("guest", "wan")  # names of the guest for SSH and Ansible: over eth0, and over wan0
ANSIBLE = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_NOCOWS": "1", "ANSIBLE_PIPELINING": "1", "ANSIBLE_LOCALHOST_WARNING": "0"}


class Machine:
    """`work`: a folder with a short name, for sockets and settings. `logs`: for output of the guest and Ansible."""

    def __init__(self, image: Image, work: pathlib.Path, logs: pathlib.Path, variables: t.Mapping[str, t.Any]) -> None:
        self.serial, self.ansible = logs / "serial.log", logs / "ansible.log"
        self.boot_id = ""
        self._boots = 0
        self._image = image
        self._ssh = ["ssh", "-F", str(work / "ssh_config")]
        self._inventory = work / "inventory.json"
        self._ports = {way: _free_port(socket.SOCK_STREAM) for way in WAYS}
        self._frames = _free_port(socket.SOCK_DGRAM)
        (work / "known_hosts").write_text(f"guest {image.host_key.read_text()}")
        settings = {
            "HostName": "127.0.0.1",
            "User": "root",
            "IdentityFile": image.identity,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": work / "known_hosts",
            "HostKeyAlias": "guest",
            "BatchMode": "yes",
            "ConnectTimeout": 10,
            "ServerAliveInterval": 10,
            "KexAlgorithms": "curve25519-sha256",  # the default is slow to emulate
            "LogLevel": "ERROR",
            # One connection for everything, including Ansible: a new one costs an emulated CPU seconds.
            "ControlMaster": "auto",
            "ControlPersist": 60,
            "ControlPath": work / "ssh-%n",
        }
        lines = [f"Host {way}\n  Port {port}" for way, port in self._ports.items()]
        lines += ["Host *", *(f"  {name} {value}" for name, value in settings.items())]
        (work / "ssh_config").write_text("\n".join(lines) + "\n")
        common = {
            "ansible_ssh_common_args": f"-F {work}/ssh_config",
            "ansible_python_interpreter": "/usr/bin/python3",
            **variables,
        }
        hosts = {way: {"ansible_control_path": f"{work}/ssh-{way}"} for way in WAYS}
        self._inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))

    def start(self, pool: concurrent.futures.Executor) -> None:
        """Returns when it has booted. processes.py ends it together with the other commands."""
        for log in (self.serial, self.ansible):
            log.unlink(missing_ok=True)
        self._qemu = pool.submit(run, *self._command())
        self._until_booted()

    def serial_end(self) -> str:
        text = re.sub(ESCAPES, "", self._serial())
        lines = [line for line in text.split("\n") if line.strip()]
        return "\n".join([f"end of {self.serial}:", *lines[-6:]])

    def _serial(self) -> str:
        return self.serial.read_text(errors="replace") if self.serial.exists() else ""

    def _command(self) -> t.List[str]:
        # See tests/kernels/guest.py for the CPU. -svm, and no legacy disks: otherwise udev loads modules for them.
        kernel = "root=/dev/vda rootfstype=ext4 rw console=ttyS0 mitigations=off net.ifnames=0"
        kernel += " modprobe.blacklist=ata_generic,ata_piix security=selinux selinux=1 enforcing=1 audit=1"
        command = (
            "qemu-system-x86_64 -accel tcg,thread=single,tb-size=512 -cpu qemu64,+rdrand,-svm -smp 1 -m 1024"
            " -display none -monitor none -nodefaults"
            # For SSH.
            f" -netdev user,id=in,restrict=on,hostfwd=tcp:127.0.0.1:{self._ports['guest']}-:22"
            " -device virtio-net-pci,netdev=in"
            # The same on wan0, without a word of its own on the wire, and beside it frames: guest/…/10-wan0.link.
            " -netdev user,id=wan,restrict=on,ipv6=off,net=10.0.3.0/24"
            f",hostfwd=tcp:127.0.0.1:{self._ports['wan']}-10.0.3.15:22 -netdev hubport,id=wan1,hubid=2,netdev=wan"
            f" -netdev socket,id=frames,udp=127.0.0.1:9,localaddr=127.0.0.1:{self._frames}"
            " -netdev hubport,id=wan2,hubid=2,netdev=frames"
            " -netdev hubport,id=wan3,hubid=2 -device virtio-net-pci,netdev=wan3,mac=52:54:00:00:00:03"
        ).split()
        for number in (1, 2):  # the two ends of a wire: guest/etc/systemd/network/10-lan0.link
            command += ["-netdev", f"hubport,id=wire{number},hubid=1"]
            command += ["-device", f"virtio-net-pci,netdev=wire{number},mac=52:54:00:00:00:0{number}"]
        command += ["-kernel", str(self._image.kernel), "-initrd", str(self._image.initramfs), "-append", kernel]
        # snapshot: writes go into an unnamed file, which survives a reboot but not the end of qemu.
        drive = f"file={self._image.disk},format=raw,if=virtio,snapshot=on,cache=unsafe"
        return [*command, "-drive", drive, "-serial", f"file:{self.serial}"]

    def _until_booted(self) -> None:
        """Wait until there is a new boot, and everything in it has been started."""
        self._boots += 1
        deadline = time.monotonic() + BOOT_SECONDS
        # The console shows when: trying SSH until it answers would also cost an emulated CPU seconds.
        while len(re.findall(REACHED, self._serial())) < self._boots:
            if self._qemu.done():
                raise Failed(f"qemu has ended: {self._qemu.exception()}; {self.serial_end()}")
            if time.monotonic() > deadline:
                raise Failed(f"the guest has not booted within {BOOT_SECONDS} s; {self.serial_end()}")
            time.sleep(0.2)
        self.sh("systemctl is-system-running --wait || :")
        before, self.boot_id = self.boot_id, self.sh("cat /proc/sys/kernel/random/boot_id").strip()
        if self.boot_id == before:
            raise Failed("the guest has not rebooted")

    def reboot(self) -> None:
        with contextlib.suppress(Failed):  # the connection may go first
            self.sh("systemctl reboot", seconds=20)
        self._hang_up()
        self._until_booted()

    def _hang_up(self) -> None:
        with contextlib.suppress(Failed):
            run(*self._ssh, "guest", "-O", "exit", seconds=20)

    def sh(self, command: str, seconds: float = SECONDS, way: str = "guest") -> str:
        """Run a command in the guest; returns its output. Raises Failed."""
        return run(*self._ssh, way, command, seconds=seconds)

    def json(self, command: str) -> t.List[t.Any]:
        """The same, for a command whose parts print a line of JSON each."""
        return [json.loads(line) for line in self.sh(command).splitlines()]

    def send_frame(self, frame: bytes) -> None:
        """One that arrives on wan0, if it is up."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.sendto(frame, ("127.0.0.1", self._frames))

    def playbook(self, name: str, **variables: t.Any) -> int:
        """Run a playbook; returns how many tasks changed something. Raises Failed."""
        said = self._ansible("ansible-playbook", f"ebpf.fleet.{name}", "--limit", "guest", "-e", json.dumps(variables))
        recap = re.search(r"^guest .* changed=(\d+) +unreachable=0 +failed=0 ", said, re.MULTILINE)
        if not recap:
            fatal = re.search(r"^fatal: .*", said, re.MULTILINE)
            raise Failed(f"{name}: {(fatal.group() if fatal else said)[:1000]}; see {self.ansible}")
        return int(recap.group(1))

    def task(self, module: str, way: str = "guest", **options: t.Any) -> t.Dict[str, t.Any]:
        """The result of one task, whether it failed or not."""
        said = self._ansible("ansible", way, "-m", f"ebpf.fleet.{module}", "-a", json.dumps(options))
        result = re.search(r"^\w+ \| (\w+)!? => (\{.*^\})", said, re.MULTILINE | re.DOTALL)
        if not result:
            raise Failed(f"{module}: {said[:1000]}; see {self.ansible}")
        return {**json.loads(result.group(2)), "failed": result.group(1) == "FAILED"}

    def _ansible(self, command: str, *words: t.Any) -> str:
        env = {**os.environ, **ANSIBLE, "ANSIBLE_LOG_PATH": str(self.ansible)}
        words = (command, "-i", self._inventory, *words)
        return run("sh", "-c", '"$@" 2>&1 || :', "sh", *words, seconds=SECONDS, env=env)


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(type=kind) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
