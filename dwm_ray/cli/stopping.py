"""Signals that stop a program: exit codes 130 and 143, one line on how to resume, and a limited time to end.

`catch_signals` is the first call of every program, before imports that take seconds. This module therefore imports only
the standard library. A thread also receives the signals, because the main thread may be in a long call of a C++
library, and because libraries replace Python's handlers.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal

STOPS = (signal.SIGINT, signal.SIGTERM)
REACT_S = 10.0
"""Seconds after which the process ends even if the main thread has not noticed the signal."""
CLEAN_UP_S = 25.0
"""Seconds that the main thread has for cleaning up after it has noticed the signal."""
SILENT = "DWM_RAY_STOPS_SILENTLY"
"""Environment variable of programs that are started by another program, which prints the line for them."""
SAME_COMMAND = "start again with the same command"


@dataclass
class _State:
    """Phase of the program, the signal it received, and the line to print on a signal."""

    phase: Literal["starting", "running", "ending"] = "starting"
    hint: str = SAME_COMMAND
    signal: int | None = None
    print_once: threading.Lock = field(default_factory=threading.Lock)
    received: threading.Event = field(default_factory=threading.Event)
    noticed: threading.Event = field(default_factory=threading.Event)


_state = _State()


def catch_signals() -> None:
    """Handle SIGINT and SIGTERM until the process ends, except those that the caller ignores (`nohup`, `&`)."""
    _fill_closed()
    caught = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, _handle)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, caught), name="signals", daemon=True).start()
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_restore)


def set_running() -> None:
    """Raise KeyboardInterrupt in the main thread on later signals, instead of ending the process immediately."""
    _state.phase, _state.hint, _state.print_once = "running", SAME_COMMAND, threading.Lock()


def set_ending() -> None:
    """Let the process end with its own exit code; from now on, a signal only limits the time for this."""
    _state.phase = "ending"
    for number in STOPS if _state.signal else ():
        signal.signal(number, signal.SIG_IGN)  # at exit, Python restores the default handler, which kills the process


@contextmanager
def hint(text: str) -> Iterator[None]:
    """Set the text that is printed if the program is stopped in this context, such as how to resume."""
    before, _state.hint = _state.hint, text
    yield
    _state.hint = before  # not after an exception, which the caller reports


def exit_code(error: BaseException) -> int | None:
    """Print the line and return the exit code of a stopped program; None if no signal caused `error`."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        _state.received.wait(0.1)  # a library's handler may be faster than the thread
    if _state.signal is None and not isinstance(error, KeyboardInterrupt):
        return None
    _state.noticed.set()
    return _finish(_state.signal or signal.SIGINT)


def received() -> int:
    """Return the signal that stopped the program; SIGINT for a KeyboardInterrupt without one."""
    return _state.signal or signal.SIGINT


def _fill_closed() -> None:
    """Open /dev/null for closed stdin, stdout or stderr, so that no other file gets their descriptors."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor


def _finish(number: int) -> int:
    """Print the line unless it has been printed, and return the exit code."""
    if SILENT not in os.environ and _state.print_once.acquire(blocking=False):
        line = f"stopped by {signal.Signals(number).name}; {_state.hint}\n"
        os.write(2, line.encode(sys.getfilesystemencoding(), "replace"))
    return 128 + number


def _handle(number: int, _: FrameType | None) -> None:
    if _state.phase == "starting":
        os._exit(_finish(number))
    _state.signal = _state.signal or number
    if _state.phase == "running" and not _state.noticed.is_set():
        _state.noticed.set()
        raise KeyboardInterrupt


def _watch(reader: int, caught: list[signal.Signals]) -> None:
    """End the process after the first signal if the main thread does not."""
    while (number := os.read(reader, 1)[0]) not in caught:
        pass
    _state.signal = number
    _state.received.set()
    if _state.phase != "starting" and _state.noticed.wait(REACT_S):
        threading.Event().wait(CLEAN_UP_S)
    _kill_children()
    os._exit(_finish(number))


def _kill_children() -> None:
    import psutil  # not at the start; see the module docstring

    for child in psutil.Process().children(recursive=True):
        child.kill()


def _hold() -> None:
    """Block signals during a fork, because a new process must not wake the thread of its parent."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def _restore() -> None:
    """Restore Python's own handlers in a forked process."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()
