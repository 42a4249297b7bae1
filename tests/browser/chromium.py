# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages of the playbook report in a real browser: Debian's chromium-headless-shell, driven by playwright."""

from __future__ import annotations

import contextlib
import pathlib
import typing as t

from ansible_collections.ebpf.fleet.plugins.filter.fleet_report import fleet_report
from answers import Answer, answers, counter
from playwright.sync_api import Browser, Page, sync_playwright

BROWSER = "/usr/bin/chromium-headless-shell"
PHONE, DESK = 360, 1440  # pixels
OTHER = "f5531e9d0f447db1"
GRO = "the kernel has joined frames below eth0.10 (GRO), so one packet may be several frames; count on eth0"
ODD = ["<script>alert(1)</script>", "\"'&" + "h" * 60, "שרת-אחד"]


@contextlib.contextmanager
def chromium() -> t.Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: Browser, path: pathlib.Path, width: int, **how: t.Any) -> t.Iterator[t.Tuple[Page, t.List[str]]]:
    """The page, and a list of what it asked for beyond itself, and of what it wrote to the console."""
    page = browser.new_page(viewport={"width": width, "height": 900}, **how)
    said: t.List[str] = []
    page.on("console", lambda line: said.append(line.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(path.as_uri())
    said.remove(path.as_uri())
    try:
        yield page, said
    finally:
        page.close()


def fleet(size: int) -> t.Dict[str, Answer]:
    """Hosts with everything that a page can show, those with ODD names among them."""
    found = {}
    for number in range(size):
        facts = answers()["xdp_counter_facts"]
        eth0, vlan = (_counter(packets) for packets in (number * 7919 % 100_003 * 1000 + 189, number))
        facts["ansible_facts"]["xdp_counter"]["interfaces"] = {"eth0": eth0, "eth0.10": vlan}
        found[ODD[number] if size > 3 and number < len(ODD) else f"web{number + 1}"] = facts
        if number % 25 == 3:
            vlan.update(mode="generic", exact=False, inexact_because=GRO)
        if number % 50 == 5:
            eth0.update(tag=OTHER)
        if number % 50 == 7:
            vlan.update(attached=False, mode=None, exact=None)
        if number % 50 == 9:
            facts.pop("ansible_facts")
            facts.update(unreachable=True, msg="Failed to connect to the host via ssh: No route to host")
    return found


def _counter(packets: int) -> Answer:
    cpus = [{"cpu": cpu, "packets": packets * (cpu * 5 % 7 + 1) // 28, "bytes": 0} for cpu in range(8)]
    rate = packets / 100
    return {**counter(packets), "per_cpu": cpus, "packets_per_second": rate, "bytes_per_second": rate * 64}


def write(folder: pathlib.Path, hosts: t.Mapping[str, Answer]) -> pathlib.Path:
    path = folder / "fleet.html"
    path.write_text(fleet_report(hosts), encoding="utf-8")
    return path
