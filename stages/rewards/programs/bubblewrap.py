"""The command lines that start what waits for jobs (`sandbox_server.py`): how much room a sandbox has enters, a list of
words leaves. What a program can see of this system is decided here, and nowhere else."""

from __future__ import annotations

import os
import shutil
import site
import sys
from functools import cache
from pathlib import Path

from stages.core.errors import StageError

SERVER = "sandbox_server.py"
INSTALL = "apt-get install bubblewrap (0.7 or newer), or ask for the weaker isolation by name: isolation=rlimits"
# -P: the program's folder is no place to import from; -s: nor is the user's home. Not -I, which would make the order
# of sets a matter of chance: PYTHONHASHSEED must be read.
PYTHON_FLAGS = ("-s", "-P")
_HERE = Path(__file__).parent
_INSIDE = "/r1/stages/rewards/programs"
_SYSTEM = ("/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/include")
_LINKS = ("/bin", "/lib", "/lib32", "/lib64")
_SETTINGS = ("/etc/ld.so.cache", "/etc/alternatives")
_NOBODY = 65534
_POWERS = ("SETUID", "SETGID", "KILL", "CHOWN", "FOWNER", "DAC_OVERRIDE", "SYS_PTRACE")
_OVER_NAMESPACES = ("SYS_ADMIN", "SETPCAP")  # given up in each job before it is read


def interpreter() -> str:
    """Return the path of the Python outside any virtual environment, which programs are run with."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def weak_command() -> list[str]:
    """Return the command without any isolation."""
    return [interpreter(), *PYTHON_FLAGS, str(_HERE / SERVER)]


def command(disk_mb: int, *, many: bool) -> list[str]:
    """Return bubblewrap's command line with the server; `many`: for more than one job, each in namespaces of its own.
    Raises StageError where bubblewrap is not installed."""
    tool = shutil.which("bwrap")
    if tool is None:
        raise StageError("bubblewrap is not installed", hint=INSTALL)
    return [tool, *_arguments(disk_mb, many), interpreter(), *PYTHON_FLAGS, f"{_INSIDE}/{SERVER}"]


@cache
def _arguments(disk_mb: int, many: bool) -> list[str]:
    found = ["--new-session", "--as-pid-1", *([] if many else ["--die-with-parent"])]
    found += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if os.geteuid() == 0:  # the runner stays root, without power over the system, and programs get another user
        found += ["--cap-drop", "ALL"]
        for power in (*_POWERS, *(_OVER_NAMESPACES if many else ())):
            found += ["--cap-add", f"CAP_{power}"]
    else:
        found += ["--unshare-user", "--uid", str(_NOBODY), "--gid", str(_NOBODY)]
    for path in _LINKS:
        if os.path.islink(path):
            found += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            found += ["--ro-bind", path, path]
    parents = [str(parent) for parent in reversed(Path(sys.base_prefix, "lib").parents)]
    for path in dict.fromkeys(("/usr", "/etc", *parents[1:], *map(str, reversed(Path(_INSIDE, "x").parents)))):
        found += ["--perms", "0755", "--dir", path] if path != "/" else []  # else only its owner could look into it
    for path in (*_SYSTEM, *_python_folders(), *_SETTINGS):
        found += ["--ro-bind-try", path, path]
    for path in _package_folders():
        found += ["--tmpfs", path, "--remount-ro", path]
    room = ["--perms", "1777", "--size", str(disk_mb * 2**20), "--tmpfs"]
    found += ["--proc", "/proc", "--dev", "/dev", *room, "/tmp", *room, "/dev/shm", "--remount-ro", "/dev"]
    for file in sorted(_HERE.glob("*.py")):
        found += ["--ro-bind", str(file), f"{_INSIDE}/{file.name}"]
    return [*found, "--remount-ro", "/", "--chdir", "/tmp"]


def _python_folders() -> list[str]:
    """The folders of Python itself that the system's do not hold."""
    prefix = sys.base_prefix
    folders = [os.path.join(prefix, name) for name in ("bin", "lib", "lib64")]
    return [path for path in folders if prefix != "/usr" and os.path.isdir(path)]


def _package_folders() -> list[str]:
    """Where installed packages lie: hidden, so that a verdict does not hang on what is installed here."""
    found = {*site.getsitepackages([sys.base_prefix, "/usr"]), "/usr/lib/python3/dist-packages"}
    shown = (*_SYSTEM, *_python_folders())
    return sorted(path for path in found if os.path.isdir(path) and path.startswith(tuple(f"{one}/" for one in shown)))
