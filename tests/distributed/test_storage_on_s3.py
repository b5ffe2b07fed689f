"""Runs in S3 (moto on loopback): nothing is repeated, and a failing storage ends a run with a clear message."""

import gc
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import load_program
from s3_server import ENVIRONMENT, S3
from test_sweep_pipeline import OPTIONS, SWEEP, finish, read, start
from tiny_task import NUM_SEGMENTS

from dwm_ray.blocks.journal import FILE
from dwm_ray.distributed.cluster.check import inspect_cluster
from dwm_ray.runs.storage import Storage, StorageFailed
from dwm_ray.runs.sync import work_folder

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]  # the machine may be busy

TRAIN = SWEEP.with_name("train.py")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    os.environ.update(ENVIRONMENT)
    with S3(tmp_path_factory.mktemp("s3")) as server:
        yield server


def of_task(file: Path, folder: Path) -> list[object]:
    """Options of `train.py`."""
    data = ["--task", "pendulum", "--data", file, "--output", folder / "runs"]
    cluster = ["--cluster.learner-cpus", 0.5, "--cluster.num-samplers", 1]
    return [*OPTIONS.replace("--dimensions horizon --seeds 1", "").split(), *data, *cluster]


def changed(storage: Storage) -> dict[str, float]:
    """Time of the last change of all files but Ray's, by the server's clock."""
    parts = ("world_models/", "streams/", "trials/")
    return {file.name: file.changed for file in storage.files() if file.name.startswith(parts)}


def journal_of(storage: Storage) -> str:
    """Journal of the run's only stream."""
    [name] = [file.name for file in storage.files() if file.name.endswith(FILE)]
    return storage.read(name).decode()


def test_a_new_machine_continues_a_sweep(s3: S3, file: Path, cluster: str, tmp_path: Path) -> None:
    """A few requests to the storage fail during the sweep."""
    s3.fail(3, "/streams/")
    more = ["--storage", s3.address("runs"), "--dimensions", "horizon", "--agents", "td3_bc"]
    more += ["--seeds", "1", "--no-baselines"]
    copy = finish(start(tmp_path, *of_task(file, tmp_path / "first"), *more, address=cluster))
    kept = Storage.parse(s3.address(f"runs/{copy.name}"))
    first = read(copy / "results.json")
    assert [trial["status"] for trial in first["trials"]] == ["done", "done"]
    names = changed(kept).keys()
    assert {"model.safetensors", "status.json", "stream.json", "agent.safetensors"} <= {n.split("/")[-1] for n in names}
    assert sum(name.endswith(".parquet") for name in names) == 5
    assert not list(copy.rglob("*.parquet"))

    lost = first["trials"][0]["id"]
    for name in [name for name in names if name.startswith(f"trials/{lost}/")]:
        kept.delete(name)
    shutil.rmtree(copy)
    shutil.rmtree(work_folder(kept))
    before, journal = changed(kept), journal_of(kept)
    fresh = tmp_path / "second" / "runs"
    again = finish(start(tmp_path, "--resume", kept.address, "--output", fresh, address=cluster))
    assert again == fresh / copy.name
    after = changed(kept)
    untouched = {name: when for name, when in before.items() if not name.endswith(FILE)}
    assert {name: after[name] for name in untouched} == untouched, "existing files are not written again"
    assert journal_of(kept).startswith(journal)
    assert journal_of(kept).count('"open": false') == 3, "two trials, and one of them again"
    results = read(again / "results.json")
    assert {trial["id"]: trial["status"] for trial in results["trials"]} == {t["id"]: "done" for t in first["trials"]}
    counters = results["counters"]
    assert (counters["segments_sampled"], counters["segments_restored"]) == (NUM_SEGMENTS, NUM_SEGMENTS)
    assert json.loads(kept.read("results.json")) == results


