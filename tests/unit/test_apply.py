# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What apply says of a kernel that nobody has here any more."""

from __future__ import annotations

import contextlib
import errno
import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils import apply
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.image import Image
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import BpfError, Libbpf, links
from ansible_collections.ebpf.fleet.plugins.module_utils.observe import Seen
from ansible_collections.ebpf.fleet.plugins.module_utils.pins import Place
from ansible_collections.ebpf.fleet.plugins.module_utils.plan import Attach, Plan


class OldKernel:
    """As a kernel before 5.9 answers: it does not know the type of the attachment."""

    def get(self, path: str) -> t.ContextManager[int]:
        return contextlib.nullcontext(3)


@pytest.mark.parametrize("mode", ["auto", "native", "generic"])
def test_kernel_without_xdp_links(mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    def create(*_arguments: t.Any) -> t.NoReturn:
        raise BpfError(errno.EINVAL, "bpf_link_create")

    monkeypatch.setattr(links, "create", create)
    monkeypatch.setattr(apply, "kernel_has", lambda function: function != "bpf_xdp_link_attach")
    place = Place(str(tmp_path), "packet_count", "eth0")
    seen = Seen(place, 2, 1500, None, None, None, None, {}, {}, (), None, ())
    warnings: t.List[str] = []
    with apply.Applier(t.cast(Libbpf, OldKernel()), "packet_count", Image(), warnings.append) as applier:
        with pytest.raises(FleetError) as caught:
            applier.commit(Plan(seen, (Attach(mode, 2),), {}, {}))
    assert str(caught.value).startswith("cannot attach packet_count to eth0: the kernel ")
    assert str(caught.value).endswith(" has no BPF link for XDP, which came with 5.9; take a newer kernel")
    assert warnings == []
