# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host keeps itself as declared: the settings of xdp_pull, and the systemd units made of them."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import json
import re
import typing as t

from ..errors import FleetError
from ..persist.timers import Timer
from ..state.places import PULL, PULLED, PULLING

TIMER = Timer("ebpf-fleet-pull")
SETTINGS = f"{PULL}/settings.json"
RUNNER = f"{PULL}/pull.pyz"
KEY = f"{PULL}/key"
KNOWN_HOSTS = f"{PULL}/known_hosts"
CHECKOUT = f"{PULL}/repository"
ANSIBLE_HOME = f"{PULL}/ansible"
COLLECTIONS = f"{ANSIBLE_HOME}/collections"
LAST = PULLED
REFUSED = f"{PULL}/refused.json"  # the commit that was rolled back
STAMP = "/var/lib/systemd/timers/stamp-ebpf-fleet-pull.timer"  # of a timer with Persistent=true

SHORTEST = 60  # seconds between two runs
LONGEST = 3600  # seconds that a run may take

# What ansible-pull puts into a command line, a list of options and a template.
_PLAIN = re.compile(r"[^\s\"'`\\{}$;&|<>]+")
_INSIDE = re.compile(r"(?!/)(?!.*(?:^|/)\.\.(?:/|$))[^\s\"'`\\{}$;&|<>,-][^\s\"'`\\{}$;&|<>,]*")

_WRITTEN_BY = "# Written and removed by xdp_pull of the Ansible collection ebpf.fleet.\n"
_SERVICE = """\
[Unit]
Description=Keep the XDP programs of this host as a git repository declares them
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/bin/sh {runner}
RuntimeDirectory={runtime}
RuntimeDirectoryMode=0700
TimeoutStartSec={seconds}
Nice=5
"""
_TIMER = """\
[Unit]
Description=Keep the XDP programs of this host as a git repository declares them

[Timer]
{when}
RandomizedDelaySec={delay}
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


class Settings(t.NamedTuple):
    """`every`: seconds after the end of a run, or when, as in systemd.time(7). `delay`: seconds at most, by chance.

    `playbook` and `inventory` are paths in the repository; `name`: the host's own in that inventory. `ssh`: whether
    there is a key, and whether there are known hosts.
    """

    repository: str
    version: str
    playbook: str
    inventory: str
    name: str
    every: str
    delay: int
    command: str
    verify_commit: bool = False
    ssh: t.Tuple[bool, bool] = (False, False)

    def written(self) -> bytes:
        return (json.dumps(self._asdict(), indent=1) + "\n").encode()


def read(content: bytes) -> Settings:
    """Raises ValueError for what written() does not write."""
    try:
        found = json.loads(content)
        return Settings(**{**found, "ssh": tuple(found["ssh"])})
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from error


def settings_of(options: t.Mapping[str, t.Any]) -> Settings:
    """The options of xdp_pull. Raises FleetError if one cannot be used."""
    for name in ("repository", "version", "name", "command"):
        if options[name] == "" and name == "version":
            continue
        if not _PLAIN.fullmatch(options[name]) or options[name].startswith("-"):
            raise FleetError(
                f"{name} is {options[name]!r}: it becomes a part of a command of ansible-pull, so give it without white"
                " space, quotes, braces and characters of the shell"
            )
    for name in ("playbook", "inventory"):
        if not _INSIDE.fullmatch(options[name]):
            raise FleetError(
                f"{name} is {options[name]!r}: give a path from the top of the repository, such as site.yml"
            )
    if not 0 <= options["delay"] < 1 << 31:
        raise FleetError(f"delay is {options['delay']}: give seconds, from 0 on")
    return Settings(
        repository=options["repository"],
        version=options["version"],
        playbook=options["playbook"],
        inventory=options["inventory"],
        name=options["name"],
        every=_every(str(options["every"])),
        delay=options["delay"],
        command=options["command"],
        verify_commit=options["verify_commit"],
        ssh=(bool(options["key"]), bool(options["known_hosts"])),
    )


def _every(text: str) -> str:
    if text.isdigit():
        if int(text) < SHORTEST:
            raise FleetError(f"every is {text}: give {SHORTEST} seconds or more, or when, as in systemd.time(7)")
        return text
    if "\n" in text or not text.strip():
        raise FleetError(f"every is {text!r}: give seconds, or when, as in systemd.time(7)")
    return text


def check_calendar(every: str) -> None:
    """Raises FleetError with systemd's words if it does not know when that is."""
    if every.isdigit():
        return
    import subprocess  # here: most give seconds

    done = subprocess.run(
        ["systemd-analyze", "calendar", "--", every], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise FleetError(f"every is {every!r}, which is neither seconds nor a time to systemd: {''.join(said)}")


def service_file() -> bytes:
    runtime = PULLING.rpartition("/")[2]
    return (_WRITTEN_BY + _SERVICE.format(runner=RUNNER, runtime=runtime, seconds=LONGEST)).encode()


def timer_file(settings: Settings) -> bytes:
    """With seconds, the first run follows a start of the host, or of the timer; so none is missed either."""
    if settings.every.isdigit():
        when = f"OnActiveSec=0\nOnUnitInactiveSec={settings.every}"
    else:
        when = f"OnCalendar={settings.every}\nPersistent=true"
    return (_WRITTEN_BY + _TIMER.format(when=when, delay=settings.delay)).encode()


def is_own_run() -> bool:
    """Whether this process is part of such a run."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        return f"/{TIMER.units[1]}" in file.read()
