"""Every query of the Grafana board, executed by a Prometheus that scrapes real runs; skipped where it is missing."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from test_gauges import BOARD, PANELS
from test_rounds_on_ray import DYDIFF, TRAIN
from test_sweep_pipeline import OPTIONS, finish, start

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed (Debian's package prometheus)"),
]
LONGER = ["--training.num-updates", 3000, "--cluster.learner-cpus", 0.5, "--cluster.num-samplers", 1]
"""Each process lives for several scrapes."""


class Prometheus:
    """A server on loopback that scrapes the metrics of the connected cluster every second; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = time.time()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{free.getsockname()[1]}"

    def __enter__(self) -> Prometheus:
        targets = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in ray.nodes() if node["Alive"]]
        jobs = [{"job_name": "ray", "static_configs": [{"targets": targets}]}]
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
        flags = [f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}"]
        command = [str(PROMETHEUS), *flags, f"--web.listen-address={self._address}"]
        self._log = (self._folder / "log").open("w")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        while not self._is_ready():
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        return self

    def __exit__(self, *about: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready") as answer:
                return answer.status == 200
        except OSError:
            return False

    def get(self, path: str, **arguments: Any) -> Any:
        """Return the data of an answer of the API; raise HTTPError for an expression that is wrong."""
        query = urllib.parse.urlencode(arguments)
        with urllib.request.urlopen(f"http://{self._address}/api/v1/{path}?{query}") as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[float]:
        """Return all finite values of an expression since the server has started."""
        found = self.get("query_range", query=expression, start=self._started, end=time.time(), step=1)["result"]
        return [float(value) for series in found for _, value in series["values"] if math.isfinite(float(value))]


def substituted(expression: str) -> str:
    """Return an expression as Grafana sends it with all variables at 'All'."""
    return re.sub(r"\$(SessionName|run|trial)\b", ".*", expression.replace("$window", "1m"))


@pytest.fixture(scope="module")
def scraped(cluster: str, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus after a run with a stream, in remote storage, and one with on-policy refresh."""
    folder = tmp_path_factory.mktemp("board")
    (folder / "prometheus").mkdir()
    data = ["--task", "pendulum", "--data", file, "--output", folder / "runs"]
    storage = ["--storage", (folder / "storage").as_uri()]
    with Prometheus(folder / "prometheus") as server:
        stream = OPTIONS.replace("--dimensions horizon --seeds 1", "").split()
        runs = [[*stream, *LONGER, *data, *storage], [*DYDIFF.split(), *LONGER, *data]]
        for options in runs:
            finish(start(folder, *options, address=cluster, program=TRAIN))
        yield server


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"].replace(" ", "-"))
def test_every_query_of_a_panel_has_data(scraped: Prometheus, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert scraped.values(substituted(target["expr"])), target["expr"]


def test_every_variable_of_the_board_has_values(scraped: Prometheus) -> None:
    queries = [v["query"]["query"] for v in BOARD["templating"]["list"] if v["type"] == "query"]
    assert len(queries) == 3
    for query in queries:
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert scraped.get(f"label/{label}/values", **{"match[]": substituted(selector)}), query
