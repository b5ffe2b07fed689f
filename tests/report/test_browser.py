"""Reports in headless Chromium: no error, no request, no overflow, readable text; skipped where it is missing."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_comparison_report import make_task

from dwm_ray.report.collect import collect_results
from dwm_ray.report.comparison_report import write_comparison
from dwm_ray.report.findings import Findings
from dwm_ray.report.findings import render as render_study
from dwm_ray.report.panels import Line, Panel, plot_panels
from dwm_ray.report.run_report import render
from dwm_ray.report.table import Table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (360, 768, 1280)
PROBE = (Path(__file__).parent / "probe.js").read_text()
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
COLLECTOR = """<!doctype html><title>frames</title><pre id="found"></pre><script>
const found = [];
addEventListener("message", event => {
  found.push(event.data);
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>
"""


def pages(run: Path, folder: Path) -> dict[str, str]:
    """Return a report, a comparison and a study, each with everything that it can have."""
    shown = [{"step": step, "png": PIXEL} for step in (0, 20)]
    frames = {"env_id": "HalfCheetah-v5", "method": "DWM-TD3+BC", "seed": 0, "dt": 0.05, "frames": shown}
    make_task(folder / "a")
    make_task(folder / "b", "hopper-medium-replay", "Hopper-v5", offset=-20.0)
    write_comparison(folder)
    figure = plot_panels("f", "Figure", "Caption.", [Panel("p", "x", "y", [Line("a", [1, 2], [1.0, 2.0])])])
    study = Findings("Study", ["Words."], [Table("T", ["a", "b"], [["x", 1.0]], "Note.")], [figure])
    return {
        "run": render(collect_results(run), frames),
        "comparison": (folder / "comparison.html").read_text(),
        "study": render_study(study, {"a": "b" * 200}),
    }


def probed(page: str) -> str:
    """Return a page that reports its faults and can load nothing; its details are open."""
    head = f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}"><script>{PROBE}</script>'
    return page.replace("<head>", head, 1).replace("<details>", "<details open>")


def browse(pages: dict[str, str], folder: Path, dark: bool) -> dict[str, Any]:
    """Return the findings of every page at every width, by 'page width'."""
    frames = ""
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(probed(page))
        frames += "".join(
            f'<iframe name="{name} {width}" src="{name}.html" style="border:0;width:{width}px;height:900px"></iframe>'
            for width in WIDTHS
        )
    collector = folder / "frames.html"
    collector.write_text(COLLECTOR + frames)
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--dump-dom",
        "--virtual-time-budget=10000",
    ]
    options += [f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command = [str(CHROMIUM), *options, collector.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    result = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert result, done.stderr[-2000:]
    return {one["id"]: one for one in json.loads(html.unescape(result[1]))}


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian's package chromium)")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_have_no_fault_at_any_width(run: Path, tmp_path: Path, dark: bool) -> None:
    result = browse(pages(run, tmp_path / "comparison"), tmp_path, dark)
    assert result.keys() == {f"{page} {width}" for page in ("run", "comparison", "study") for width in WIDTHS}
    assert {one["dark"] for one in result.values()} == {dark}
    assert all(one["width"] == int(name.split()[1]) for name, one in result.items())
    assert min(one["panels"] for one in result.values()) >= 1
    assert {name: one["faults"][:5] for name, one in result.items() if one["faults"]} == {}
