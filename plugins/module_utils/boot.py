# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host brings back by itself after a reboot, on each interface as soon as it is there.

In /var/lib/ebpf_fleet lie manifests, each with its object, and this code as one file, which a unit of systemd runs for
each interface: the modules' own observe, plan and apply, with the manifest for the options. systemd.unit(5)
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import os
import pkgutil
import re
import subprocess
import sys
import typing as t
import zipfile

from .entry import require_libbpf, words
from .errors import FleetError
from .files import read_file, sha256
from .observe import Manifest, Persistence, Seen
from .pins import MANIFESTS, NEW, SYSTEMD_RUNS, Place, places, root_of_namespace, unescape
from .private_files import remove, remove_empty, remove_unfinished, write_private

if t.TYPE_CHECKING:
    from .libbpf import Libbpf

RUNNER = f"{MANIFESTS}/boot.pyz"
SYSTEMD = "/etc/systemd/system"
UNIT = f"{SYSTEMD}/ebpf-fleet@.service"
AGAIN = "run ebpf.fleet.deploy, or the task with xdp_program that has put it there, again"
START_SECONDS = 60  # network-online.target waits no longer for it

_UNIT = """\
# Written by the Ansible collection ebpf.fleet, and taken away by it: xdp_program with persist.
[Unit]
Description=XDP programs on %I, as ebpf.fleet has deployed them
DefaultDependencies=no
RequiresMountsFor={folder}
BindsTo=sys-subsystem-net-devices-%i.device
After=sys-subsystem-net-devices-%i.device
Before=network-online.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec={seconds}
ExecStart="{python}" -I -B {runner} %I

[Install]
WantedBy=sys-subsystem-net-devices-%i.device
"""


# What lies on the host


def packed(manifest: Manifest, content: bytes) -> bytes:
    """The file: a manifest and its object in one, so that they cannot come apart."""
    return json.dumps({**manifest._asdict(), "content": base64.b64encode(content).decode()}, indent=1).encode()


