"""A program that is stopped by a signal ends with 130 or 143 and one line, whatever it is doing at that moment."""

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_task import recording

from dwm_ray.cli import session
from dwm_ray.cli.command_line import main_guard
from dwm_ray.local.executor import LocalExecutor
from pipelines import compare, sweep
from pipelines import train as train_program

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "pipelines").glob("*.py"))
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
PROGRAM = """
import ctypes, signal, subprocess, sys, time
from dwm_ray.cli import stopping
stopping.catch_signals()
stopping.REACT_S = stopping.CLEAN_UP_S = 0.5
def ready():
    print("ready", flush=True)
{starting}
stopping.set_running()
try:
    with stopping.hint("resume with: this"):
        {work}
except BaseException as error:
    code = stopping.exit_code(error)
finally:
    stopping.set_ending()
{ending}
sys.exit(code)
"""
SLEEP = "ready(); time.sleep(60)"
LONG_CALL = "ready(); ctypes.CDLL(None).system(b'while :; do sleep 1; done')"
"""A call in C that no signal interrupts."""


def stopped(program: str, number: int, times: int = 1) -> tuple[int, str]:
    """Return exit code and stderr of a program that gets a signal once it is ready."""
    args = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]  # Python 3.12 warns of forks
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(times):
            process.send_signal(number)
        err = process.communicate(timeout=60)[1]
    return process.returncode, err


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("parts", [{"starting": SLEEP, "work": "pass"}, {"starting": "", "work": SLEEP}])
def test_exit_code_and_one_line_also_of_a_second_signal(
    parts: dict[str, str], number: signal.Signals, code: int
) -> None:
    hint = "resume with: this" if parts["work"] == SLEEP else "start again with the same command"
    expected = f"stopped by {number.name}; {hint}\n"
    assert stopped(PROGRAM.format(**parts, ending=""), number, times=2) == (code, expected)


def test_a_program_that_does_not_notice_or_does_not_end_is_ended_with_its_children() -> None:
    deaf = PROGRAM.format(starting="", work=LONG_CALL, ending="")
    assert stopped(deaf, signal.SIGTERM) == (143, "stopped by SIGTERM; resume with: this\n")
    slow = PROGRAM.format(starting="", work=SLEEP, ending="time.sleep(60)")
    assert stopped(slow, signal.SIGINT) == (130, "stopped by SIGINT; resume with: this\n")
    parent = PROGRAM.format(
        starting="", work="subprocess.Popen(['sleep', '61'], stdout=2); " + SLEEP, ending="time.sleep(60)"
    )
    assert stopped(parent, signal.SIGINT)[0] == 130  # the child would keep stderr open


def test_handlers_that_a_library_replaces_do_not_hide_the_signal() -> None:
    work = f"signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number)); {SLEEP}"
    assert stopped(PROGRAM.format(starting="", work=work, ending=""), signal.SIGTERM)[0] == 143


def test_a_signal_after_the_work_does_not_change_the_exit_code() -> None:
    program = PROGRAM.format(starting="code = 0", work="pass", ending="ready(); time.sleep(0.3)")
    assert stopped(program, signal.SIGTERM) == (0, "")


def test_a_forked_process_has_its_own_handlers() -> None:
    fork = "import os; child = os.fork() or time.sleep(60); os.kill(child, 15); status = os.waitpid(child, 0)[1]"
    work = f"{fork}; time.sleep(0.2); print(status, file=sys.stderr, flush=True); {SLEEP}"
    assert stopped(PROGRAM.format(starting="", work=work, ending=""), signal.SIGINT) == (
        130,
        "15\nstopped by SIGINT; resume with: this\n",
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_programs_catch_signals_before_their_other_imports(program: Path) -> None:
    body = [node for node in ast.parse(program.read_text()).body if not isinstance(node, ast.Expr)]
    assert ast.unparse(body[0]) == "from dwm_ray.cli import stopping"
    assert ast.unparse(body[1]) == "if __name__ == '__main__':\n    stopping.catch_signals()"


def test_guard_prints_the_line_of_an_interrupt(capfd: pytest.CaptureFixture[str]) -> None:
    @main_guard
    def main() -> None:
        raise KeyboardInterrupt

    assert main() == 130
    assert capfd.readouterr().err == "stopped by SIGINT; start again with the same command\n"
    with pytest.raises(ZeroDivisionError):
        main_guard(lambda: 1 // 0)()


@pytest.mark.parametrize("where", ["training", "report"])
@pytest.mark.parametrize("program", [train_program, sweep, compare])
def test_runs_say_how_to_resume(
    program: object, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    run = interrupt if where == "training" else lambda *args: None
    monkeypatch.setattr(LocalExecutor, "run", run)
    monkeypatch.setattr(LocalExecutor, "run_one", run)
    monkeypatch.setattr(session, "conclude", interrupt)
    words = [f"--data={recording(tmp_path / 'pendulum.hdf5')}", f"--output={tmp_path / 'runs'}", "--in-process"]
    extra = {"compare": ["--methods", "td3bc", "bc"], "sweep": ["--dimensions", "seed"]}
    name = program.__name__.removeprefix("pipelines.")
    assert program.main(["--task", "pendulum", *words, *extra.get(name, [])]) == 130
    [folder] = (tmp_path / "runs").iterdir()
    assert capfd.readouterr().err == (f"stopped by SIGINT; resume with: python pipelines/{name}.py --resume {folder}\n")
