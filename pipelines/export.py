"""Export a trained policy for programs without dwm_ray.

RUN is the folder of a run, its address in a storage, or the folder of one trial. The policy of the best trial, or of
--trial, is written as ONNX and as torch.export, with the observations' normaliser inside and a JSON card. The program
compares the actions of both files with those of torch.

Example:
  python pipelines/export.py runs/halfcheetah-medium-replay-20261128-120000
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from dwm_ray.cli.command_line import main_guard
from dwm_ray.export.policy import export_policy
from dwm_ray.export.trials import ChosenTrial, choose_trial


def export(
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    trial: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None,
    out: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None,
) -> int:
    """Export from RUN.

    Args:
        folder: Folder of a run, its address in a storage, or the folder of one trial.
        trial: Trial to export; by default the finished one with the best score.
        out: Folder of the policy's files; by default export/TRIAL in the run's folder.
    """
    chosen = choose_trial(folder, trial)
    _write_policy(chosen, chosen.run.root / "export" / chosen.row["id"] if out is None else Path(out))
    return 0


def _write_policy(trial: ChosenTrial, folder: Path) -> None:
    card = export_policy(trial, folder)
    trial.run.push(*([folder] if folder.is_relative_to(trial.run.root) else []))
    check = card["check"]
    found = ", ".join(f"{name} {value:.1e}" for name, value in check["largest_difference"].items())
    lines = (
        f"{card['method']}, trial {card['trial']}, seed {card['seed']}, {card['updates']} updates: {_score(card)}",
        f"largest difference of actions from torch over {check['rows']} observations: {found}",
        *(str(folder / name) for name in (*card["files"].values(), "policy.json")),
    )
    Console().print("\n".join(lines), highlight=False, soft_wrap=True)


def _score(card: dict[str, Any]) -> str:
    score = card["score"]
    if score["mean"] is None:
        return "not evaluated"
    return f"{score['mean']:.2f} ± {score['std']:.2f} ({score['unit']}, {score['episodes']} episodes, {score['data']})"


@main_guard
def main(argv: list[str] | None = None) -> int:
    """Run the program."""
    return tyro.cli(export, args=sys.argv[1:] if argv is None else argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
