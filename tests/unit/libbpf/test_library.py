# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libbpf prints, with the libbpf of this machine. Nothing here asks the kernel."""

from __future__ import annotations

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import BpfError, Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import open_object


@pytest.mark.parametrize("length", [10, 4096, 20_000])
def test_a_message_is_whole_however_long_it_is(length: int) -> None:
    """libbpf before 0.7 prints the verifier's log as one message. Here it quotes the name of a file that is none."""
    name = "n" * length
    with pytest.raises(BpfError) as caught:
        open_object(Libbpf(), b"\x7fELF, but no more than that", name)
    assert name in caught.value.log and "libbpf: " not in caught.value.log
