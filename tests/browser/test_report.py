"""The report in a real browser: phone, desk, dark, paper."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from validation.report import render, render_diff, render_index
from validation.report.data import Night
from validation.report.example import (
    example,
    failed_night,
    first_night,
    settled_night,
    two_versions,
)

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

pytestmark = pytest.mark.browser

PAGES = ("full", "settled", "first", "failed", "diff", "index")
SIZES = {"phone": (375, 812), "tablet": (800, 1000), "desk": (1280, 900)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium here; install it, or set CHROMIUM to its path")
    with sync_api.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reports")
    nights = [Night(ds="2026-01-14", file="full.html", outcome="promoted", reason="better " * 20)]
    pages = {
        "full": render(example()),
        "settled": render(settled_night()),
        "first": render(first_night()),
        "failed": render(failed_night()),
        "diff": render_diff(two_versions()),
        "index": render_index("bazaar", nights),
    }
    for name, text in pages.items():
        (place / f"{name}.html").write_text(text, encoding="utf-8")
    return place


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_screen_and_asks_for_nothing(
    browser: Any, folder: Path, name: str, size: str
) -> None:
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height})
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((folder / f"{name}.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1
    assert overflow <= 0


def test_every_section_has_its_heading_and_every_picture_its_words(
    browser: Any, folder: Path
) -> None:
    page = browser.new_page()
    page.goto((folder / "full.html").as_uri())
    for heading in (
        "Promoted",
        "Quality by scenario and task",
        "Masks: which information each cell uses",
        "What moved",
        "Data behind it",
        "What it cost",
    ):
        assert page.get_by_role("heading", level=2, name=heading).is_visible()
    silent = page.locator("svg[role=img]:not([aria-label])").count()
    assert page.locator("svg[role=img]").count() > 50
    assert page.get_by_role("table", name="Quality of every cell, grouped by task").is_visible()
    page.close()
    assert silent == 0


def test_details_open_with_the_keyboard(browser: Any, folder: Path) -> None:
    page = browser.new_page()
    page.goto((folder / "full.html").as_uri())
    numbers = page.get_by_role("region", name="All numbers")
    assert not numbers.is_visible()
    page.get_by_text("All numbers: every measure").focus()
    page.keyboard.press("Enter")
    assert numbers.is_visible()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_fault(browser: Any, folder: Path, name: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto((folder / f"{name}.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = axe.Axe().run(page).response["violations"]
    context.close()
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    told = [(one["id"], one["nodes"][0]["html"][:200]) for one in serious]
    assert told == []


CONTRAST = """() => {
  const part = v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 };
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
    return .2126 * part(r) + .7152 * part(g) + .0722 * part(b) };
  const ground = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor;
    if (c !== 'rgba(0, 0, 0, 0)' && c !== 'transparent') return c; }
    return 'rgb(255, 255, 255)' };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility()) continue;
    const style = getComputedStyle(e);
    const ink = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) found.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)} ${ratio}`);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_all_text_has_contrast_in_light_and_dark(
    browser: Any, folder: Path, name: str, scheme: str
) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto((folder / f"{name}.html").as_uri())
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    pale = page.evaluate(CONTRAST)
    context.close()
    assert (int(ground.split("(")[1].split(",")[0]) < 60) == (scheme == "dark")
    assert pale == []


def test_paper_is_white_and_short_even_from_a_dark_screen(browser: Any, folder: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto((folder / "full.html").as_uri())
    page.emulate_media(media="print")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = page.evaluate("getComputedStyle(document.body).color")
    sheets = page.pdf(format="A4").count(b"/Type /Page\n")
    context.close()
    assert (ground, ink) == ("rgb(255, 255, 255)", "rgb(27, 31, 36)")
    assert 1 <= sheets <= 4
