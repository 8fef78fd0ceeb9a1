"""The page of `seq2seq report` in a real browser: its script runs, without an error, and does what it is for.

Skipped where there is no Chromium that opens a file of ours (Debian: apt install chromium).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from seq2seq.reporting.report import Texts, Translating, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# What a reader would do: point at a curve, and search. What came of it is told in a new element.
READER = """
const svg = document.querySelector("figure.chart svg[data-box]"), box = svg.getBoundingClientRect()
const line = svg.querySelector("polyline").getAttribute("points").split(" ")[0].split(",")
const at = box.left + Number(line[0]) / svg.viewBox.baseVal.width * box.width
svg.dispatchEvent(new PointerEvent("pointermove", { clientX: at, clientY: box.top + 20 }))
const tip = document.querySelector("figure.chart .tip")
const pointed = { hidden: tip.hidden, text: tip.textContent }
svg.dispatchEvent(new PointerEvent("pointerleave"))
const search = document.querySelector("input[type=search]"), cards = [...document.querySelectorAll("#all .card")]
const wanted = cards[2].querySelector(".text").textContent
search.value = wanted.toUpperCase(); search.dispatchEvent(new Event("input"))
const told = document.createElement("pre"); told.id = "told"
told.textContent = JSON.stringify({
  pointed, left: tip.hidden, all: cards.length, found: document.getElementById("found").textContent,
  shown: cards.filter(card => !card.hidden).length, third: !cards[2].hidden,
  wide: document.documentElement.scrollWidth > window.innerWidth,
})
document.body.append(told)
"""


def opened(page: Path, folder: Path, width: int = 1200) -> tuple[str, list[str]]:
    """The page as it is after its script has run, and what the console says."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-dev-shm-usage", f"--user-data-dir={folder}", f"--window-size={width},900",
        "--virtual-time-budget=3000", "--enable-logging=stderr", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=120, check=True, encoding="utf-8")
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture
def browser(tmp_path: Path) -> None:
    """Skip where there is none, or one that is confined to other folders."""
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    path = tmp_path / "probe.html"
    path.write_text("<!doctype html><title>probe</title><p>seen", encoding="utf-8")
    try:
        dom, _ = opened(path, tmp_path / "profile")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"Chromium does not start: {error.stderr[-200:]}")
    if "seen" not in dom:
        pytest.skip("Chromium cannot read the file")


@pytest.fixture
def page(browser: None, corpus: Path, trained_run: Path, tmp_path: Path) -> Path:
    """A report with all that one can have, and a reader of it."""
    texts = Texts(
        source=corpus / "test.de", reference=corpus / "test.en", systems=[("perfect", corpus / "test.en")]
    )
    path = tmp_path / "report.html"
    write_report([trained_run], path, texts, Translating(beam_size=1, device="cpu"))
    html = path.read_text(encoding="utf-8")
    assert html.count("</body>") == 1
    path.write_text(html.replace("</body>", f"<script>{{{READER}}}</script></body>"), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1200, 600])
def test_the_script_shows_values_and_finds_sentences(page: Path, tmp_path: Path, width: int) -> None:
    dom, console = opened(page, tmp_path / "profile", width)
    assert console == []
    told = json.loads(unescape(re.findall('<pre id="told">(.*?)</pre>', dom)[0]))
    assert not told["pointed"]["hidden"] and "tiny" in told["pointed"]["text"]
    assert told["left"], "the values go when the pointer does"
    assert told["third"] and 1 <= told["shown"] < told["all"] and told["found"] == f"{told['shown']} found"
    assert not told["wide"], "nothing is to be cut off at the right"


def test_a_script_that_fails_would_be_seen(page: Path, tmp_path: Path) -> None:
    page.write_text(page.read_text(encoding="utf-8").replace("const search", "missing(); const search", 1), "utf-8")
    _, console = opened(page, tmp_path / "profile")
    assert any("missing is not defined" in line for line in console)
