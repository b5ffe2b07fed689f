"""Machines for `ray up` on one Linux machine: a network of hosts in namespaces, each with its own sshd.

A `Network` is a network, mount and process namespace with the hosts' bridge; commands run in it as on the operator's
computer. A `Host` has its own network, processes, shared memory, home folder (an overlay of the real one, which has the
Python environment) and Ray folder; all hosts share /mnt/runs, like NFS. Nothing outside is changed, and everything ends
with the network's first process, which ends with the tests.

`ray stop` ends every Ray process that it sees, so each host needs a process namespace.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HOME = pwd.getpwuid(0).pw_dir
KINDS = ["net", "mount", "uts", "pid"]
NEW = [
    "unshare",
    *(f"--{kind}" for kind in KINDS),
    "--fork",
    "--mount-proc",
    "--kill-child",
    "--propagation",
    "private",
]
SUBNET = "10.77.0"


def missing(programs: tuple[str, ...]) -> str | None:
    """Return why hosts cannot be created here, or None."""
    if os.geteuid() != 0:
        return "needs root, for namespaces of its own"
    absent = [name for name in programs if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: apt-get install openssh-server rsync iproute2 util-linux)"
    attempt = subprocess.run(
        [*NEW, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True, check=False
    )
    return f"namespaces cannot be created here: {attempt.stderr.strip()}" if attempt.returncode else None


def wait_until(condition: Callable[[], Any], event: str, timeout_s: float, pause_s: float = 0.5) -> float:
    """Return the seconds until the condition was true; raise AssertionError that names it after the timeout."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, f"{event} did not happen within {timeout_s:g} s"
        time.sleep(pause_s)
    return time.monotonic() - start


class Space:
    """Namespaces created by a command that stays in the foreground; `depth` is the nesting of process namespaces."""

    def __init__(self, command: list[str], log: Path, depth: int = 1) -> None:
        with log.open("ab") as file:
            self._outer = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._log, self._names = log, len(_numbers("self")) + depth
        wait_until(self._first, f"a first process of {command}", 20, 0.05)
        self.pid: int = self._first()[0]
        """The first process, numbered as outside."""

    def _first(self) -> list[int]:
        assert self._outer.poll() is None, self._log.read_text()
        last = self._outer.pid
        while len(_numbers(last)) < self._names:
            children = Path(f"/proc/{last}/task/{last}/children").read_text().split()
            if not children:
                return []
            last = int(children[0])
        return [last]

    def enter(self, *kinds: str) -> list[str]:
        """Return the words before a command that run it inside."""
        return [
            "nsenter",
            "--target",
            str(self.pid),
            *(f"--{kind}" for kind in kinds or KINDS),
        ]

    def processes(self) -> list[str]:
        """Return the command lines of all processes inside except the first one and `ps`."""
        listing = subprocess.run(
            [*self.enter(), "ps", "-eo", "pid=,args=", "--width", "200"], capture_output=True, text=True, check=True
        )
        rows = (line.split(maxsplit=1) for line in listing.stdout.splitlines())
        return [row[1] for row in rows if row[0] != "1" and not row[1].startswith("ps -eo pid=")]

    def end(self) -> None:
        """Kill everything inside."""
        os.kill(self.pid, signal.SIGKILL)
        self._outer.wait(timeout=20)


def _numbers(pid: int | str) -> list[str]:
    """Return a process's numbers, one per process namespace that contains it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith("NSpid:")).split()[1:]


class Network:
    """Network of the hosts; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.share = folder, folder / "share"
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        for name in ("share", "disks", "operator"):
            (self.folder / name).mkdir(mode=0o700)
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f"]
        subprocess.run([*key, self.folder / "id"], check=True)
        subprocess.run([*key, self.folder / "host_key"], check=True)
        self.space = Space([*NEW, "sleep", "infinity"], self.folder / "network.log")
        # Disks in memory: an overlay's upper folder cannot lie on an overlay, which a container's own disk is.
        self.sh(
            f"mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && mount -t tmpfs tmpfs {self.folder}/disks && "
            f"ip link set lo up && ip link add hosts type bridge && ip addr add {SUBNET}.1/24 dev hosts && "
            "ip link set hosts up"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.space.end()

    def sh(self, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the network."""
        process = subprocess.run(
            [*self.space.enter(), "bash", "-c", command], capture_output=True, text=True, check=False, **options
        )
        assert process.returncode == 0, f"{command}\n{process.stdout[-4000:]}\n{process.stderr[-4000:]}"
        return process

    def boot(self, name: str, number: int, role: str | None = None) -> Host:
        """Start a host, or restart a killed one with its old disk; `role` is written to ~/.dwm_ray_role."""
        self.hosts[name] = Host(self, name, number, role)
        return self.hosts[name]

    def ssh(self, name: str, command: str) -> str:
        """Run a command in a login shell on a host and return its output."""
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        address = self.hosts[name].address
        return self.sh(f"ssh -i {self.folder}/id {options} root@{address} bash --login -i -c \\'{command!r}\\'").stdout


class Host:
    """Machine of a network."""

    def __init__(self, network: Network, name: str, number: int, role: str | None) -> None:
        self.name, self.address = name, f"{SUBNET}.{10 + number}"
        init = network.folder / f"{name}.sh"
        init.write_text(_init(network.folder, name, role))
        # `disks` is a mount of the network's, so the host's own processes are started from there.
        self.space = Space([*network.space.enter(), *NEW, "bash", str(init)], network.folder / f"{name}.log", 2)
        self._connect(network, number)

    def _connect(self, network: Network, number: int) -> None:
        link, card = (
            f"veth{number}",
            f"02:00:00:00:00:{number:02x}",  # the same address after a restart
        )
        peer = f"ip link add {link} type veth peer name eth0 address {card} netns {self.space.pid}"
        bridge = [*network.space.enter("net"), "bash", "-c", f"{peer} && ip link set {link} master hosts up"]
        inside = f"ip addr add {self.address}/24 dev eth0 && ip link set eth0 up && ip link set lo up"
        route = f"ip route add default via {SUBNET}.1"
        for command in (bridge, [*self.space.enter("net"), "bash", "-c", f"{inside} && {route}"]):
            subprocess.run(command, check=True)

    def kill(self) -> None:
        """Kill the host, like a power failure."""
        self.space.end()


def _init(folder: Path, name: str, role: str | None) -> str:
    """Return the first program of a host, which becomes its sshd."""
    disk = f"{folder}/disks/{name}"
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/id.pub\nPidFile none\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 50\nMaxSessions 50\n"
    )
    return f"""set -euo pipefail
mkdir -p {disk}/up {disk}/work {disk}/ray
mount -t tmpfs -o size=512m tmpfs /dev/shm
mount --bind {disk}/ray /tmp/ray
mount -t tmpfs tmpfs /run && mkdir -p /run/sshd
mount -t tmpfs tmpfs /mnt && mkdir /mnt/runs && mount --bind {folder}/share /mnt/runs
mount -t overlay overlay -o lowerdir={HOME},upperdir={disk}/up,workdir={disk}/work {HOME}
hostname {name}
rm -f {HOME}/.dwm_ray_role
{f"echo '{role}' > {HOME}/.dwm_ray_role" if role else ""}
exec /usr/sbin/sshd -D -e -f {folder}/sshd_config
"""
