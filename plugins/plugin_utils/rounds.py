# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counters of all hosts of a play, read again and again.

A play cannot repeat its tasks: what a loop includes is loaded before the loop begins, and what includes itself is kept
until the play ends. So each round is a play of its own, then forgotten, in the process of a task that runs once.
"""

from __future__ import annotations

import pathlib
import typing as t

from ansible import context
from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.vars.manager import VariableManager

TASKS = pathlib.Path(__file__).parents[2] / "playbooks/tasks/read_counters.yml"
ANSWER = "xdp_counter_read"  # as TASKS registers it
MEASURED = 1  # seconds of which the rates are, by default

Passwords = t.Mapping[str, t.Optional[str]]


class Silent(TaskQueueManager):
    """Runs a play, of which no callback hears: neither the terminal nor what else is enabled."""

    def load_callbacks(self) -> None:
        """Leaves the list empty. No private name is used, as any release of ansible-core may change those."""

    def send_callback(self, method_name: str, *args: t.Any, **kwargs: t.Any) -> None:
        pass


class Rounds:
    def __init__(self, hosts: t.Sequence[str], loader: DataLoader, passwords: Passwords) -> None:
        self._hosts = list(hosts)
        self._loader = loader
        self._passwords = passwords
        self._inventory = InventoryManager(loader=loader, sources=context.CLIARGS["inventory"])
        self._variables = VariableManager(loader=loader, inventory=self._inventory)

    def read(self) -> t.Dict[str, t.Dict[str, t.Any]]:
        """What the task answered for each host. One that failed before is asked again."""
        tasks = self._loader.load_from_file(str(TASKS), trusted_as_template=True)
        content = {
            "name": "Read the counters",
            "hosts": self._hosts,
            "strategy": "ansible.builtin.linear",
            "gather_facts": False,
            "vars": {"measured": MEASURED},
            "tasks": tasks,
        }
        play = Play.load(content, variable_manager=self._variables, loader=self._loader)
        manager = Silent(
            inventory=self._inventory,
            variable_manager=self._variables,
            loader=self._loader,
            passwords=self._passwords,
            forks=context.CLIARGS["forks"],
        )
        try:
            manager.run(play)
        finally:
            manager.cleanup()
            self._loader.cleanup_all_tmp_files()
        return {host: self._answer(host) for host in self._hosts}

    def _answer(self, host: str) -> t.Dict[str, t.Any]:
        known = self._inventory.get_host(host)
        return t.cast("dict[str, t.Any]", self._variables.get_vars(host=known, include_hostvars=False).get(ANSWER, {}))
