# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd is told of each unit that changed, even if the run that changed it was killed before it could."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.persist import manifests, persistence, systemd
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
