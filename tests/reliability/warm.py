# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules thousands of times on a host, each forked from a Python that has already imported everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
import typing as t
from unittest import mock

from ansible_collections.ebpf.fleet.plugins.module_utils.background import fork_into_background
from host import Host
from paths import COLLECTIONS, ROOT

MODULES = "ansible_collections.ebpf.fleet.plugins.modules"


class Run(t.NamedTuple):
    """`result`: None if it printed none. `status`: as from waitpid(2). `said`: its standard error."""

    result: t.Optional[t.Dict[str, t.Any]]
    status: int
    said: str


class Warm:
    """A context manager; run() runs a module in the network namespace of the host."""

    def __init__(self, host: Host, modules: t.Sequence[str]) -> None:
        self._process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{host.name}", sys.executable, "-W", "ignore", __file__, *modules],
            env={**os.environ, "PYTHONPATH": f"{COLLECTIONS}:{ROOT}/tests/support"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self._process.communicate()

    def run(self, module: str, check: bool = False, hold_holder: bool = False, **options: t.Any) -> Run:
        """hold_holder: the holder of a provisional change stops itself (SIGSTOP) before it does anything."""
        assert self._process.stdin and self._process.stdout
        arguments = {"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check, "_ansible_diff": True}}
        self._process.stdin.write(json.dumps([module, arguments, hold_holder]) + "\n")
        self._process.stdin.flush()
        return Run(*json.loads(self._process.stdout.readline()))

    def ok(self, module: str, **options: t.Any) -> t.Dict[str, t.Any]:
        found = self.run(module, **options)
        assert found.result and not found.result.get("failed"), found
        return found.result


def _stopped_first(work: t.Callable[[], None], keep: t.Iterable[int] = ()) -> int:
    def stop_and_work() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        work()

    return fork_into_background(stop_and_work, keep)


def serve(modules: t.Sequence[str]) -> None:
    """Answer requests, one a line, until there are no more."""
    import importlib
    import pkgutil

    from ansible.module_utils import basic
    from ansible_collections.ebpf.fleet.plugins import module_utils
    from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import provisional

    for each in pkgutil.walk_packages(module_utils.__path__, f"{module_utils.__name__}."):
        importlib.import_module(each.name)  # also what modules import only when they need it
    loaded = {name: importlib.import_module(f"{MODULES}.{name}") for name in modules}
    for line in sys.stdin:
        module, arguments, hold_holder = json.loads(line)
        with open(os.memfd_create("out"), "w+b") as out, open(os.memfd_create("err"), "w+b") as err:
            child = os.fork()
            if child == 0:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                basic._ANSIBLE_ARGS = json.dumps(arguments).encode()
                basic._ANSIBLE_PROFILE = "legacy"
                if hold_holder:
                    mock.patch.object(provisional, "fork_into_background", _stopped_first).start()
                try:
                    loaded[module].main()
                except SystemExit as end:
                    sys.stdout.flush()
                    os._exit(t.cast(int, end.code or 0))  # Python's own exit takes longer than all the rest
                except BaseException:
                    traceback.print_exc()
                os._exit(1)
            status = os.waitpid(child, 0)[1]
            out.seek(0)
            err.seek(0)
            try:
                result = json.loads(out.read())
            except ValueError:
                result = None
            print(json.dumps([result, status, err.read().decode(errors="replace")]), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1:])
