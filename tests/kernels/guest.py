# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot a kernel in qemu with an initramfs that contains everything, and read what the checks print."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import tempfile
import time
import typing as t

import nics
import sharing
import wires
from checks import CHECKS
from debian import Kernel
from machines import MACHINES, WITH_NICS, Machine
from processes import Failed, ended, run

ROWS = {**CHECKS, **sharing.ROWS}  # what checks.py runs
SECONDS = 2400  # one to four minutes are usual on an idle machine, and several times that beside other tests


class Guest(t.NamedTuple):
    """`label`: its name on the command line. Both suites are Debian's, as is the name of the architecture.

    `maps`: upgrades of each type of map are tried.

    Those take as long as all else, so not everywhere. `nics`: in place of all this, it has NICs, and nics.py runs.
    `cost`: in place of all this, instructions are counted, by cost.py.
    """

    label: str
    suite: str
    userland: str
    maps: bool = False
    arch: str = "amd64"
    nics: bool = False
    cost: bool = False
    parameters: str = ""  # more of the kernel's

    @property
    def machine(self) -> Machine:
        return WITH_NICS if self.nics else MACHINES[self.arch]

    @property
    def rows(self) -> t.Collection[str]:
        """The names of what is checked."""
        return nics.ROWS if self.nics else (sharing.COST,) if self.cost else ROWS

    @property
    def name(self) -> str:
        return self.label if self.arch == "amd64" else f"{self.label} {self.arch}"


class Result(t.NamedTuple):
    passed: bool
    text: str
    seconds: int = 0


class Outcome(t.NamedTuple):
    """`about`: versions that the guest reported. `results`: one for each row of the guest, whether it ran or not.

    `upgrades`: what an upgrade does with maps, by type; upgrades.py has the columns. `nics`: what was found.
    """

    guest: Guest
    about: t.Dict[str, str]
    results: t.Dict[str, Result]
    problem: str = ""
    seconds: float = 0
    upgrades: t.Dict[str, t.List[str]] = {}
    nics: t.Sequence[nics.Found] = ()

    @property
    def failed(self) -> int:
        return sum(not result.passed for result in self.results.values())


def not_booted(guest: Guest, problem: str) -> Outcome:
    return Outcome(guest, {}, {name: Result(False, "did not run") for name in guest.rows}, problem)


def boot(guest: Guest, kernel: Kernel, archives: t.Sequence[pathlib.Path], logs: pathlib.Path) -> Outcome:
    """Run the checks on a kernel. `archives`: the initramfs, apart from the kernel's modules."""
    began = time.monotonic()
    name = f"{guest.label}-{guest.userland}-{guest.arch}"
    printed = logs / f"{name}.jsonl"
    log = printed if guest.machine.console == guest.machine.output else logs / f"{name}.log"
    for path in (log, printed):
        path.unlink(missing_ok=True)
    problem = ""
    with tempfile.TemporaryDirectory(dir=logs) as work:
        initramfs = pathlib.Path(work, "initramfs")
        with initramfs.open("wb") as whole:
            for path in (*archives, kernel.modules):
                with path.open("rb") as part:
                    shutil.copyfileobj(part, whole)
        try:
            run(*_command(guest, kernel, initramfs, printed, log), seconds=SECONDS)
        except Failed as error:
            problem = str(error)
    outcome = read(guest, printed, log, problem)._replace(seconds=time.monotonic() - began)
    verdict = f"{outcome.failed} of {len(outcome.results)} failed" if outcome.failed else "passed"
    if not ended():
        print(f"kernels: {guest.name} with {guest.userland}: {verdict} in {outcome.seconds:.0f} s", flush=True)
    return outcome


def _command(
    guest: Guest, kernel: Kernel, initramfs: pathlib.Path, printed: pathlib.Path, log: pathlib.Path
) -> t.List[str]:
    command = guest.machine.qemu.format(log=log, printed=printed).split()
    command += "-smp 2 -m 1024 -display none -monitor none -nodefaults -no-reboot".split()
    command += ["-kernel", str(kernel.image), "-initrd", str(initramfs)]
    # mitigations: an emulated CPU does not need them, and they flush its TLB at each system call.
    words = f"console={guest.machine.console} output=/dev/{guest.machine.output} quiet panic=-1 mitigations=off"
    words += f" {guest.machine.parameters} {guest.parameters}"
    checks = "nics.py" if guest.nics else "cost.py" if guest.cost else "checks.py"
    words += f" checks={checks}{' maps=yes' if guest.maps else ''}"
    if guest.cost:
        command += ["-icount", "shift=0,sleep=off"]  # a nanosecond of the guest's is an instruction
    if guest.nics:
        words += f" without={','.join(wires.missing(command[0]))} qemu={wires.version(command[0])}"
        command = wires.wired(command)
    return [*command, "-append", words]


def read(guest: Guest, printed: pathlib.Path, log: pathlib.Path, problem: str = "") -> Outcome:
    """What a guest printed, and what its kernel wrote to the log. `problem`: why qemu failed."""
    said = printed.read_text(errors="replace") if printed.exists() else ""
    # qemu's exit code is 0 even after a panic: only the guest's output counts.
    records = [json.loads(line) for line in said.splitlines() if line.startswith("{") and line.endswith("}")]
    if {"end": True} not in records and not problem:
        written = log.read_text(errors="replace") if log.exists() else ""
        reason = re.search(r"Kernel panic.*|(?<=checks\.Wrong: ).*", written)
        problem = reason.group().strip() if reason else "the guest ended before the checks did"
    ran = {each["check"]: Result(each["passed"], each["text"], each["seconds"]) for each in records if "check" in each}
    about: t.Dict[str, str] = next((each for each in records if "libbpf" in each), {})
    results = {name: ran.get(name, Result(False, "did not run")) for name in guest.rows}
    upgrades: t.Dict[str, t.List[str]] = next((each["upgrades"] for each in records if "upgrades" in each), {})
    of_nics = [nics.Found(**{**each["nic"], "said": tuple(each["nic"]["said"])}) for each in records if "nic" in each]
    return Outcome(guest, about, results, problem and f"{problem}; see {log}", 0, upgrades, of_nics)
