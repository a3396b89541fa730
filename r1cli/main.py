"""The command line's front door: argv enters, an exit code leaves.

The only place where commands are listed and where an error becomes text and an exit code:
0 done · 1 the work failed as reported · 2 asked wrongly · 70 our bug · 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import typer

from r1cli.view import print_error

DONE, FAILED, ASKED_WRONGLY, OUR_BUG, INTERRUPTED = 0, 1, 2, 70, 130

_EPILOG = "Example: r1 pipeline --recipe recipes/pipeline.yaml"


COMMANDS = ("pipeline", "plan", "claims", "report", "chat", "serve", "doctor")
"""The commands that are no stage, each a module of r1cli.commands."""
GROUPS = ("recipes", "artifacts", "launch", "rewards", "data", "world")
"""The commands that have commands below them."""


def build(only: str | None = None) -> typer.Typer:
    """The typer app with every command, or with `only` one: typer looks at each parameter of all that it is given.

    Imports no stage, so that help costs a fraction of a second.
    """
    from r1cli.commands import stage
    from stages import STAGES

    app = typer.Typer(
        name="r1",
        help="R1: from a base model to a reasoning model, one stage at a time.",
        epilog=_EPILOG,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, module in STAGES.items():
        if only in (None, name):
            words, page = stage.WORDS.get(name), stage.summary(module)
            app.command(name, short_help=words, help=page, epilog=stage.example(name))(stage.command(name))
    for name in (*COMMANDS, *GROUPS):
        if only not in (None, name):
            continue
        module_ = importlib.import_module(f"r1cli.commands.{name}")
        if name in GROUPS:
            app.add_typer(module_.app, name=name)
        else:
            app.command(name, epilog=module_.EXAMPLE)(module_.run)
    return app


def _asked(argv: Sequence[str]) -> str | None:
    """The one command that a command line is for; None where it may be for any, or for none that there is."""
    from stages import STAGES

    return argv[0] if argv and argv[0] in (*STAGES, *COMMANDS, *GROUPS) else None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"r1 {version('r1')}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; every error ends here as one sentence and a way out."""
    try:
        refuse_a_shadowed_stages()
        code = build(_asked(argv))(list(argv) or ["--help"], prog_name="r1", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as err:  # noqa: BLE001 - the one door: what escapes a command ends here, bugs and Ctrl-C too
        return explain(err, debug="--debug" in argv)
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code and says nothing
        return explain(KeyboardInterrupt(), debug=False)
    return code if isinstance(code, int) else DONE


def main() -> NoReturn:
    """The `r1` script."""
    if sys.argv[1:2] == ["plan"]:
        gc.disable()  # a short life, in which looking for garbage would be a tenth of the work
    begin_with_large_pages(sys.argv[1:])
    sys.exit(run(sys.argv[1:]))


def begin_with_large_pages(words: Sequence[str]) -> None:
    """Begin again with glibc's memory in pages of 2 MiB, before a command that computes, where Linux gives them to who
    asks; whoever sets GLIBC_TUNABLES is left alone.

    glibc reads its tunables when a process begins, and those that it starts inherit them. Tensors of a small model are
    many and short-lived, and each page of 4 KiB that is met costs a virtual machine a walk through two tables: see
    docs/performance.md.
    """
    if "GLIBC_TUNABLES" in os.environ or {"-h", "--help", "--dry-run"} & set(words):
        return
    with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):
        from stages import STAGES

        told = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        fits = "[madvise]" in told and name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
        if fits and words and words[0] in (*STAGES, "pipeline"):
            os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def refuse_a_shadowed_stages() -> None:
    """`stages` is a common word: stop, with both paths, where another package of that name would be imported."""
    ours = Path(__file__).resolve().parent.parent
    spec = importlib.util.find_spec("stages")
    origin = Path(spec.origin).resolve() if spec and spec.origin else None
    if origin is None or origin.parent.parent != ours:
        found = origin or "nothing"
        what = f"`import stages` finds {found}, not {ours / 'stages' / '__init__.py'}"
        print_error(what, "run r1 from another folder, or take that folder out of PYTHONPATH")
        raise SystemExit(ASKED_WRONGLY)


def explain(err: BaseException, debug: bool) -> int:
    """Say on stderr what went wrong and what to type next; return the exit code that belongs to it."""
    causes = list(_causes(err))
    if any(isinstance(cause, BrokenPipeError) for cause in causes):
        # The reader left (`r1 … | head`): what is still buffered has nowhere to go, and Python would complain at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    if isinstance(err, SystemExit):
        return err.code if isinstance(err.code, int) else OUR_BUG
    if debug and not isinstance(err, KeyboardInterrupt):
        import traceback

        traceback.print_exception(err)
    what, hint, code = _sentence(err, causes)
    print_error(what, hint)
    return code


def _sentence(err: BaseException, causes: list[BaseException]) -> tuple[str, str, int]:
    """(what, hint, exit code) of an error."""
    from stages.core.errors import DiskError, R1Error

    usage_error = typer.BadParameter.__base__ or typer.BadParameter
    if isinstance(err, (KeyboardInterrupt, typer.Abort)):
        return "interrupted; run the same command again: it resumes", "", INTERRUPTED
    if not isinstance(err, DiskError) and any(_disk_is_full(cause) for cause in causes):
        return (
            "the disk is full; every sealed artifact is intact",
            "free some space (`r1 artifacts prune` drops what nothing needs), then run the same command: it resumes",
            FAILED,
        )
    if isinstance(err, R1Error):
        return str(err), err.hint, err.exit_code
    if isinstance(err, usage_error):
        return _usage(err)
    if isinstance(err, ModuleNotFoundError) and err.name and err.name.split(".")[0] not in ("stages", "r1cli"):
        return f"the package `{err.name.split('.')[0]}` is not installed", "`r1 doctor` says what to install", FAILED
    if isinstance(err, MemoryError) or "out of memory" in str(err).lower():
        return f"out of memory: {err}", "lower `runtime.` batch rows or the completion length, then run again", FAILED
    if isinstance(err, OSError) and err.filename is not None:
        return f"{err.filename}: {(err.strerror or type(err).__name__).lower()}", "check the path and its owner", FAILED
    return (
        f"{type(err).__name__}: {err} (a bug in r1)",
        "run it again with `--debug` for the traceback, and report that",
        OUR_BUG,
    )


def _usage(err: BaseException) -> tuple[str, str, int]:
    """A command line that typer refused: its sentence, and the help page that answers it."""
    context = getattr(err, "ctx", None)
    page = f"{context.command_path} --help" if context else "r1 --help"
    if type(err).__name__ == "NoArgsIsHelpError" and context:
        print(context.get_help(), file=sys.stderr)
        return f"`{context.command_path}` needs a command", f"`{page}` lists them", ASKED_WRONGLY
    text = " ".join(getattr(err, "format_message", err.__str__)().split()).rstrip(".")
    return text[:1].lower() + text[1:], f"`{page}` shows what it takes", ASKED_WRONGLY


def _causes(err: BaseException) -> Iterator[BaseException]:
    """The error, then what caused it, as far back as Python remembers (each once)."""
    seen: set[int] = set()
    now: BaseException | None = err
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__


def _disk_is_full(err: BaseException) -> bool:
    # safetensors and torch report a full disk as their own exceptions: only the text tells.
    full = isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in str(err)
