# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd is told of each unit that changed, even if the run that changed it was killed before it could."""

from __future__ import annotations

import os
import pathlib
import types
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.apply import Applier
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.steps import Forget
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import Image
from ansible_collections.ebpf.fleet.plugins.module_utils.persist import lists, manifests, persistence, systemd
from ansible_collections.ebpf.fleet.plugins.module_utils.state import places
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

PLACE = Place("/sys/fs/bpf/x", "name", "eth0.10")


@pytest.fixture
def told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.List[t.Tuple[str, ...]]:
    """The interfaces of each reload."""
    for module, name in ((places, "MANIFESTS"), (manifests, "MANIFESTS"), (persistence, "MANIFESTS")):
        monkeypatch.setattr(module, name, str(tmp_path / "var"))
    for module, name in ((systemd, "UNIT"), (systemd, "FOLDER"), (persistence, "RUNNER")):
        monkeypatch.setattr(module, name, str(tmp_path / name))
    monkeypatch.setattr(persistence, "RECORDS", str(tmp_path / "run"))
    monkeypatch.setattr(persistence, "UNREAD", str(tmp_path / "run/unread"))
    found: t.List[t.Tuple[str, ...]] = []
    monkeypatch.setattr(systemd, "reload_units", lambda interfaces: found.append(tuple(interfaces)))
    return found


def write(content: t.Optional[bytes]) -> None:
    persistence.write_manifest(PLACE, content, lambda: b"runner")


@pytest.mark.parametrize("content", [b"manifest", None])
def test_once(told: t.List[t.Tuple[str, ...]], tmp_path: pathlib.Path, content: t.Optional[bytes]) -> None:
    write(content)
    persistence.reload_units(["eth0.10"])
    persistence.sweep()
    assert told == [("eth0.10",), ()]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"manifest", None])
def test_by_the_next_run(told: t.List[t.Tuple[str, ...]], tmp_path: pathlib.Path, content: t.Optional[bytes]) -> None:
    write(content)  # and killed
    persistence.sweep()
    assert told == [("eth0.10",)]
    assert not (tmp_path / "run").exists()


def test_again_if_it_failed(
    told: t.List[t.Tuple[str, ...]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(interfaces: t.Iterable[str]) -> None:
        raise FleetError("systemctl daemon-reload failed: …")

    write(None)
    with monkeypatch.context() as broken:
        broken.setattr(systemd, "reload_units", fails)
        with pytest.raises(FleetError):
            persistence.reload_units(["eth0.10"])
    persistence.sweep()
    assert told == [("eth0.10",)]


def test_folders_of_units_are_closed(told: t.List[t.Tuple[str, ...]], tmp_path: pathlib.Path) -> None:
    """Who can write to one has systemd start units of their own. The previous release made it by the umask."""
    folder = tmp_path / "FOLDER" / "sys-subsystem-net-devices-eth0.10.device.wants"
    umask = os.umask(0)
    try:
        write(b"manifest")
        assert folder.stat().st_mode & 0o777 == 0o755
        (persistent,) = persistence.observe([(PLACE, 1)], lambda: b"runner")
        assert persistent.traces
        folder.chmod(0o777)
        write(b"manifest")
        assert folder.stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(umask)


def test_a_rollback_restores_the_kept_lists_too(told: t.List[t.Tuple[str, ...]]) -> None:
    """Else a filter would come back after a reboot with empty lists."""
    write(b"manifest")
    entries = {b"\1": b"\2", b"\3": b"\4"}
    lists.write_list(PLACE, "block", entries)
    applier = Applier(t.cast(t.Any, None), Image(), print, lambda: b"runner")
    applier._do_Forget(t.cast(t.Any, types.SimpleNamespace(place=PLACE, interface="eth0.10")), Forget())
    assert not os.path.exists(PLACE.manifest) and lists.kept_lists(PLACE) == ()
    applier.roll_back()
    assert pathlib.Path(PLACE.manifest).read_bytes() == b"manifest"
    assert lists.kept_lists(PLACE) == ("block",)
    assert lists.read_list(PLACE, "block") == entries


def test_no_kept_list_goes_before_its_manifest(
    told: t.List[t.Tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the host reboots after a run was killed in between, nothing may run with empty lists."""
    write(b"manifest")
    lists.write_list(PLACE, "block", {b"\1": b"\2"})

    def kill(_place: Place) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(persistence, "remove_lists", kill)
        write(None)
    assert not os.path.exists(PLACE.manifest) and lists.kept_lists(PLACE) == ("block",)
    (left,) = persistence.observe([(PLACE, 1)], lambda: b"runner", ("block",))
    assert left.traces and not left.manifest  # so the next run removes them
    write(None)
    assert lists.kept_lists(PLACE) == ()
