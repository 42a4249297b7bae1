# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_pull on a host with systemd. What it runs is a script; Molecule's scenario pull has the real ansible-pull."""

from __future__ import annotations

import json
import pathlib
import time
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.border.answers import checked
from host import Host
from watched import Watched, watched

__all__ = ["watched"]

Result = t.Dict[str, t.Any]
COMMIT = "8cb28872f1c1a9b1c76a4c4b1c2b5a6f0e9d8c7b"
SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"
# What it is told is kept; it is as long as `hold` exists.
SCRIPT = f"""#!/bin/sh
case $1 in --version) echo 'ansible-pull [core 2.19.1]'; exit ;; esac
for each; do echo "$each"; done >{{folder}}/told
env >{{folder}}/env
echo '{{{{"commit": "{COMMIT}"}}}}' >/run/ebpf_fleet_pull/prepared
while [ -e {{folder}}/hold ]; do sleep 0.1; done
[ ! -e {{folder}}/fail ] || {{{{ echo '[ERROR]: it was to fail' >&2; exit 2; }}}}
"""


class Pulling:
    """A host that has an ansible-pull."""

    def __init__(self, of: Watched) -> None:
        self.host, self.systemd, self.folder = of.host, of.systemd, of.folder
        self.var = self.folder / "var/ebpf_fleet_pull"
        self.command = self.folder / "ansible-pull"
        self.command.write_text(SCRIPT.format(folder=self.folder))
        self.command.chmod(0o755)
        self.options: Result = {
            "repository": "git@192.0.2.9:xdp.git",
            "name": "web1",
            "command": str(self.command),
            "key": SECRET,
            "known_hosts": "192.0.2.9 ssh-ed25519 AAAA",
            "delay": 0,
        }

    def module(self, **options: t.Any) -> Result:
        return self.host.module("xdp_pull", wrap=self.systemd.command(), **options)

    def pull(self, **options: t.Any) -> Result:
        result = self.module(**{**self.options, **options})
        assert not result.get("failed"), result["msg"]
        return result

    def remove(self, **options: t.Any) -> Result:
        result = self.module(state="absent", **options)
        assert not result.get("failed"), result["msg"]
        return result

    def until_it_ran(self) -> Result:
        deadline = time.monotonic() + 30
        while not (self.var / "last.json").exists():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)
        return t.cast(Result, json.loads((self.var / "last.json").read_text()))

    def tick(self) -> str:
        """Let the service run once more; what systemd says of it."""
        self.systemd.sh("sh", "-c", "systemctl start ebpf-fleet-pull.service || :")
        return self.systemd.sh("sh", "-c", "systemctl is-failed ebpf-fleet-pull.service || :").strip()

    def log(self) -> str:
        return self.systemd.sh("sh", "-c", "cat /run/pull.log || :")

    def traces(self) -> t.List[str]:
        words = (
            "find /etc/systemd/system /var/lib /run -name '*ebpf[_-]fleet[_-]pull*' -not -path '/run/systemd/system/*'"
        )
        return self.systemd.sh(
            "sh", "-c", f"{words}; systemctl list-units --all --plain --no-legend 'ebpf-fleet-pull*'"
        ).split()


@pytest.fixture
def pulling(watched: Watched) -> Pulling:
    return Pulling(watched)


def test_it_runs_as_declared(pulling: Pulling) -> None:
    predicted = pulling.pull(check=True)
    assert predicted["changed"] and predicted["last"] is None and pulling.traces() == []
    done = pulling.pull()
    assert done["steps"] == predicted["steps"] and done["diff"] == predicted["diff"]
    assert "c2VjcmV0" not in json.dumps({**done, "invocation": None})
    found = pulling.until_it_ran()
    assert (found["commit"], found["problem"], found["kept_commit"]) == (COMMIT, None, COMMIT)
    told = (pulling.folder / "told").read_text().splitlines()
    assert told[told.index("--limit") + 1] == "web1" and told[-1] == "site.yml"
    key = pathlib.Path(told[told.index("--private-key") + 1])
    assert key == pathlib.Path("/var/lib/ebpf_fleet_pull/key")
    assert (pulling.var / "key").read_text() == SECRET and (pulling.var / "key").stat().st_mode & 0o777 == 0o600
    assert pulling.var.stat().st_mode & 0o777 == 0o700
    assert "LC_ALL=C.UTF-8" in (pulling.folder / "env").read_text()
    again = pulling.pull()
    assert not again["changed"] and again["last"] == found and checked("xdp_pull", again) == again
    assert "this host is as git@192.0.2.9:xdp.git declares it" in pulling.log()


def test_what_fails_is_said(pulling: Pulling) -> None:
    pulling.pull()
    kept = pulling.until_it_ran()
    (pulling.folder / "fail").touch()
    assert pulling.tick() == "failed"
    last = pulling.pull()["last"]
    assert last["problem"] == f"site.yml of commit {COMMIT} of git@192.0.2.9:xdp.git failed: it was to fail"
    assert (last["kept_at"], last["kept_commit"]) == (kept["kept_at"], COMMIT)
    assert pulling.log().splitlines()[-1] == last["problem"]
    pulling.command.unlink()
    pulling.tick()
    assert f"this host has no {pulling.command}, with which it would keep itself" in pulling.log().splitlines()[-1]


def test_nothing_is_left_of_it(pulling: Pulling) -> None:
    (pulling.folder / "hold").touch()
    pulling.pull(every="hourly")
    pulling.systemd.sh("systemctl", "start", "--no-block", "ebpf-fleet-pull.service")
    deadline = time.monotonic() + 30
    while not (pulling.folder / "told").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    predicted = pulling.remove(check=True)
    assert pulling.traces() != []
    assert pulling.remove()["steps"] == predicted["steps"]
    assert pulling.traces() == []
    assert not pulling.remove()["changed"]


def test_it_changes_with_its_options(pulling: Pulling) -> None:
    pulling.pull()
    pulling.until_it_ran()
    assert pulling.pull(version="next")["steps"] == ["write /var/lib/ebpf_fleet_pull/settings.json"]
    without = {name: value for name, value in pulling.options.items() if name not in ("key", "known_hosts")}
    assert pulling.module(**without)["steps"][0] == "remove /var/lib/ebpf_fleet_pull/key"
    pulling.tick()
    assert "--private-key" not in (pulling.folder / "told").read_text()
    steps = pulling.pull(every="*:0/30")["steps"]
    assert steps[-2:] == ["write /etc/systemd/system/ebpf-fleet-pull.timer", "start the timer"]
    assert "OnCalendar" in pulling.systemd.sh("systemctl", "show", "--property=TimersCalendar", "ebpf-fleet-pull.timer")


def test_what_cannot_be(pulling: Pulling, host: Host) -> None:
    def refused(**options: t.Any) -> str:
        result = pulling.module(**{**pulling.options, **options})
        assert result.get("failed") and pulling.traces() == [], result
        return t.cast(str, result["msg"])

    assert "every is 'sometimes', which is neither seconds nor a time to systemd" in refused(every="sometimes")
    assert "this host has no ansible-none, with which it would keep itself" in refused(command="ansible-none")
    pulling.command.chmod(0o777)
    assert f"{pulling.command}" in refused()
    assert "state is present but all of the following are missing" in refused(repository=None)
    assert "does not run systemd" in host.refused("xdp_pull", **pulling.options)
