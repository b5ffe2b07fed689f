"""Export a trained policy, or generated data, for programs without dwm_ray.

RUN is the folder of a run, its address in remote storage, or the folder of one trial. Without --trial, the trial with
the best score is exported. The policy is that of the last update; earlier checkpoints are not retained.

Policies are written as ONNX and as torch.export files, which include the observation normaliser, with a JSON card. The
program compares the actions of both files with those of torch.

With --data, the trial's world model generates its segments again. The segments selected by the trial's filter are
written as HDF5 in D4RL's layout or as a Minari dataset.

Examples:
  python pipelines/export.py runs/RUN
  python pipelines/export.py runs/RUN --data hdf5 --out imagined.hdf5 --set synthesis.num_segments=20000
  python pipelines/export.py runs/RUN --data minari --out mine/cheetah/imagined-v0 --set filter=hardmax
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from dwm_ray.cli.command_line import OPTIONAL, main_guard
from dwm_ray.data.export import Format, check_new, write
from dwm_ray.data.summary import data_summary, summary_text
from dwm_ray.experiment.search_space import parse_assignment
from dwm_ray.export.policy import export_policy
from dwm_ray.export.segments import generate_data
from dwm_ray.export.trials import ChosenTrial, choose_trial

console = Console(highlight=False, soft_wrap=True)


def export(
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    trial: Annotated[str | None, tyro.conf.arg(metavar="ID"), OPTIONAL] = None,
    data: Annotated[Literal["hdf5", "minari"] | None, OPTIONAL] = None,
    out: Annotated[str | None, tyro.conf.arg(metavar="PATH"), OPTIONAL] = None,
    changes: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="NAME=VALUE ..."), OPTIONAL] = (),
) -> int:
    """Export from RUN.

    Args:
        folder: Folder of a run, its address in remote storage, or the folder of one trial.
        trial: Trial to export; default: the finished trial with the best score, or estimate if there is no simulator.
        data: Write generated data in this format instead of the policy.
        out: Folder for the policy's files (default: export/TRIAL in the run folder), new HDF5 file, or id of a new
            Minari dataset (NAMESPACE/NAME-vN).
        changes: With --data, options of the trial to change, by dotted path, such as filter=hardmax,
            synthesis.horizon=3 or synthesis.num_segments=20000. Options that affect the world model's weights cannot
            be changed.
    """
    if data is None:
        if changes:
            raise ValueError(f"--set {' '.join(changes)}: changes generated data; expected --data")
        _write_policy(choose_trial(folder, trial), out)
        return 0
    _check_target(data, out)
    _write_data(choose_trial(folder, trial), data, str(out), dict(parse_assignment(text, "--set") for text in changes))
    return 0


def _write_policy(trial: ChosenTrial, out: str | None) -> None:
    folder = trial.run.root / "export" / trial.row["id"] if out is None else Path(out)
    card = export_policy(trial, folder)
    if folder.is_relative_to(trial.run.root):
        trial.run.push(folder)
    check = card["check"]
    differences = ", ".join(f"{name} {value:.1e}" for name, value in check["largest_difference"].items())
    console.print(
        f"{card['method']}, trial {card['trial']}, seed {card['seed']}, {card['updates']} updates: {_score(card)}"
    )
    console.print(f"largest difference of actions from torch over {check['rows']} observations: {differences}")
    for name in (*card["files"].values(), "policy.json"):
        console.print(folder / name)


def _score(card: dict[str, Any]) -> str:
    score, estimate = card["score"], card["estimate"]
    if estimate is not None:
        return f"{score['unit']} {estimate['fqe']:.2f} ({estimate['episodes']} held-out episodes, {score['data']})"
    if score["mean"] is None:
        return "not evaluated"
    return f"{score['mean']:.2f} ± {score['std']:.2f} ({score['unit']}, {score['episodes']} episodes, {score['data']})"


def _check_target(data: Format, out: str | None) -> None:
    """Raise ValueError for a target that would otherwise cause a failure after the data have been generated."""
    if out is None:
        raise ValueError(f"--out: is missing; expected {'NAME.hdf5' if data == 'hdf5' else 'NAMESPACE/NAME-v0'}")
    check_new(data, out)


def _write_data(trial: ChosenTrial, data: Format, out: str, changes: dict[str, Any]) -> None:
    made = generate_data(trial, changes)
    write(made.episodes, data, out, made.facts)
    console.print(summary_text(data_summary(made.episodes, made.task)))
    for what, count in made.repairs.items():
        if count:
            console.print(f"{count} {what}")
    console.print(out)


@main_guard
def main(argv: list[str] | None = None) -> int:
    return tyro.cli(export, args=argv, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())
