"""Inject faults in sweeps on a separate cluster: `dwm_ray.benchmarks.cluster.faults`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from rich.console import Console

from dwm_ray.benchmarks.options import TaskSuite
from dwm_ray.benchmarks.tables import expect_own_cluster, machine
from dwm_ray.report.table import markdown_table
from dwm_ray.runs.tensor_files import write_json


@dataclass(frozen=True)
class FaultsSuite(TaskSuite):
    """Response of a sweep to killed processes, full memory and a full disk. Starts Ray."""

    name: ClassVar[str] = "faults"

    updates: int = 4000
    """Updates of each learner; enough that learners still run at the last kill."""

    def run(self, programs: Path) -> None:
        """Inject all faults; write and print each result as soon as it is known."""
        expect_own_cluster("faults")
        from dwm_ray.benchmarks.cluster.faults import checks, harness, scenarios  # other suites work without Ray

        path, console, rows = self.path, Console(stderr=True), []
        with TemporaryDirectory() as folder, harness.own_cluster() as address:
            faults = harness.FaultHarness(address, Path(folder), programs / "sweep.py", self.data_args(), console.print)
            for row in scenarios.inject_all(faults, self.task, self.data, self.updates):
                rows.append(row)
                console.print(" | ".join(row.cells()), highlight=False, soft_wrap=True)
                write_json(path, {"faults": [asdict(outcome) for outcome in rows], "machine": machine()})
        print(markdown_table(checks.HEADERS, [row.cells() for row in rows]))
        print(path)
