# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the playbook report in a browser: complete, quiet, and usable with keys and on a telephone."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from chromium import DESK, ODD, PHONE, chromium, fleet, opened, write
from paths import ROOT
from playwright.sync_api import Browser, Page

AXE = ROOT / "build/browser/node_modules/axe-core/axe.min.js"
SIZES = (3, 50, 1000)


@pytest.fixture(scope="module")
def browser() -> t.Iterator[Browser]:
    with chromium() as opened_browser:
        yield opened_browser


@pytest.mark.parametrize("size", SIZES)
def test_rows_and_bars_are_the_facts(browser: Browser, tmp_path: pathlib.Path, size: int) -> None:
    hosts = fleet(size)
    facts = {
        (name, interface): values
        for name, answer in hosts.items()
        if "ansible_facts" in answer
        for interface, values in answer["ansible_facts"]["xdp_counter"]["interfaces"].items()
    }
    most = max(values["packets_per_second"] for values in facts.values())
    with opened(browser, write(tmp_path, hosts), DESK, java_script_enabled=False) as (page, said):
        rows = page.locator("#all tbody tr")
        assert rows.count() == len(facts) and said == []
        for cells in page.locator("#all tbody").evaluate(CELLS):
            values = facts[cells["host"], cells["interface"]]
            assert cells["packets"] == f"{values['packets']:,}" and cells["bytes"] == f"{values['bytes']:,}"
            assert abs(float(cells["bar"]) - values["packets_per_second"] / most * 60) < 0.1
        shown = page.locator("main").inner_text()
        assert all(name in shown for name, answer in hosts.items() if "ansible_facts" not in answer)
        if size > len(ODD):
            assert set(ODD) <= set(page.locator("#all tbody th").all_inner_texts())


CELLS = """body => [...body.rows].map(row => ({
    host: row.cells[0].textContent, interface: row.cells[1].textContent, packets: row.cells[4].textContent,
    bytes: row.cells[5].textContent, bar: row.querySelector('.bar rect').getAttribute('width')}))"""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_quiet_and_without_overflow(
    browser: Browser, tmp_path: pathlib.Path, size: int, scheme: str, width: int
) -> None:
    with opened(browser, write(tmp_path, fleet(size)), width, color_scheme=scheme) as (page, said):
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth") <= width and page.evaluate(f"{root}.clientWidth") <= width
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)"
        )
        assert said == []


@pytest.mark.parametrize("size", SIZES)
def test_on_paper(browser: Browser, tmp_path: pathlib.Path, size: int) -> None:
    """Nothing is wider than A4, and dark is for screens."""
    a4 = int((297 - 2 * 10) / 25.4 * 96)
    with opened(browser, write(tmp_path, fleet(size)), a4, color_scheme="dark") as (page, _said):
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth") <= a4
        assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--page')").strip() == "#fff"
        assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"


@pytest.mark.parametrize(("heading", "column"), [("Packets", 4), ("Host", 0), ("Share", 8)])
def test_sorted_by_keyboard(browser: Browser, tmp_path: pathlib.Path, heading: str, column: int) -> None:
    hosts = {name: answer for name, answer in fleet(50).items() if name not in ODD}
    with opened(browser, write(tmp_path, hosts), DESK) as (page, said):
        before = keys(page, column)
        page.keyboard.press("Tab")
        for _each in range(100):
            if page.evaluate("document.activeElement.closest('#all') && document.activeElement.textContent") == heading:
                break
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        first = keys(page, column)
        assert page.locator("#all th[aria-sort]").all_inner_texts() == [heading]
        page.keyboard.press("Space")
        second = keys(page, column)
        assert sorted(first) == sorted(second) == sorted(before)
        assert first == sorted(first, reverse=column != 0) and second == sorted(second, reverse=column == 0)
        assert said == []


def keys(page: Page, column: int) -> t.List[t.Any]:
    script = "(body, n) => [...body.rows].map(row => row.cells[n].dataset.sort ?? row.cells[n].textContent)"
    found = page.locator("#all tbody").evaluate(script, column)
    return [float(each) if column else int(each[len("web") :]) for each in found]


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(browser: Browser, tmp_path: pathlib.Path, scheme: str, width: int) -> None:
    axe = AXE.read_text(encoding="utf-8")
    with opened(browser, write(tmp_path, fleet(50)), width, color_scheme=scheme) as (page, _said):
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == []
        assert len(found["passes"]) > 20


def test_its_picture_in_the_documentation_is_small() -> None:
    """`make screenshot` renews it. Every clone has each of its versions."""
    assert 10_000 < (ROOT / "docs/report.png").stat().st_size < 150_000