def test_a_storage_that_keeps_failing_ends_the_run_with_the_reason(
    s3: S3, file: Path, cluster: str, tmp_path: Path
) -> None:
    more = ["--storage", s3.address("broken"), "--cluster.max-failures", 0]
    s3.fail(-1, r"trials/.*metrics\.jsonl")
    try:
        run = start(tmp_path, *of_task(file, tmp_path), *more, address=cluster, program=TRAIN)
        out, err = run.communicate(timeout=1200)
    finally:
        s3.fail(0)
    assert run.returncode == 1, out + err
    line = err.strip().splitlines()[-1]
    assert line.startswith("failed: trial ")
    assert "storage s3://bucket/broken/" in line
    assert re.search(r"cannot write (trials|world_models)/.*metrics\.jsonl", line)
    broken = Storage.parse(s3.address("broken"))
    [status] = [entry for entry in broken.files() if re.search(r"trials/.*/status\.json", entry.name)]
    assert json.loads(broken.read(status.name))["status"] == "failed"


def test_a_run_without_ray_ends_too_and_marks_no_incomplete_world_model(s3: S3, file: Path, tmp_path: Path) -> None:
    """The weights of the world model cannot be sent; the run continues when they can."""
    s3.fail(-1, "model.safetensors")
    try:
        more = ["--storage", s3.address("alone"), "--in-process"]
        run = start(tmp_path, *of_task(file, tmp_path), *more, program=TRAIN)
        out, err = run.communicate(timeout=1200)
    finally:
        s3.fail(0)
    assert run.returncode == 1, out + err
    assert "failed: storage s3://bucket/alone/" in err.splitlines()[-1]
    assert "model.safetensors" in err.splitlines()[-1]
    kept = [entry.name for entry in Storage.parse(s3.address("alone")).files()]
    assert not [name for name in kept if "world_models/" in name and name.endswith("status.json")]
    copy = tmp_path / "runs" / next(name.split("/")[0] for name in kept)
    again = start(tmp_path, "--resume", copy, "--in-process", program=TRAIN)
    assert finish(again) == copy
    kept = [entry.name for entry in Storage.parse(s3.address("alone")).files()]
    assert {"model.safetensors", "status.json"} <= {n.split("/")[-1] for n in kept if "world_models/" in n}


@pytest.mark.parametrize(
    ("change", "message"),
    [(("bucket/", "absent/"), "NO_SUCH_BUCKET"), (("scheme=http", "scheme=http&secret_key=X"), "secret_key")],
)
def test_an_unusable_storage_is_refused_before_anything_starts(
    s3: S3, file: Path, tmp_path: Path, change: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    address = s3.address("runs").replace(*change)
    args = map(str, [*of_task(file, tmp_path), "--storage", address])
    assert load_program("pipelines/train.py").main(list(args)) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: --storage")
    assert message in line
    assert not (tmp_path / "runs").exists()


def test_every_node_reaches_the_storage(s3: S3, cluster: str, tmp_path: Path) -> None:
    address = s3.address("checked")
    driver, nodes = inspect_cluster(tmp_path, address)
    for node in nodes:
        assert node.problems(driver) == []
        assert node.facts is not None
        assert (node.facts.storage_s or 0) > 0
    assert Storage.parse(address).files() == []


@pytest.mark.parametrize(
    ("size", "request_that_fails"),
    [
        (20, "PUT"),
        (6_000_000, "POST"),
        *((25_000_000, which) for which in ("POST", "Number=1", "Number=2", r"\?uploadId")),
    ],
)
def test_an_interrupted_upload_leaves_no_file(s3: S3, size: int, request_that_fails: str) -> None:
    """Large files are sent in parts of 10 MB. Arrow closes a failed stream on collection, which could complete it."""
    storage = Storage.parse(s3.address(f"cut-{size}"))
    s3.fail(1, request_that_fails)
    with pytest.raises(StorageFailed, match="cannot write file"):
        storage.write("file", os.urandom(size), tries=1)
    gc.collect()
    s3.fail(0)
    assert storage.files() == []
    storage.write("file", os.urandom(size))
    assert [file.size for file in storage.files()] == [size]
    storage.delete("file")
