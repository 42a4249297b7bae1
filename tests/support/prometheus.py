# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""node_exporter and Prometheus, Debian's, on the loopback interface of a network namespace."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
import time
import typing as t
import urllib.parse

from commands import sh
from host import Host
from paths import ROOT

BIN = ROOT / "build/prometheus/usr/bin"
SCRAPE_SECONDS = 1

_GET = """\
import sys, urllib.request
for url in sys.argv[1:]:
    print(urllib.request.urlopen(url, timeout=5).read().decode().strip())
"""

Labels = t.Dict[str, str]


class Prometheus:
    """A context manager. `folder` is its own; node_exporter reads *.prom in `textfiles`."""

    def __init__(
        self,
        host: Host,
        folder: pathlib.Path,
        textfiles: pathlib.Path,
        *rules: pathlib.Path,
    ) -> None:
        self._host, self._folder, self._textfiles = host, folder, textfiles
        job = {"job_name": "node", "static_configs": [{"targets": ["127.0.0.1:9100"]}]}
        often = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
        given = {"global": often, "scrape_configs": [job], "rule_files": [str(each) for each in rules]}
        self._configuration = json.dumps(given)  # JSON is YAML
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Prometheus:
        assert BIN.is_dir(), f"there is no {BIN}: run tools/setup.sh test"
        sh("ip", "-n", self._host.name, "link", "set", "dev", "lo", "up")
        configuration = self._folder / "prometheus.yml"
        configuration.write_text(self._configuration)
        with contextlib.ExitStack() as started:
            exporter = ("--collector.disable-defaults", "--collector.textfile")
            started.enter_context(
                self._start(
                    *("prometheus-node-exporter", *exporter, "--web.listen-address=127.0.0.1:9100"),
                    f"--collector.textfile.directory={self._textfiles}",
                )
            )
            data = f"--storage.tsdb.path={self._folder / 'data'}"
            listening = "--web.listen-address=127.0.0.1:9090"
            started.enter_context(self._start("prometheus", f"--config.file={configuration}", data, listening))
            assert self.until(lambda: self.query("up")), (self._folder / "prometheus.log").read_text()
            self._running = started.pop_all()
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self._running.close()

    @contextlib.contextmanager
    def _start(self, name: str, *words: str) -> t.Iterator[None]:
        log = self._folder / f"{name}.log"
        enter = ("nsenter", f"--net=/run/netns/{self._host.name}")
        with log.open("w") as output:
            running = subprocess.Popen([*enter, str(BIN / name), *words], stdout=output, stderr=output)
        try:
            yield
        finally:
            running.terminate()
            running.wait()

    def query(self, expression: str) -> t.List[t.Tuple[Labels, float]]:
        """Labels, without those of the scrape, and value of each series."""
        found = []
        for labels, value in self.series([expression])[0]:
            found.append(({name: each for name, each in labels.items() if name not in ("instance", "job")}, value))
        return found

    def series(self, expressions: t.Iterable[str]) -> t.List[t.List[t.Tuple[Labels, float]]]:
        """For each expression: all labels, and the value, of each series."""
        asked = [self._url("query", query=each) for each in expressions]
        return [
            [(each["metric"], float(each["value"][1])) for each in answer["result"]] for answer in self._get(*asked)
        ]

    def values(self, series: str, label: str) -> t.List[str]:
        """Of a label."""
        return list(self._get(self._url(f"label/{label}/values", **{"match[]": series}))[0])

    def firing(self) -> t.List[str]:
        return sorted(
            each["labels"]["alertname"]
            for each in self._get(self._url("alerts"))[0]["alerts"]
            if each["state"] == "firing"
        )

    @staticmethod
    def _url(what: str, **parameters: str) -> str:
        return f"http://127.0.0.1:9090/api/v1/{what}?{urllib.parse.urlencode(parameters)}"

    def _get(self, *urls: str) -> t.List[t.Any]:
        said = self._host.enter(sys.executable, "-c", _GET, *urls)
        return [json.loads(line)["data"] for line in said.splitlines()]

    @staticmethod
    def until(ask: t.Callable[[], t.Any], seconds: float = 30) -> t.Any:
        """Ask again and again until the answer is true, or the time is over; returns it."""
        deadline = time.monotonic() + seconds
        while True:
            answer: t.Any = None
            with contextlib.suppress(AssertionError):  # it does not listen yet
                answer = ask()
            if answer or time.monotonic() > deadline:
                return answer
            time.sleep(0.2)
