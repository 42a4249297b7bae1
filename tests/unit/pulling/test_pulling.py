# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host keeps itself: its settings, what is installed for it, and what a run makes of what ansible-pull says."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import time
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.pulling import installation, runner, settings
from ansible_collections.ebpf.fleet.plugins.module_utils.pulling.installation import (
    Installed,
    plan_absent,
    plan_present,
)
from ansible_collections.ebpf.fleet.plugins.module_utils.pulling.settings import (
    KEY,
    KNOWN_HOSTS,
    RUNNER,
    SETTINGS,
    TIMER,
    Settings,
    read,
    settings_of,
    timer_file,
)

PULL = "/var/lib/ebpf_fleet_pull"
OPTIONS: t.Dict[str, t.Any] = {
    "repository": "git@git.example.org:network/xdp.git",
    "version": "",
    "playbook": "site.yml",
    "inventory": "inventory",
    "name": "web1",
    "every": "1800",
    "delay": 300,
    "command": "ansible-pull",
    "verify_commit": False,
    "key": None,
    "known_hosts": None,
}
GIVEN = settings_of(OPTIONS)
COMMIT = "8cb28872f1c1a9b1c76a4c4b1c2b5a6f0e9d8c7b"


def test_settings_are_read_as_they_were_written() -> None:
    given = settings_of({**OPTIONS, "key": "k", "verify_commit": True})
    assert read(given.written()) == given and given.ssh == (True, False)
    for damaged in (b"", b"{", b"[]", b"{}", b'{"ssh": 1}'):
        with pytest.raises(ValueError):
            read(damaged)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"repository": "x; reboot"}, "repository is 'x; reboot': it becomes a part of a command"),
        ({"repository": "--upload-pack=reboot"}, "repository is"),
        ({"repository": ""}, "repository is ''"),
        ({"version": "{{ x }}"}, "version is"),
        ({"name": "web1 -e x"}, "name is"),
        ({"command": "a b"}, "command is"),
        ({"playbook": "/etc/site.yml"}, "playbook is '/etc/site.yml': give a path from the top of the repository"),
        ({"playbook": "a/../../b.yml"}, "playbook is"),
        ({"inventory": "a,b"}, "inventory is"),
        ({"inventory": ""}, "inventory is"),
        ({"every": "59"}, "every is 59: give 60 seconds or more"),
        ({"every": "hourly\nUnit=x"}, "every is"),
        ({"every": " "}, "every is"),
        ({"delay": -1}, "delay is -1"),
    ],
)
def test_what_cannot_be_used(wrong: t.Dict[str, t.Any], words: str) -> None:
    with pytest.raises(FleetError) as error:
        settings_of({**OPTIONS, **wrong})
    assert str(error.value).startswith(words)


def test_when_it_runs() -> None:
    seconds = timer_file(GIVEN).decode()
    assert "OnActiveSec=0\nOnUnitInactiveSec=1800\nRandomizedDelaySec=300\n" in seconds
    calendar = timer_file(GIVEN._replace(every="*:0/30", delay=5)).decode()
    assert "OnCalendar=*:0/30\nPersistent=true\nRandomizedDelaySec=5\n" in calendar and "OnActiveSec" not in calendar


# What is installed

NOTHING = Installed({}, None, False, ())


def wanted(given: Settings, key: bool = False) -> t.Dict[str, bytes]:
    files = {
        RUNNER: b"zip",
        SETTINGS: given.written(),
        TIMER.service_file: b"service",
        TIMER.timer_file: timer_file(given),
    }
    return {**files, **({KEY: b"key\n", KNOWN_HOSTS: b"hosts\n"} if key else {})}


def installed(given: Settings, key: bool = False, **more: t.Any) -> Installed:
    others = (PULL, TIMER.enabled)
    return Installed(wanted(given, key), given, True, others)._replace(**more)


def said(steps: t.Iterable[installation.Step]) -> t.List[str]:
    return [str(each) for each in steps]


