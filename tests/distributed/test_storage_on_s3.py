"""Runs that are kept in S3 (moto on loopback): nothing is made twice; what fails for good ends a run and says so."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
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
    more = ["--cluster.learner-cpus", 0.5, "--cluster.num-samplers", 1]
    return [
        *OPTIONS.replace("--dimensions horizon", "").split(),
        "--task",
        "pendulum",
        "--data",
        file,
        "--output",
        folder / "runs",
        *more,
    ]


def changed(storage: Storage) -> dict[str, float]:
    """When everything but Ray's files was last written, by the server's clock."""
    parts = ("world_models/", "streams/", "trials/")
    return {file.name: file.changed for file in storage.files() if file.name.startswith(parts)}


def one_account(storage: Storage) -> str:
    """Of the run's only stream."""
    [name] = [file.name for file in storage.files() if file.name.endswith(FILE)]
    return storage.read(name).decode()


def test_a_fresh_machine_goes_on_with_a_sweep(s3: S3, file: Path, cluster: str, tmp_path: Path) -> None:
    """A storage that fails now and then meanwhile is no more than slow."""
    s3.fail(3, "/streams/")
    more = ["--storage", s3.address("runs"), "--dimensions", "horizon", "--agents", "td3_bc", "--no-baselines"]
    mirror = finish(start(tmp_path, *of_task(file, tmp_path / "first"), *more, address=cluster))
    kept = Storage.parse(s3.address(f"runs/{mirror.name}"))
    first = read(mirror / "results.json")
    assert [trial["status"] for trial in first["trials"]] == ["done", "done"]
    names = changed(kept).keys()
    assert {"model.safetensors", "status.json", "stream.json", "agent.safetensors"} <= {n.split("/")[-1] for n in names}
    assert sum(name.endswith(".parquet") for name in names) == 5
    assert not list(mirror.rglob("*.parquet"))

    lost = first["trials"][0]["id"]
    for name in [name for name in names if name.startswith(f"trials/{lost}/")]:
        kept.delete(name)
    shutil.rmtree(mirror)
    shutil.rmtree(work_folder(kept))
    before, account = changed(kept), one_account(kept)
    fresh = tmp_path / "second" / "runs"
    again = finish(start(tmp_path, "--resume", kept.address, "--output", fresh, address=cluster))
    assert again == fresh / mirror.name
    after = changed(kept)
    untouched = {name: when for name, when in before.items() if not name.endswith(FILE)}
    assert {name: after[name] for name in untouched} == untouched, "what was there was not made again"
    assert one_account(kept).startswith(account)
    assert one_account(kept).count('"open": false') == 3, "two trials and one again, each to its end"
    results = read(again / "results.json")
    assert {trial["id"]: trial["status"] for trial in results["trials"]} == {t["id"]: "done" for t in first["trials"]}
    counters = results["counters"]
    assert (counters["segments_sampled"], counters["segments_restored"]) == (NUM_SEGMENTS, NUM_SEGMENTS)
    assert json.loads(kept.read("results.json")) == results


def test_a_storage_that_stays_broken_ends_the_run_with_what_failed(
    s3: S3, file: Path, cluster: str, tmp_path: Path
) -> None:
    more = ["--storage", s3.address("broken"), "--cluster.max-failures", 0]
    s3.fail(-1, "/streams/")
    try:
        run = start(tmp_path, *of_task(file, tmp_path), *more, address=cluster, program=TRAIN)
        out, err = run.communicate(timeout=1200)
    finally:
        s3.fail(0)
    assert run.returncode == 1, out + err
    line = err.strip().splitlines()[-1]
    assert line.startswith("failed: trial ")
    assert "storage s3://bucket/broken/" in line
    assert "cannot" in line
    [status] = [
        f for f in Storage.parse(s3.address("broken")).files() if f.name.endswith("status.json") and "trials/" in f.name
    ]
    assert json.loads(Storage.parse(s3.address("broken")).read(status.name))["status"] == "failed"


def test_without_ray_too(s3: S3, file: Path, tmp_path: Path) -> None:
    """Weights of the world model cannot be sent: exit code 1, one line, and nothing says that the model is whole."""
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
    mirror = tmp_path / "runs" / next(name.split("/")[0] for name in kept)
    again = start(tmp_path, "--resume", mirror, "--in-process", program=TRAIN)
    assert finish(again) == mirror
    kept = [entry.name for entry in Storage.parse(s3.address("alone")).files()]
    assert {"model.safetensors", "status.json"} <= {n.split("/")[-1] for n in kept if "world_models/" in n}


@pytest.mark.parametrize(
    ("change", "says"),
    [(("bucket/", "absent/"), "NO_SUCH_BUCKET"), (("scheme=http", "scheme=http&secret_key=X"), "secret_key")],
)
def test_a_storage_that_is_none_is_refused_before_anything_starts(
    s3: S3, file: Path, tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    address = s3.address("runs").replace(*change)
    run = start(tmp_path, *of_task(file, tmp_path), "--storage", address, program=TRAIN)
    _, err = run.communicate(timeout=600)
    assert run.returncode == 2
    [line] = err.strip().splitlines()
    assert line.startswith("error: --storage")
    assert says in line
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
        *((25_000_000, which) for which in ("POST", "Number=1", "Number=2", "?uploadId")),
    ],
)
def test_a_file_whose_upload_breaks_off_is_no_file(s3: S3, size: int, request_that_fails: str) -> None:
    """Large ones go in parts of 10 MB. Arrow closes a stream that failed when it forgets it, and closing completes."""
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
