# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bench.py [--full] [SECTION...]: measure, print the tables, and write results.json. `make bench` runs it.

Sections that are not measured keep their figures there.

Exit code 1 if a row of exactness misses its bar. Other figures depend on the machine and do not change the code.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from blocking import blocking
from controller import controller
from fleets import control_plane
from leaking import leaking
from lists import lists
from modules import beside, module_times
from packets import cost, exactness
from report import SECTIONS, Row, record, table
from scaling import scaling
from traffic import traffic
from writing import writing

LONG = ("scale", "controller")  # only if asked for, or all is

RESULTS = pathlib.Path(__file__).with_name("results.json")


def sections(lib: Libbpf, folder: pathlib.Path, full: bool, hosts: int) -> t.Dict[str, t.Callable[[], t.List[Row]]]:
    return {
        "cost": lambda: cost(lib, folder, rounds=41 if full else 21),
        "exactness": lambda: exactness(lib, folder, packets=20_000_000 if full else 4_000_000),
        "traffic": lambda: traffic(lib, folder, seconds=6 if full else 3, upgrades=50),
        "maps": lambda: lists(lib, folder, (1000, 100_000, 1_000_000) if full else (1000, 100_000)) + blocking(folder),
        "leaks": lambda: leaking(lib, folder, packets=40_000_000 if full else 4_000_000),
        "modules": lambda: module_times(folder, rounds=15 if full else 7),
        "metrics": lambda: writing(lib, folder, rounds=41 if full else 15),
        "fleets": lambda: control_plane(folder, (10, 50, 200) if full else (10,)),
        "scale": lambda: scaling(folder, hosts),
        "controller": lambda: controller(folder, rounds=3),
    }


def machine() -> t.Dict[str, str]:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    clang = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return {
        "cpu": f"{os.cpu_count()} of {model or platform.machine()}",
        "kernel": platform.release(),
        "clang": clang,
        "python": platform.python_version(),
        "ansible-core": __import__("ansible").__version__,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all fleets and more rounds: ten minutes to half an hour")
    parser.add_argument(
        "--beside", metavar="REVISION", help="only the modules, compared with a different revision of this repository"
    )
    parser.add_argument("--hosts", type=int, default=1000, help="the larger fleet of the section scale")
    parser.add_argument("section", nargs="*", help=f"only these: {', '.join(SECTIONS)}")
    options = parser.parse_args()
    if os.geteuid():
        sys.exit("bench: the benchmark loads BPF programs; run it as root (`make bench` uses sudo).")
    measured: t.Dict[str, t.List[Row]] = {}
    started = time.monotonic()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ebpf-bench", dir="/run"))
    try:
        if options.beside:
            print(table(beside(options.beside, folder, rounds=41 if options.full else 21)))
            return 0
        wanted = options.section or [name for name in SECTIONS if options.full or name not in LONG]
        for name, measure in sections(Libbpf(), folder, options.full, options.hosts).items():
            if name in wanted:
                print(f"bench: {name} …", file=sys.stderr, flush=True)
                measured[name] = measure()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    about, rows = machine(), [row for some in measured.values() for row in some]
    print(table(rows))
    took = f"{'full' if options.full else 'short'} run of {time.monotonic() - started:.0f} s"
    print(f"\n{took} on {', '.join(about.values())}")
    record(measured, about, options.full, str(RESULTS))
    missed = [row for row in rows if row.met is False]
    if missed:
        print(f"{len(missed)} bars missed: {'; '.join(row.name for row in missed)}")
    return 1 if any(row.exact for row in missed) else 0


if __name__ == "__main__":
    sys.exit(main())
