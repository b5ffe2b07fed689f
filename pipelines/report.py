"""Rebuild results.json and report.html from a run folder."""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from dwm_ray.cli.command_line import OPTIONAL, main_guard
from dwm_ray.cli.session import show_results
from dwm_ray.report.collect import collect_results
from dwm_ray.report.run_report import write_report
from dwm_ray.report.run_tables import summary_markdown
from dwm_ray.runs.files import check_writable
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.tensor_files import write_json


def report(
    run: Annotated[str, tyro.conf.Positional], out: Annotated[Path | None, OPTIONAL] = None, markdown: bool = False
) -> None:
    """Collect the results of a run, print them and write its report.

    Args:
        run: Folder, or address in remote storage, of a finished or running run.
        out: Path of the page; default: RUN/report.html.
        markdown: Print one row per method and setting, over seeds, as Markdown.
    """
    folder = RunFolder.open(run)
    if out is not None:
        check_writable("--out", out)
    folder.pull()
    results = collect_results(folder.root)
    write_json(folder.root / "results.json", results)
    if markdown:
        print(summary_markdown(results))
    else:
        show_results(Console(), results)
    print(f"results {folder.root / 'results.json'}\nreport  {write_report(folder.root, out)}")
    folder.push_record()


@main_guard
def main() -> None:
    tyro.cli(report, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())
