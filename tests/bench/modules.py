# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time that each module takes in the target's Python, without the start of Python and Ansible."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import pathlib
import py_compile
import shutil
import subprocess
import sys
import typing as t

import ansible
from ansible_collections.ebpf.fleet.plugins.module_utils import boot
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.manifests import Manifest, packed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.files import sha256
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import MANIFESTS, RUNNER, Place
from ansible_collections.ebpf.fleet.plugins.module_utils.state.private_files import write_private
from host import Host
from packets import compiled
from paths import ROOT
from report import Row, at_most, of_rounds

MODULES = "time of each module in the target (CPU time; out of a zip of sources, as Ansible sends them in each task)"
COMMAND = "make bench"
ANSIBLE = pathlib.Path(ansible.__file__).parent
FURTHER = 200

# As on a target: all sources, Ansible's too, are in a zip. Ansible's own start is the time of its ping.
PROBE = """
import io, json, sys, time
def clock(): return time.process_time() * 1000
begin = clock()
import ansible.module_utils.basic as basic
import importlib
started = clock()
module = importlib.import_module(sys.argv[1])
imported = clock()
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.argv[2].encode(), "legacy"
sys.stdout = io.StringIO()
try:
    module.main()
except SystemExit as end:
    failed = end.code
said, sys.stdout = sys.stdout.getvalue(), sys.__stdout__
assert not failed, said
print(json.dumps([started - begin, imported - started, clock() - imported]))
"""


def module_times(folder: pathlib.Path, rounds: int) -> t.List[Row]:
    host = Host(f"ebpf-bench-{os.getpid()}")
    try:
        return _module_times(host, folder, rounds)
    finally:
        host.close()


@contextlib.contextmanager
def _restores(host: Host) -> t.Iterator[None]:
    """Let the host restore a program after a reboot, not one of those here: each run then has to look at it."""
    if os.path.exists(MANIFESTS):  # it already does
        yield
        return
    place = Place(host.pins, "another", "eth0")
    manifest = Manifest(Deployed("/none.bpf.o", sha256(b""), "another", "auto"))
    write_private(RUNNER, boot.runner())
    write_private(place.manifest, packed(manifest, b""))
    try:
        yield
    finally:
        shutil.rmtree(MANIFESTS)


Tasks = t.Dict[str, t.Tuple[str, t.Dict[str, t.Any]]]  # by label: module and options


def _tasks(host: Host, folder: pathlib.Path) -> Tasks:
    """Each module on a host where it has nothing (more) to do."""
    path = folder / "modules.o"
    path.write_bytes(compiled(folder, "packet_count"))
    shutil.copy(ROOT / "files/bpf/packet_count.bpf.c", folder)
    given = {"object": str(path), "interfaces": ["eth0"], "name": "bench", "allow_unsafe_paths": True}
    host.ok("xdp_program", **given)
    source = {"src": str(folder / "packet_count.bpf.c"), "dest": str(folder / "built.o")}
    host.ok("bpf_object", **source)
    host.plug("eth1")
    more = {"object": source["dest"], "build": {"src": source["src"]}, "interfaces": ["eth1"], "name": "built"}
    building = {**given, **more}
    host.ok("xdp_program", **building)
    return {
        "ping": ("ansible.modules.ping", {}),
        "xdp_counter_facts": (_module("xdp_counter_facts"), {"name": "bench"}),
        "xdp_program, unchanged": (_module("xdp_program"), given),
        "xdp_program with build, unchanged": (_module("xdp_program"), building),
        "xdp_program, unchanged, on a host that restores programs": (_module("xdp_program"), given),
        "bpf_object, unchanged": (_module("bpf_object"), source),
        "bpf_program_info": (_module("bpf_program_info"), {}),
        "bpf_facts": (_module("bpf_facts"), {}),
        "xdp_confirm": (_module("xdp_confirm"), {"token": "0", "_ansible_check_mode": True}),
    }


def beside(revision: str, folder: pathlib.Path, rounds: int) -> t.List[Row]:
    """Imports and kernel work of each module, here and at a different revision, by differences within rounds."""
    other = folder / "other"
    other.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", revision, "plugins"], capture_output=True, check=False)
    if archive.returncode:
        sys.exit(f"bench: git archive {revision} failed: {archive.stderr.decode()}; fetch that revision first")
    subprocess.run(["tar", "-x", "-C", str(other)], input=archive.stdout, check=True)
    host = Host(f"ebpf-bench-{os.getpid()}")
    try:
        tasks = _tasks(host, folder)
        zips = [_as_sent(folder / name, plugins)[0] for name, plugins in (("a", ROOT), ("b", other))]
        rows = []
        for name, (module, options) in list(tasks.items())[1:]:
            here: t.List[float] = []
            there: t.List[float] = []
            with _restores(host) if name.endswith("restores programs") else contextlib.nullcontext():
                for number in range(rounds):
                    both = list(zip(zips, (here, there)))
                    for sent, found in both if number % 2 else reversed(both):  # neither is always the first
                        found.append(sum(_run(host, sent, module, options)[1:]))
            where = f"time of each module in the target, beside {revision} (CPU time, imports and kernel work)"
            command = f"make bench BESIDE={revision}"
            rows.append(of_rounds(where, f"{name}: {revision}", there, "ms", command))
            rows.append(of_rounds(where, f"{name}: here", here, "ms", command))
            more = [one - two for one, two in zip(here, there)]
            rows.append(at_most(of_rounds(where, f"{name}: more than {revision}", more, "ms", command), 1))
        return rows
    finally:
        host.close()


