# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages for a kernel too old to test on."""

from __future__ import annotations

import contextlib
import errno
import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach import exactness, link, refusal
from ansible_collections.ebpf.fleet.plugins.module_utils.attach.work import Work
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import apply
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.observe import Seen
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.planned import Plan
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.steps import Attach
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import links
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import BpfError, Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import Image
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place


class OldKernel:
    """Answers like a kernel before 5.9, which does not know links for XDP."""

    def get(self, path: str) -> t.ContextManager[int]:
        return contextlib.nullcontext(3)


@pytest.mark.parametrize("mode", ["auto", "native", "generic"])
def test_kernel_without_xdp_links(mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    def create(*_arguments: t.Any) -> t.NoReturn:
        raise BpfError(errno.EINVAL, "bpf_link_create")

    monkeypatch.setattr(links, "create", create)
    monkeypatch.setattr(link, "kernel_has", lambda function: function != "bpf_xdp_link_attach")
    place = Place(str(tmp_path), "packet_count", "eth0")
    seen = Seen(place, 2, 1500, None, None, None, {}, {}, (), None, ())
    warnings: t.List[str] = []
    with apply.Applier(t.cast(Libbpf, OldKernel()), Image(), warnings.append) as applier:
        with pytest.raises(FleetError) as caught:
            applier.commit(Plan(seen, (Attach(mode),), {}, {}))
    assert str(caught.value).startswith("cannot attach packet_count to eth0: kernel ")
    assert str(caught.value).endswith(" does not support BPF links for XDP, which need 5.9; use a newer kernel")
    assert warnings == []


@pytest.mark.parametrize("mode", ["auto", "generic"])
def test_nothing_is_attached_that_makes_the_kernel_panic(
    mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    asked = []

    def create(_lib: t.Any, _program: int, _ifindex: int, mode: str) -> t.NoReturn:
        asked.append(mode)
        raise BpfError(errno.EOPNOTSUPP, "bpf_link_create")

    monkeypatch.setattr(links, "create", create)
    monkeypatch.setattr(refusal, "refusal", lambda *_arguments: ("the driver says no", ""))
    monkeypatch.setattr(exactness, "panics", lambda interface: f"{interface} would make it panic")
    place = Place(str(tmp_path), "packet_count", "eth0")
    work = Work(t.cast(Libbpf, OldKernel()), lambda _words: None, False)
    with pytest.raises(FleetError, match="to eth0 in generic mode: eth0 would make it panic") as caught:
        link.attach(work, place, 2, 3, mode)
    assert ("it rejected native mode: the driver says no" in str(caught.value)) is (mode == "auto")
    assert asked == (["native"] if mode == "auto" else [])
