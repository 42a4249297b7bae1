# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages for a kernel too old to test on."""

from __future__ import annotations

import contextlib
import errno
import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach import link
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