def test_all_is_written_once() -> None:
    assert said(plan_present(NOTHING, wanted(GIVEN, key=True))) == [
        "write /var/lib/ebpf_fleet_pull/pull.pyz",
        "write /var/lib/ebpf_fleet_pull/key",
        "write /var/lib/ebpf_fleet_pull/known_hosts",
        "write /var/lib/ebpf_fleet_pull/settings.json",
        "write /etc/systemd/system/ebpf-fleet-pull.service",
        "write /etc/systemd/system/ebpf-fleet-pull.timer",
        "enable the timer",
        "start the timer",
    ]
    assert plan_present(installed(GIVEN, key=True), wanted(GIVEN, key=True)) == []


def test_a_key_that_is_not_given_any_more_goes() -> None:
    assert said(plan_present(installed(GIVEN, key=True), wanted(GIVEN))) == [
        "remove /var/lib/ebpf_fleet_pull/key",
        "remove /var/lib/ebpf_fleet_pull/known_hosts",
    ]


def test_only_another_time_starts_the_timer_again() -> None:
    other = GIVEN._replace(version="next")
    assert said(plan_present(installed(GIVEN), wanted(other))) == ["write /var/lib/ebpf_fleet_pull/settings.json"]
    later = GIVEN._replace(every="60")
    assert said(plan_present(installed(GIVEN), wanted(later)))[1:] == [
        "write /etc/systemd/system/ebpf-fleet-pull.timer",
        "start the timer",
    ]
    stopped = said(plan_present(installed(GIVEN, running=False), wanted(GIVEN)))
    assert stopped == ["enable the timer", "start the timer"]


def test_all_is_removed_and_the_settings_last() -> None:
    steps = said(plan_absent(installed(GIVEN)))
    assert steps[0] == "stop the timer" and steps[-1] == "remove /var/lib/ebpf_fleet_pull"
    assert "have systemd read its units again" in steps and "disable the timer" in steps
    assert plan_absent(NOTHING) == []
    # Killed at any point, the next run does the rest.
    reload = "have systemd read its units again"
    assert said(plan_absent(Installed({}, None, False, (PULL,)))) == [reload, "remove /var/lib/ebpf_fleet_pull"]
    left = (settings.STAMP, f"{TIMER.timer_file}%new")
    assert said(plan_absent(Installed({}, None, False, left)))[:2] == [f"remove {each}" for each in left]


@pytest.mark.parametrize(
    ("prints", "words"),
    [
        (
            "ansible-pull [core 2.18.9]\n",
            "is that of ansible-core 2.18, and this collection needs 2.19 or later: python3",
        ),
        ("what?\n", "does not say its version: what?"),
    ],
)
def test_an_ansible_that_is_too_old(tmp_path: pathlib.Path, prints: str, words: str) -> None:
    command = executable(tmp_path / "ansible-pull", f"printf '{prints}'")
    with pytest.raises(FleetError, match=words.replace("?", r"\?")):
        installation.check_command(GIVEN._replace(command=command))
    with pytest.raises(FleetError, match=r"this host has no /opt/none, .*: apt-get install ansible-core git"):
        installation.check_command(GIVEN._replace(command="/opt/none"))


def executable(path: pathlib.Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


# A run


@pytest.fixture
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """All that a run reads and writes, in a folder."""
    places = {"PULL": "pull", "PULLING": "run", "CHECKOUT": "pull/repository", "ANSIBLE_HOME": "pull/ansible"}
    places.update(COLLECTIONS="pull/ansible/collections", LAST="pull/last.json", REFUSED="pull/refused.json")
    places.update(SETTINGS="pull/settings.json", _PREPARED="run/prepared", _ROLLED_BACK="run/rolled_back")
    places.update(_PLAYBOOK="run/prepare.yml", _INSTALLED_OF="pull/ansible/collections.of")
    for name, path in places.items():
        monkeypatch.setattr(runner, name, str(tmp_path / path))
    tmp_path.chmod(0o700)
    (tmp_path / "pull").mkdir()
    (tmp_path / "run").mkdir()
    return tmp_path


def pulls(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch, script: str) -> int:
    """A run, with a shell script for ansible-pull."""
    command = executable(here / "ansible-pull", script)
    monkeypatch.setattr(runner, "check_trusted", lambda *_path: None)
    monkeypatch.setattr(runner, "read_trusted", lambda *_path: GIVEN._replace(command=command).written())
    return runner.main([])


def last(here: pathlib.Path) -> t.Dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((here / "pull/last.json").read_text()))


