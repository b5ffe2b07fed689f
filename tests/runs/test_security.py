"""Files of any origin cannot run code, open other files, leave their folder or inject HTML."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from dwm_ray.data import minari
from dwm_ray.data.environment import environment_id
from dwm_ray.data.load import load_episodes
from dwm_ray.experiment import profiles
from dwm_ray.experiment.search_space import Trial
from dwm_ray.options import DataConfig
from dwm_ray.report.findings import Findings, render
from dwm_ray.runs.folder import RunFolder

ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("dwm_ray", "pipelines", "tune_spaces") for path in (ROOT / folder).rglob("*.py")]
UNPICKLE = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
RUN_CODE = {"eval", "exec", "compile", "__import__"}
READ_UNSAFELY = {"torch.load", "np.load", "numpy.load", "pd.read_pickle", "yaml.load", "os.system", "os.popen"}


def offences(source: str) -> Iterator[str]:
    """Yield calls and imports that turn data into code or start a shell."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            names = [module or "", *(alias.name for alias in node.names)]
            yield from (name for name in names if name.split(".")[0] in UNPICKLE)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called in RUN_CODE | READ_UNSAFELY and given.get("allow_pickle") != "False":
                yield called
            yield from (name for name in ("allow_pickle", "shell") if given.get(name, "False") != "False")


def test_nothing_is_unpickled_or_run() -> None:
    result = {str(path.relative_to(ROOT)): list(offences(path.read_text())) for path in SOURCES}
    assert len(result) > 150
    assert {path: names for path, names in result.items() if names} == {}


@pytest.mark.parametrize("task", ["../../x", "/etc/x", "..", "minari:../../a-v0"])
def test_a_task_names_a_folder_in_the_output(tmp_path: Path, task: str) -> None:
    assert RunFolder.create(tmp_path / "runs", task).root.parent == (tmp_path / "runs").resolve()


def test_a_trial_is_named_by_its_content() -> None:
    config = profiles.run_config("laptop").model_copy(update={"task": "../../x"})
    assert re.fullmatch(r"[0-9a-f]{10}", Trial(config, {"../..": "../.."}).id)


@pytest.mark.parametrize("name", ["../../x-v0", "/etc/x-v0", "a/../../b-v0", "a\\b-v0", "-v0"])
@pytest.mark.parametrize("download", [False, True])
def test_a_minari_set_lies_in_minaris_folder(name: str, download: bool) -> None:
    with pytest.raises(ValueError, match="is not the id of a Minari dataset"):
        minari.read(name, download)


@pytest.mark.parametrize("how", ["link", "soft", "raw", "virtual"])
def test_a_recording_cannot_show_another_file(tmp_path: Path, how: str) -> None:
    other, path = tmp_path / "other.hdf5", tmp_path / "data.hdf5"
    with h5py.File(other, "w") as file:
        file["observations"] = np.ones((4, 2))
    with h5py.File(path, "w") as file:
        file.attrs["env_id"] = "Pendulum-v1"
        if how == "link":
            file["observations"] = h5py.ExternalLink(str(other), "observations")
        elif how == "soft":
            file["far"] = h5py.ExternalLink(str(other), "/")
            file["observations"] = h5py.SoftLink("/far/observations")
        elif how == "raw":
            file.create_dataset("observations", (4, 2), "u1", external=[(str(other), 0, 8)])
        else:
            layout = h5py.VirtualLayout((4, 2), "f8")
            layout[:] = h5py.VirtualSource(str(other), "observations", (4, 2))
            file.create_virtual_dataset("observations", layout)
    with pytest.raises(ValueError, match=r"data.hdf5: 'observations' is stored in another file"):
        load_episodes("own", DataConfig(file=str(path)))


def test_a_recording_cannot_have_a_module_imported() -> None:
    with pytest.raises(ValueError, match=r"would import the module 'this'.*--data\.env this:Pendulum-v1"):
        environment_id("data.hdf5", "this:Pendulum-v1", None)
    assert environment_id("data.hdf5", "mine:Own-v0", "mine:Own-v0") == "mine:Own-v0"


def test_names_are_no_html() -> None:
    evil = "<script>alert(1)</script>"
    page = render(Findings(evil, [evil], [], []), {"task": evil})
    assert evil not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("program", ["compare.py", "train.py"])
def test_output_that_nobody_reads_ends_quietly(program: str) -> None:
    args = [sys.executable, str(ROOT / "pipelines" / program), "--help"]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        code = process.wait()
    assert errors == ""
    assert code == 141
