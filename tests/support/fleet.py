# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several hosts with an inventory, and Ansible commands on them, as a user types them."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

from host import Host
from paths import COLLECTIONS

BIN = pathlib.Path(sys.executable).parent


class Fleet:
    """Hosts with an inventory, and Ansible commands on them."""

    def __init__(self, folder: pathlib.Path, names: t.Sequence[str]) -> None:
        self.folder = folder
        self.collections = COLLECTIONS
        self.hosts: t.List[Host] = []
        try:
            for name in names:
                self.hosts.append(Host(f"ebpf-test-{os.getpid()}-{name}"))
        except BaseException:
            self.close()
            raise
        inventory = {
            "fleet": {
                "vars": {
                    "ansible_connection": "ebpf.fleet.netns",
                    "ansible_python_interpreter": sys.executable,
                    "xdp_counter_directory": f"{folder}/{{{{ inventory_hostname }}}}",
                    "xdp_counter_controller_directory": f"{folder}/controller",
                    "xdp_counter_interfaces": ["eth0", "eth0.10"],
                    "xdp_directory": f"{folder}/{{{{ inventory_hostname }}}}",
                    "xdp_controller_directory": f"{folder}/controller",
                },
                "hosts": {host.name.split("-")[-1]: {"ansible_host": host.name} for host in self.hosts},
            }
        }
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(json.dumps(inventory))

    def run(
        self,
        *command: t.Any,
        fails: bool = False,
        warns: str = "",
        env: t.Optional[t.Mapping[str, t.Optional[str]]] = None,
        wrap: t.Sequence[str] = (),
    ) -> str:
        """`warns`: words of the only warning that it gives. `wrap` is a command to run it with.

        `env`: in addition to the test's own; None unsets.
        """
        given: t.Dict[str, t.Optional[str]] = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_FORCE_COLOR": "0",
            "PWD": str(self.folder),  # as a shell sets it
            **(env or {}),
        }
        every = {name: value for name, value in given.items() if value is not None}
        words = [*wrap, str(BIN / command[0]), "-i", str(self.inventory), *map(str, command[1:])]
        done = subprocess.run(words, env=every, capture_output=True, text=True, check=False, cwd=self.folder)
        text = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, text
        assert "Traceback" not in text
        assert fails or text.count("WARNING") == bool(warns), text
        assert warns in " ".join(text.split()), text  # Ansible breaks the lines of a warning
        return text

    def play(self, name: str, *more: t.Any, **how: t.Any) -> str:
        return self.run("ansible-playbook", f"ebpf.fleet.{name}", *more, **how)

    def close(self) -> None:
        for host in self.hosts:
            host.close()


def empty_headings(text: str) -> t.List[str]:
    """The headings of tasks and handlers without any output below them."""
    parts = re.split(r"^(?=(?:TASK|RUNNING HANDLER|PLAY) )", text, flags=re.M)
    return [part.strip() for part in parts if part.startswith(("TASK", "RUNNING")) and len(part.split("\n", 1)[1]) < 2]


def recap(text: str) -> t.List[t.Tuple[str, int, int]]:
    """Host, changed and failed from each line of the recap."""
    found = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=(\d+)", text, re.M)
    return [(host, int(changed), int(failed)) for host, changed, failed in found]