def _module_times(host: Host, folder: pathlib.Path, rounds: int) -> t.List[Row]:
    sent, compiled_before = _as_sent(folder, ROOT)
    tasks = _tasks(host, folder)
    del tasks["xdp_confirm"]
    given = tasks["xdp_program, unchanged"][1]
    times: t.Dict[str, t.List[t.List[float]]] = {name: [] for name in tasks}
    quick: t.Dict[str, t.List[float]] = {name: [] for name in tasks}
    for _round in range(rounds):
        for name, (module, options) in tasks.items():
            with _restores(host) if name.endswith("restores programs") else contextlib.nullcontext():
                times[name].append(_run(host, sent, module, options))
                quick[name].append(_run(host, compiled_before, module, options)[1])
    rows = [
        of_rounds(
            MODULES, "Python's and Ansible's own start (ping)", [sum(each) for each in times["ping"]], "ms", COMMAND
        )
    ]
    for name in list(tasks)[1:]:
        imports = [each[1] - own[1] for each, own in zip(times[name], times["ping"])]
        work = [each[2] - own[2] for each, own in zip(times[name], times["ping"])]
        both = [one + two for one, two in zip(imports, work)]
        compiling = [each[1] - other for each, other in zip(times[name], quick[name])]
        rows.append(of_rounds(MODULES, f"{name}: imports", imports, "ms", COMMAND))
        rows.append(of_rounds(MODULES, f"{name}: … of them, compiling its Python sources", compiling, "ms", COMMAND))
        rows.append(of_rounds(MODULES, f"{name}: kernel work", work, "ms", COMMAND))
        rows.append(at_most(of_rounds(MODULES, f"{name}: both", both, "ms", COMMAND), 30))
    return rows + _further_interfaces(host, sent, given)


def _as_sent(folder: pathlib.Path, checkout: pathlib.Path) -> t.Tuple[pathlib.Path, pathlib.Path]:
    """A zip of what Ansible sends, for all modules; and one that also contains the bytecode of ours."""
    tree = folder / "sent"
    for part in ("__init__.py", "_vendor/__init__.py", "release.py", "modules/__init__.py", "modules/ping.py"):
        (tree / "ansible" / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ANSIBLE / part, tree / "ansible" / part)
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ANSIBLE / "module_utils", tree / "ansible/module_utils", ignore=without)
    ours = tree / "ansible_collections"
    shutil.copytree(checkout / "plugins", ours / "ebpf/fleet/plugins", ignore=without)
    for package in (".", "ebpf", "ebpf/fleet", "ebpf/fleet/plugins", "ebpf/fleet/plugins/modules"):
        (ours / package / "__init__.py").touch()
    sent = shutil.make_archive(str(folder / "sent"), "zip", tree)
    for_sure = py_compile.PycInvalidationMode.UNCHECKED_HASH  # a zip's timestamps are too coarse
    compileall.compile_dir(ours, quiet=1, legacy=True, invalidation_mode=for_sure)
    return pathlib.Path(sent), pathlib.Path(shutil.make_archive(str(folder / "compiled_before"), "zip", tree))


def _further_interfaces(host: Host, sent: pathlib.Path, given: t.Dict[str, t.Any]) -> t.List[Row]:
    """The time that each further interface adds to an unchanged xdp_program and to xdp_counter_facts."""
    more = [f"v{number}" for number in range(FURTHER)]
    for name in more:
        host.plug(name)
    every = {**given, "interfaces": ["eth0", *more]}
    host.ok("xdp_program", **every)
    rows = []
    for name, options, one in (
        ("xdp_program", every, given),
        ("xdp_counter_facts", {"name": "bench"}, {"name": "bench", "interfaces": ["eth0"]}),
    ):
        added = [
            (_run(host, sent, _module(name), options)[2] - _run(host, sent, _module(name), one)[2]) / FURTHER
            for _round in range(3)
        ]
        words = f"{name}, unchanged" if one is given else name
        rows.append(of_rounds(MODULES, f"{words}: each of {FURTHER} further interfaces", added, "ms", COMMAND))
    return rows


def _module(name: str) -> str:
    return f"ansible_collections.ebpf.fleet.plugins.modules.{name}"


def _run(host: Host, sent: pathlib.Path, module: str, options: t.Dict[str, t.Any]) -> t.List[float]:
    """CPU time in ms of: start, imports, main()."""
    words = ["nsenter", f"--net=/run/netns/{host.name}", sys.executable, "-B", "-W", "ignore", "-c", PROBE]
    done = subprocess.run(
        [*words, module, json.dumps({"ANSIBLE_MODULE_ARGS": options})],
        env={**os.environ, "PYTHONPATH": str(sent)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"bench: {module} failed: {done.stdout}{done.stderr}")
    return t.cast("list[float]", json.loads(done.stdout))