PREPARED = f"""echo '{{"commit": "{COMMIT}"}}' >"$(dirname "$0")/run/prepared\""""


def test_a_run_that_works(
    here: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert pulls(here, monkeypatch, f"{PREPARED}\necho as it comes") == 0
    out = capfd.readouterr().out
    assert "as it comes" in out and f"this host is as {GIVEN.repository} declares it in {COMMIT}" in out
    found = last(here)
    assert (found["commit"], found["problem"], found["kept_commit"]) == (COMMIT, None, COMMIT)
    assert abs(found["kept_at"] - time.time()) < 60 and not (here / "run").exists()


FAILED = """\
localhost | FAILED! => {
    "changed": false,
    "msg": "Failed to download remote objects",
    "stderr": "no route"
}
"""
BROKEN = "[ERROR]: YAML parsing failed: Did not find expected ',' or ']'.\nOrigin: /x/site.yml:2:10"
FATAL = """\
[ERROR]: Task failed: x
fatal: [web1]: FAILED! => {"changed": false, "msg": "cannot read objects/x.bpf.o"}
PLAY RECAP ***
web1 : ok=1
"""


@pytest.mark.parametrize(
    ("prints", "prepared", "words"),
    [
        (FAILED, False, "could not be used: Failed to download remote objects; no route; nothing was changed"),
        (FATAL, True, f"site.yml of commit {COMMIT} of {GIVEN.repository} failed: cannot read objects/x.bpf.o"),
        (BROKEN, True, "failed: YAML parsing failed: Did not find expected ',' or ']'."),
        ("", True, "failed: it said nothing"),
        ("[ERROR]: Could not find a playbook to run.", False, "has no playbook site.yml; nothing was changed"),
    ],
)
def test_a_run_that_fails(
    here: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    prints: str,
    prepared: bool,
    words: str,
) -> None:
    assert pulls(here, monkeypatch, PREPARED) == 0
    (here / "run").mkdir()
    (here / "prints").write_text(prints)
    script = f"{PREPARED if prepared else ':'}\ncat {here}/prints\nexit 2"
    assert pulls(here, monkeypatch, script) == 1
    said = capfd.readouterr().err
    assert words in said and "Traceback" not in said
    found = last(here)
    assert words in found["problem"] and found["kept_commit"] == COMMIT


def test_who_is_not_in_the_inventory(here: pathlib.Path) -> None:
    for path in ("site.yml", "inventory"):
        (here / "pull/repository").mkdir(exist_ok=True)
        (here / "pull/repository" / path).touch()
    lines = ["[ERROR]: Specified inventory, host pattern and/or --limit leaves us with no targets available."]
    assert "inventory of git@git.example.org:network/xdp.git has no host web1" in runner._problem(GIVEN, 1, lines)
    (here / "pull/repository/inventory").unlink()
    assert "has no inventory inventory; nothing" in runner._problem(GIVEN, 1, lines)


def test_a_run_without_targets_is_none(here: pathlib.Path) -> None:
    """Ansible ends well where no host matches."""
    assert runner._problem(GIVEN, 0, ["skipping: no hosts matched"])


def test_what_was_rolled_back_is_not_tried_again_today(
    here: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rolled_back = 'echo "the gateway was silent" >"$(dirname "$0")/run/rolled_back"'
    assert pulls(here, monkeypatch, f"{PREPARED}\n{rolled_back}\nexit 2") == 1
    assert f"commit {COMMIT} of {GIVEN.repository} was rolled back: the gateway was silent" in capfd.readouterr().err
    (here / "run").mkdir()
    monkeypatch.setattr(runner, "_git", lambda *_words: COMMIT)
    assert runner.main(["prepare"]) == 1
    assert "was rolled back before, and is not tried again today: the gateway was silent" in capfd.readouterr().err
    assert json.loads((here / "run/prepared").read_text())["error"]
    monkeypatch.setattr(runner, "_git", lambda *_words: "another")
    assert runner.main(["prepare"]) == 0 and not (here / "pull/refused.json").exists()
    for age, status in ((runner.AGAIN - 60, 1), (runner.AGAIN + 60, 0)):
        refused = {"commit": "another", "at": int(time.time() - age), "why": "it was"}
        (here / "pull/refused.json").write_text(json.dumps(refused))
        assert runner.main(["prepare"]) == status


def test_what_ansible_pull_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    every = GIVEN._replace(version="next", verify_commit=True, ssh=(True, True))
    words = runner.arguments_of(every)
    assert words[-2:] == [runner._PLAYBOOK, "site.yml"]
    for option, value in (
        ("--checkout", "next"),
        ("--limit", "web1"),
        ("--private-key", KEY),
        ("--inventory", "inventory"),
    ):
        assert words[words.index(option) + 1] == value
    assert "--verify-commit" in words and "--verify-commit" not in runner.arguments_of(GIVEN)
    variables = json.loads(words[words.index("--extra-vars") + 1])
    assert variables == {"ansible_connection": "local", "xdp_pulled": True}
    monkeypatch.setenv("ANSIBLE_CONFIG", "/tmp/x")
    env = runner.environment(every, "/opt/ansible/bin/ansible-pull")
    assert "ANSIBLE_CONFIG" not in env and env["PATH"].startswith("/opt/ansible/bin:")
    assert "StrictHostKeyChecking=yes" in env["GIT_SSH_OPTS"] and KNOWN_HOSTS in env["GIT_SSH_OPTS"]
    assert "GIT_SSH_OPTS" not in runner.environment(GIVEN, "/usr/bin/ansible-pull")


def test_collections_are_installed_if_they_are_others(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = here / "pull/repository"
    (repository / "collections").mkdir(parents=True)
    folder = here / "pull/ansible/collections"
    (folder / "ansible_collections").mkdir(parents=True)
    called = here / "called"
    made = f'"$1/ansible_collections/of_$(wc -l <{called})"'
    galaxy = f"echo x >>{called}; while [ $# -gt 1 ]; do shift; done; mkdir -p {made}"
    (here / "bin").mkdir()
    executable(here / "bin/ansible-galaxy", galaxy)
    monkeypatch.setenv("PATH", f"{here}/bin:{os.environ['PATH']}")
    (repository / "site.yml").write_text("---\n")
    git(repository, "init", "--quiet")

    def run(said: str) -> t.List[str]:
        (repository / "site.yml").write_text(said)
        git(repository, "add", "--all")
        git(repository, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "--message=x")
        runner._install_collections()
        return sorted(each.name for each in (folder / "ansible_collections").iterdir())

    assert run("- one\n") == [] and not called.exists(), "nothing is required"
    (repository / "collections/requirements.yml").write_text("collections: []\n")
    assert run("- two\n") == run("- three\n") == ["of_1"]
    (repository / "collections/x.tar.gz").write_text("x")
    assert run("- four\n") == ["of_2"]
    executable(here / "bin/ansible-galaxy", "echo 'no such release' >&2; exit 1")
    (repository / "collections/x.tar.gz").write_text("y")
    with pytest.raises(FleetError, match="could not be installed; nothing was changed: no such release"):
        run("- five\n")
    assert (folder / "ansible_collections/of_2").is_dir()


def git(folder: pathlib.Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