def read_manifest(place: Place) -> t.Tuple[Manifest, bytes]:
    """A manifest and its object. Raises FleetError where it is missing or damaged."""
    text = read_file(place.manifest)
    if text is None:
        raise FleetError(f"there is no {place.manifest}")
    try:
        fields = json.loads(text)
        content = base64.b64decode(fields.pop("content"), validate=True)
        manifest = Manifest(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FleetError(f"{place.manifest} is damaged, and cannot be read; {AGAIN}") from error
    if sha256(content) != manifest.checksum:
        raise FleetError(f"{place.manifest} is damaged: its object does not have its checksum; {AGAIN}")
    return manifest, content


def _all_places() -> t.List[Place]:
    """Of all manifests of this host."""
    found = []
    for root in _listed(MANIFESTS):
        for name in _listed(f"{MANIFESTS}/{root}"):
            found += [each for each in places(unescape(root), name) if os.path.exists(each.manifest)]
    return found


def _listed(folder: str) -> t.List[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def observe(all_seen: t.Iterable[Seen]) -> t.List[Seen]:
    """Add what the host brings back. Of all interfaces at once, as runner, unit and the list are the same for all."""
    every = _all_places()
    kept = {each.interface for each in every}
    works = bool(every) and read_file(RUNNER) == runner() and read_file(UNIT) == _unit_file()
    left_over = not every and (os.path.exists(RUNNER) or os.path.exists(UNIT))

    def persistence(place: Place, ifindex: int) -> Persistence:
        manifest = None
        exists = os.path.exists(place.manifest)
        if exists:
            with contextlib.suppress(FleetError):
                manifest = read_manifest(place)[0]
        enabled = os.path.lexists(_enabled(place.interface))
        traces = exists or os.path.exists(place.manifest + NEW) or left_over
        traces = traces or (enabled and place.interface not in kept)
        return Persistence(manifest, enabled and works, traces, _hindrance(place, ifindex))

    return [seen._replace(persistence=persistence(seen.place, seen.ifindex)) for seen in all_seen]


def _hindrance(place: Place, ifindex: int) -> str:
    """Why it cannot be brought back; nothing if it can."""
    if not os.path.isdir(SYSTEMD_RUNS):
        return "this host does not run systemd"
    if "@" in place.root:
        return "it is in a network namespace of its own, which a reboot ends"
    for folder in (SYSTEMD, os.path.dirname(MANIFESTS)):
        if not os.access(folder, os.W_OK):  # as on an image that is never written
            return f"{folder} is not there, or cannot be written"
    device = read_file(f"/run/udev/data/n{ifindex}")
    if device is None or b"\nG:systemd\n" not in device:
        return "systemd does not know of this interface as a device (in a container it knows none, and never lo)"
    return ""


@functools.lru_cache(maxsize=None)
def runner() -> bytes:
    """This package as a file that Python runs. Made once, of the file that the module has come in."""
    package = __name__.rpartition(".")[0]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path, source in sorted(_sources(package, "ebpf_fleet")):
            archive.writestr(zipfile.ZipInfo(path), source)
        main = "import sys\nfrom ebpf_fleet.boot import main\nsys.exit(main(sys.argv[1:]))\n"
        archive.writestr(zipfile.ZipInfo("__main__.py"), main)
    return file.getvalue()


def _sources(package: str, folder: str) -> t.Iterator[t.Tuple[str, str]]:
    """Path and text of all modules of a package, wherever it was imported from."""
    spec: t.Any = sys.modules[package].__spec__
    yield f"{folder}/__init__.py", spec.loader.get_source(package) or ""
    for each in pkgutil.iter_modules(sys.modules[package].__path__):
        name, finder = f"{package}.{each.name}", t.cast(t.Any, each.module_finder)
        if each.ispkg:
            yield from _sources(name, f"{folder}/{each.name}")
        else:
            # A zipimporter is a loader as well. Its find_spec() would compile the module.
            loader = finder if hasattr(finder, "get_source") else finder.find_spec(name).loader
            yield f"{folder}/{each.name}.py", loader.get_source(name)


def _unit_file() -> bytes:
    python = (sys.executable or "/usr/bin/python3").replace("%", "%%")
    return _UNIT.format(folder=MANIFESTS, seconds=START_SECONDS, python=python, runner=RUNNER).encode()


def _escaped(name: str) -> str:
    """As systemd-escape(1) writes it."""
    escaped = re.sub(r"[^A-Za-z0-9:_.]", lambda found: "".join(f"\\x{c:02x}" for c in found.group().encode()), name)
    return "\\x2e" + escaped[1:] if escaped.startswith(".") else escaped


def unit_of(interface: str) -> str:
    return f"ebpf-fleet@{_escaped(interface)}.service"


def _enabled(interface: str) -> str:
    """The link that has a unit started with its device, as `systemctl enable` makes it."""
    return f"{SYSTEMD}/sys-subsystem-net-devices-{_escaped(interface)}.device.wants/{unit_of(interface)}"


def write_manifest(place: Place, content: t.Optional[bytes]) -> None:
    """Have exactly this brought back, or nothing; tell_systemd() is to follow. Raises OSError."""
    enabled = _enabled(place.interface)
    if content is not None:
        for path, wanted, mode in ((RUNNER, runner(), 0o600), (UNIT, _unit_file(), 0o644)):
            if read_file(path) != wanted:
                write_private(path, wanted, mode)
        write_private(place.manifest, content)
        if not os.path.lexists(enabled):
            os.makedirs(os.path.dirname(enabled), exist_ok=True)
            os.symlink(UNIT, enabled)
        return
    others = [each for each in _all_places() if each != place]
    if place.interface not in {each.interface for each in others}:
        remove(enabled)
        remove_empty(os.path.dirname(enabled))
    if not others:
        for path in (UNIT, UNIT + NEW, RUNNER, RUNNER + NEW):
            remove(path)
    remove(place.manifest)  # last: by it a later run knows of what one that was killed has left
    remove_unfinished(place.manifest)


def tell_systemd(interfaces: t.Iterable[str]) -> None:
    """Once for all that have changed: it reads all its units again. Raises FleetError in its words."""
    if not os.path.isdir(SYSTEMD_RUNS):
        return
    done = _systemctl("daemon-reload")
    if done.returncode:
        raise FleetError(f"systemctl daemon-reload failed: {done.stderr.strip() or done.stdout.strip()}")
    gone = [unit_of(each) for each in interfaces if not os.path.lexists(_enabled(each))]
    if gone:
        _systemctl("stop", *gone)
    # It remembers that a unit has failed, and counts the whole host as degraded.
    _systemctl("reset-failed", *(unit_of(each) for each in interfaces))


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)


# What runs at boot


def main(arguments: t.Sequence[str]) -> int:
    """boot.pyz INTERFACE: bring back what the manifests say. Prints each step, and on standard error what is wrong."""
    (interface,) = arguments
    failed = 0
    for place in _all_places():
        if place.interface != interface or root_of_namespace(place.root.partition("@")[0]) != place.root:
            continue
        try:
            for line in bring_back(require_libbpf(), place):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
        except (FleetError, OSError, ValueError) as error:
            sys.stderr.write(f"{place.name} is not on {interface}: {words(error)}\n")
            failed = 1
    return failed


def bring_back(lib: Libbpf, place: Place) -> t.Iterator[str]:
    """Attach what the manifest of a place says. Raises FleetError, BpfError and OSError."""
    from .object_file import inspect
    from .plan import Wanted
    from .safe_path import check_safe
    from .xdp import Request, change

    check_safe(place.manifest)
    manifest, content = read_manifest(place)
    image = inspect(lib, manifest.object, content).image
    wanted = Wanted(
        state="attached",
        name=place.name,
        object=image.facts,
        program=manifest.program,
        mode=manifest.mode,
        replace=manifest.replace,
        generic=manifest.generic,
    )
    warnings: t.List[str] = []
    request = Request(wanted, place.root, [place.interface], keep_going=False, check=False, at_boot=True)
    outcome = change(lib, request, image, warnings.append)
    yield from warnings
    for planned in outcome.plans:
        yield from (f"{place.name} on {place.interface}: {step}" for step in planned.steps)
