# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which failures of ssh may have come after the module made its change."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.ebpf.fleet.plugins.plugin_utils.confirming_action import broke

PIPELINED = 'Data could not be sent to remote host "web1". Make sure this host can be reached over ssh: '
TO_A_TERMINAL = "Failed to connect to the host via ssh: "


@pytest.mark.parametrize(
    "said",
    [
        PIPELINED,  # a shared connection broke: its client ends without a word
        f"{PIPELINED}client_loop: send disconnect: Broken pipe\r\n",
        f"{PIPELINED}Timeout, server 192.0.2.1 not responding.\r\n",
        f"{TO_A_TERMINAL}Shared connection to 192.0.2.1 closed.",
    ],
)
def test_an_established_connection(said: str) -> None:
    assert broke(AnsibleConnectionFailure(said))


@pytest.mark.parametrize(
    "said",
    [
        f"{PIPELINED}ssh: connect to host 192.0.2.1 port 22: Connection refused\r\n",
        f"{PIPELINED}kex_exchange_identification: read: Connection reset by peer\r\n",
        f"{TO_A_TERMINAL}root@192.0.2.1: Permission denied (publickey).",
    ],
)
def test_one_that_was_not_made(said: str) -> None:
    assert not broke(AnsibleConnectionFailure(said))
