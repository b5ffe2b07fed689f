"""Provoke faults in sweeps on a separate cluster: `dwm_ray.benchmarks.cluster.faults`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from rich.console import Console

from dwm_ray.benchmarks.options import WITH_DATA, Options
from dwm_ray.benchmarks.tables import busy_machine, expect_own_cluster
from dwm_ray.report.table import markdown_table
from dwm_ray.runs.tensor_files import write_json


@dataclass(frozen=True)
class Faults:
    """Behaviour of a sweep when its processes are killed or memory or disk are full. Starts Ray. Of the common options,
    only --output, --markdown, --task and --data apply."""

    name: ClassVar[str] = "faults"

    updates: int = 4000
    """Updates of each learner; enough that learners still run at the last kill."""

    def run(self, options: Options, programs: Path) -> None:
        """Provoke all faults; write and print each result as soon as it is known."""
        options.refuse_others(WITH_DATA, "does not apply to faults, which are provoked once")
        expect_own_cluster("faults")
        from dwm_ray.benchmarks.cluster.faults import checks, harness, scenarios  # other suites work without Ray

        path, console, rows = options.path(self.name), Console(stderr=True), []
        with TemporaryDirectory() as folder, harness.own_cluster() as address:
            faults = harness.FaultHarness(
                address, Path(folder), programs / "sweep.py", options.data_words(), console.print
            )
            for row in scenarios.provoke_all(faults, options.task, options.data, self.updates):
                rows.append(row)
                console.print(" | ".join(row.cells()), highlight=False, soft_wrap=True)
                write_json(path, {"faults": [asdict(one) for one in rows], "machine": busy_machine()})
        print(markdown_table(checks.HEADERS, [row.cells() for row in rows]))
        print(path)
