# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes docs/walkthrough.md: runs commands on the demo's fleet, and prints them with their output as Markdown.

`make docs` runs this in cog (-P), which replaces the old output with the new.
"""

from __future__ import annotations

import atexit
import fcntl
import itertools
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import threading
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = pathlib.Path("/run/walkthrough")
LOCK = "/run/ebpf-demo.lock"
BY_HAND = "edge1"
PIN = pathlib.Path("/sys/fs/bpf/packet_count")
MOUNTS = {"bpf": "/sys/fs/bpf", "tracefs": "/sys/kernel/tracing"}
ENVIRONMENT = {
    **os.environ,
    "ANSIBLE_CONFIG": str(ROOT / "demo/ansible.cfg"),
    "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build/collections"),
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_FORKS": "1",  # so that the hosts' output is in order
    "LC_ALL": "C.UTF-8",
    "PWD": str(WORK),
    "PATH": f"{ROOT}/build/venv/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
}


def sh(*command: t.Any) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"docs: {command} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


OTHERS: t.Set[str] = set()  # ids of programs that this machine has besides


def begin() -> None:
    """The demo's fleet, and a folder with the walkthrough's program."""
    if os.geteuid():
        sys.exit("docs: the walkthrough loads BPF programs; run it as root (`make docs` uses sudo).")
    # As in demo/run.sh; held until this process ends.
    lock = open(os.open(LOCK, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "a")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("docs: a demo is running on this machine; wait for it to end.")
    if PIN.exists():
        sys.exit(
            f"docs: {PIN} exists on this machine; the walkthrough pins its program there by hand, so remove it first."
        )
    for kind, folder in MOUNTS.items():
        if f" {folder} {kind} " not in pathlib.Path("/proc/mounts").read_text():
            sh("mount", "-t", kind, kind, folder)
    atexit.register(_end, lock)
    OTHERS.update(re.findall(r"^(\d+): ", sh("bpftool", "prog", "list"), re.M))
    pathlib.Path("/sys/kernel/tracing/trace").write_text("")  # remove what others have printed
    sh(ROOT / "demo/fleet.sh", "up")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    shutil.copy(ROOT / "tests/integration/bpf/walkthrough.bpf.c", WORK / "packet_count.bpf.c")
    (WORK / "Makefile").symlink_to(ROOT / "files/bpf/Makefile")
    for name in ("inventory.yml", "play.yml"):
        folder = "demo" if name == "inventory.yml" else "docs/walkthrough"
        shutil.copy(ROOT / folder / name, WORK)
    inventory, mark = WORK / "inventory.yml", "    xdp_directory: "  # objects of earlier runs are not in the folder
    inventory.write_text(inventory.read_text().replace(mark, f"    xdp_controller_directory: {WORK}/objects\n{mark}"))
    shutil.copytree(ROOT / "examples", WORK / "examples")  # one of its lists is changed


def _end(lock: t.TextIO) -> None:
    PIN.unlink(missing_ok=True)
    sh(ROOT / "demo/fleet.sh", "down")
    shutil.rmtree(WORK, ignore_errors=True)
    os.unlink(LOCK)
    lock.close()


def made_with() -> None:
    """Print the versions of the tools whose output the document shows."""
    compiler = sh("clang", "--version").splitlines()[0]
    tool = sh("bpftool", "version").splitlines()[0]
    ansible = subprocess.run(["ansible", "--version"], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    kernel = f"Linux {platform.release()} {platform.machine()}"
    print(f"Made with {compiler}; {tool}; {ansible.stdout.splitlines()[0]}; {kernel}.")


def by_hand(command: str, packets: int = 0, code: t.Optional[int] = 0) -> None:
    """Run as root on the host edge1, while `packets` packets arrive on its eth0. code=None: it may fail."""
    words = ["nsenter", f"--net=/run/netns/ebpf-demo-{BY_HAND}", "sh", "-c", command]
    _show(f"{BY_HAND}# {command}", words, ["p1"] * packets, code)


def ours(command: str, ports: str = "") -> None:
    """Run on the controller, while ten packets a second are sent from these ports of the hub."""
    _show(f"$ {command}", ["sh", "-c", command], itertools.cycle(ports.split()) if ports else [], 0)


def _show(prompt: str, words: t.List[str], ports: t.Iterable[str], code: t.Optional[int]) -> None:
    process = subprocess.Popen(
        words, env=ENVIRONMENT, cwd=WORK, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    ended = threading.Event()

    def traffic() -> None:
        for port in ports:
            if ended.wait(0.1):
                return
            send(port, 1)

    sending = threading.Thread(target=traffic)
    sending.start()
    said, _nothing = process.communicate()
    ended.set()
    sending.join()
    if code not in (None, process.returncode):
        sys.exit(f"docs: {prompt} ended with {process.returncode}:\n{said}")
    _block("console", f"{prompt}\n{_without_others(said).replace(f'{ROOT}/', '')}")


def _without_others(said: str) -> str:
    """What `bpftool prog list` says, without the programs that were there before."""
    rows = re.split(r"^(?=\d+: xdp )", said, flags=re.M)
    return "".join(row for row in rows if row.partition(":")[0] not in OTHERS)


def send(port: str, packets: int) -> None:
    """Send packets of 64 bytes from the demo's hub."""
    sh("nsenter", "--net=/run/netns/ebpf-demo-hub", sys.executable, ROOT / "demo/send.py", port, packets, 64)


def show(path: str, language: str) -> None:
    """Print a file of this repository."""
    _block(language, (ROOT / path).read_text())


def _block(language: str, text: str) -> None:
    lines = "\n".join(line.rstrip() for line in text.rstrip().splitlines())
    print(f"\n```{language}\n{lines}\n```")
