"""Watch a run from its folder, on this machine or another: trials, world models, streams, counters, failures.

In a terminal, the view is refreshed every few seconds; otherwise a line is printed every 30 seconds. The program ends
with the run: the exit code is 0 if results were written, and 1 if all trials ended without results. It reads only the
folder, or the storage of the run.
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

import time
from collections.abc import Callable
from typing import Annotated

import tyro
from rich.console import Console
from rich.live import Live

from dwm_ray.cli.command_line import OPTIONAL, main_guard
from dwm_ray.cli.progress import LINE_S, line
from dwm_ray.cli.run_view import QUIET_S, age, failure, overview
from dwm_ray.experiment.run_state import RunState, read_state
from dwm_ray.runs.folder import RunFolder

VIEW_S = 3.0


def watch(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    once: bool = False,
    failed: bool = False,
    trial: Annotated[str | None, OPTIONAL] = None,
    every_s: Annotated[float | None, OPTIONAL] = None,
) -> int:
    """Watch RUN.

    Args:
        run: Run folder, or address in remote storage.
        once: Print one view with every trial and exit.
        failed: Print the cause of the last failure with the end of its log and traceback, and exit.
        trial: Id of the trial to print in this way.
        every_s: Seconds between two updates of the view; default: 3 in a terminal, otherwise 30.
    """
    if every_s is not None and every_s <= 0:
        raise ValueError(f"--every-s {every_s:g}: expected a positive number of seconds")
    folder, console = RunFolder.open(run), Console()
    fetch = folder.pull if "://" in run else (lambda: None)  # the driver updates a local folder
    if failed or trial:
        console.print(failure(read_state(folder), trial, console.height))
        return 0
    if once:
        console.print(overview(folder, read_state(folder)))
        return 0
    return follow(folder, console, every_s, fetch)


def follow(run: RunFolder, console: Console, every_s: float | None, fetch: Callable[[], None]) -> int:
    """Show the run until it ends, then its last view."""
    if console.is_terminal:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            state = until_over(
                run, every_s or VIEW_S, lambda now: live.update(overview(run, now, console.height), refresh=True), fetch
            )
    else:
        start = time.perf_counter()

        def show(now: RunState) -> None:
            print(line(now, now.num_trials, time.perf_counter() - start), flush=True)

        state = until_over(run, every_s or LINE_S, show, fetch)
    console.print(overview(run, state))
    if not state.concluded:
        hint = f"the run ended without results; `pipelines/watch.py {run.address} --failed` shows the cause"
        console.print(hint, soft_wrap=True)
    return 0 if state.concluded else 1


def until_over(run: RunFolder, every_s: float, show: Callable[[RunState], None], fetch: Callable[[], None]) -> RunState:
    """Show the state until results are written, or until all trials have ended and the driver is silent."""
    while True:
        fetch()
        state = read_state(run)
        show(state)
        if state.concluded or (state.over and age(state) > QUIET_S):
            return state
        time.sleep(every_s)


@main_guard
def main(argv: list[str] | None = None) -> int:
    return tyro.cli(watch, args=argv, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())
