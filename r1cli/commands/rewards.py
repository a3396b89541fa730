"""`r1 rewards`: what there is to reward by, files of completions scored, rewards tested and attacked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from r1cli.options import Debug, Json
from r1cli.view import Screen, number

if TYPE_CHECKING:
    from stages.core.rows import Prompt
    from stages.rewards.files.stream import Job, Summary

app = typer.Typer(
    help="Rewards: list, score, test, audit.",
    epilog="Example: r1 rewards score accuracy --input rows.jsonl --output out.jsonl",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A reward of `r1 rewards list`, or `package.module:function`.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the reward; repeat it.")
]
_SHOWN = 20  # findings and reasons that are printed


@app.callback()
def _group(debug: Debug = False) -> None:
    pass


@app.command("list", epilog="Example: r1 rewards list")
def list_rewards(as_json: Json = False, debug: Debug = False) -> None:
    """List the rewards: what each pays for, its range, and its options with their defaults."""
    from stages.core.rows import JUDGES
    from stages.rewards import registry

    rows: list[dict[str, Any]] = [
        {"name": name, "pays for": entry.pays, "range": entry.values, "options": registry.options_of(name)}
        for name, entry in registry.ENTRIES.items()
    ]
    rows += [
        {"name": name, "pays for": "a learned judge's score (an input)", "range": "0 to 1", "options": {}}
        for name in JUDGES
    ]
    screen = Screen(as_json)
    told = [[*list(row.values())[:3], _options_in_words(row["options"])] for row in rows]
    screen.table(["name", "pays for", "range", "options"], told, widths=[15, 26, 12, 22])
    screen.say("\nyour own: `package.module:function`, e.g. `r1 rewards test my_rewards:polite`")
    screen.data(rows)


@app.command("score", epilog="Example: r1 rewards score accuracy,format --input rows.jsonl --output out.jsonl")
def score(
    names: Annotated[str, typer.Argument(metavar="NAME[,NAME…]", help="Rewards of `r1 rewards list`, or your own.")],
    source: Annotated[str, typer.Option("--input", help="JSON lines {id, completion, answer, …}; - for stdin.")],
    target: Annotated[str, typer.Option("--output", help="JSON lines {id, reward, reason, seconds}; - for stdout.")],
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; as many as cores.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.01, help="Seconds for one row.")] = 60.0,
    options: Set = None,
) -> None:
    """Score a file of completions: one line out for each line in, in order.

    A row may also hold problem, verifier, language, tests, tokens, group and meta. A row that cannot be scored gets
    `reward: null` and the reason. Several rewards are summed. Killed, the same command goes on where it was.
    """
    from stages.core.errors import RecipeError
    from stages.rewards.files.stream import Job
    from stages.rewards.processes.workers import cores
    from stages.rewards.registry import behind

    rewards = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not rewards:
        raise RecipeError(f"`{names}` names no reward", hint="`r1 rewards list` names them")
    job = Job(
        rewards=rewards,
        options=_options(rewards, options or [], behind(rewards)),
        workers=workers or cores(),
        timeout_s=timeout,
    )
    job.check()
    screen = Screen(as_json=target == "-")  # stdout belongs to the rows
    began = time.monotonic()
    summary = _score(job, source, target, screen)
    _say_summary(screen, summary, time.monotonic() - began)


@app.command("test", epilog="Example: r1 rewards test accuracy --input rows.jsonl")
def test(
    name: Name,
    source: Annotated[str | None, typer.Option("--input", help="Rows whose golds are checked; - for stdin.")] = None,
    options: Set = None,
    debug: Debug = False,
) -> None:
    """Put a reward to its examples and to hostile texts, and the golds of a file to the reward."""
    from stages.rewards import selftest
    from stages.rewards.verdict import shorten

    given = _options((name,), options or []).get(name, {})
    screen = Screen()
    failures = selftest.run(name, given)
    count = len(selftest.examples(name))
    screen.say(f"{name}: {count} examples, {len(selftest.HOSTILE)} hostile texts: {len(failures)} failed")
    rows = [[shorten(one.case, 30), one.expected, one.got, one.reason] for one in failures]
    _table(screen, ["case", "expected", ">got", "reason"], rows)
    refused = _check_golds(screen, name, source, given) if source is not None else 0
    if failures or refused:
        raise typer.Exit(1)


@app.command("audit", epilog="Example: r1 rewards audit my_rewards:polite")
def audit(name: Name, options: Set = None, as_json: Json = False, debug: Debug = False) -> None:
    """Attack a reward with a suite of hacks and print what got through; exit code 1 where something did."""
    from stages.rewards.hacks import audit as room
    from stages.rewards.verdict import shorten

    given = _options((name,), options or []).get(name, {})
    screen = Screen(as_json)
    findings = room.run(name, given)
    screen.say(f"{name}: {room.attacks(name)} attacks, {len(findings)} got through")
    rows = [[shorten(one.attack, 40), one.expected, one.got, one.reason] for one in findings]
    _table(screen, ["attack", "expected", ">got", "reason"], rows)
    screen.data([one._asdict() for one in findings])
    if findings:
        raise typer.Exit(1)


def _options_in_words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items()) or "-"


def _table(screen: Screen, columns: list[str], rows: list[list[Any]]) -> None:
    if rows:
        screen.table(columns, rows[:_SHOWN])
    if len(rows) > _SHOWN:
        screen.say(f"… and {len(rows) - _SHOWN} more")


def _options(
    names: tuple[str, ...], settings: list[str], behind: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, dict[str, Any]]:
    """`key=value` (for every reward that has the key, also those `behind` the ones asked for) and `NAME.key=value` ->
    reward name -> options, their values read as a recipe's are, but text where the default is text."""
    from stages.core.errors import RecipeError, nearest
    from stages.core.recipe.yamlfile import COMMAND_LINE, parse, untyped
    from stages.rewards.registry import options_of

    known = {name: options_of(name) for name in names}
    for name, reward in behind.items():
        known[name] = {key: value for key, value in options_of(name).items() if key not in reward.aside}
    found: dict[str, dict[str, Any]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise RecipeError(f"`--set {setting}` is not KEY=VALUE", hint="write: --set key=value")
        owner, _, plain = key.rpartition(".")
        takers = [owner] if owner in known else [name for name in known if key in known[name]]
        if (owner and owner not in known) or not takers:
            every = sorted({one for options in known.values() for one in options})
            told = f"{nearest(key, every)}they take: {', '.join(every) or 'no options'}"
            raise RecipeError(f"no option `{key}` in {', '.join(names)}", hint=told)
        for name in takers:
            key = plain if owner in known else key
            as_text = isinstance(known[name].get(key), str)
            found.setdefault(name, {})[key] = text if as_text else untyped(parse(text, COMMAND_LINE))
    return found


def _score(job: Job, source: str, target: str, screen: Screen) -> Summary:
    """Score from the input to the output, showing how far it is."""
    from stages.rewards.files import stream, stream_file

    place, output = _readable(source), _writable(source, target)
    out = sys.stdout.buffer
    with screen.progress(f"score {','.join(job.rewards)}"[:40]) as listener:
        tell = _teller(listener, place.stat().st_size if place is not None and place.is_file() else 0)
        if place is not None and output is not None and place.is_file():
            return stream_file.score(job, place, output, tell)
        rows: BinaryIO = sys.stdin.buffer if place is None else place.open("rb")

        def write(data: bytes) -> None:
            out.write(data)
            out.flush()

        if target == "-":
            return stream.score(job, rows, write, tell)
        with Path(target).open("wb") as file:
            return stream.score(job, rows, file.write, tell)


def _readable(source: str) -> Path | None:
    """The input's path, None for stdin; refused where there is no such file."""
    from stages.core.errors import InputError, MissingError

    if source == "-":
        return None
    path = Path(source)
    if not path.exists():
        raise MissingError(f"no file `{source}`", hint="give --input a file of JSON lines, or - for stdin")
    if path.is_dir():
        raise InputError(f"`{source}` is a folder", hint="give --input a file of JSON lines, or - for stdin")
    return path


def _writable(source: str, target: str) -> Path | None:
    """The output's path where it may be renamed into place, None for stdout and devices; refused where it cannot be."""
    from stages.core.errors import InputError, MissingError

    if target == "-":
        return None
    path = Path(target)
    if not path.parent.is_dir():
        raise MissingError(f"no folder `{path.parent}`", hint=f"make it: mkdir -p {path.parent}")
    if path.is_dir():
        raise InputError(f"`{target}` is a folder", hint="give --output the name of a file")
    if source != "-" and path.exists() and path.samefile(source):
        raise InputError(f"`{target}` is the input", hint="give --output another name")
    return path if path.is_file() or not path.exists() else None


def _teller(listener: Callable[[dict[str, Any]], None], size: int) -> Callable[[Summary], None]:
    """What turns a summary into a progress event: by bytes, since nobody counted the lines."""
    unit, scale = ("MB", 10**6) if size >= 10**7 else ("kB", 10**3)
    total = max(1, round(size / scale)) if size else 0

    def tell(summary: Summary) -> None:
        figures = {} if summary.mean is None else {"reward": summary.mean}
        done = total if summary.bytes >= size else min(total - 1, round(summary.bytes / scale))
        listener({"event": "progress", "done": done, "total": total, "unit": unit, "figures": figures})

    return tell


def _say_summary(screen: Screen, summary: Summary, elapsed: float) -> None:
    nulls = sum(summary.nulls.values())
    screen.pairs(
        {
            "rows": summary.rows,
            "mean reward": summary.mean,
            "without reward": nulls,
            "rows/s": summary.rows / elapsed if elapsed > 0 else None,
            "seconds a row": f"p50 {number(summary.quantile(0.5))}, p99 {number(summary.quantile(0.99))}",
        }
    )
    if nulls:
        _table(screen, [">rows", "why without reward"], [[n, why] for why, n in summary.nulls.most_common()])


def _check_golds(screen: Screen, name: str, source: str, options: Mapping[str, Any]) -> int:
    """Say which rows of a file the reward cannot judge; return how many."""
    from stages.rewards import selftest

    refused: list[list[Any]] = []
    count = 0
    for row, fault in _rows(source):
        count += 1
        verdict = None if row is None else selftest.check_gold(name, row, options)
        if verdict is None or verdict.value != 1.0:
            refused.append([f"line {count}", row.id if row else "-", verdict.reason if verdict else fault])
    screen.say(f"{source}: {count} rows, {len(refused)} cannot be judged")
    _table(screen, ["row", "id", "reason"], refused)
    return len(refused)


def _rows(source: str) -> Iterator[tuple[Prompt | None, str]]:
    """The rows of a file (their completions are not needed), or what is wrong with one."""
    from stages.core.rows import Prompt
    from stages.rewards.files import lines, stream

    path = _readable(source)
    with sys.stdin.buffer if path is None else path.open("rb") as file:
        for line in stream.split(file):
            asked = lines.read(line, completions=False)
            yield (None, asked.refused) if asked.refused else (Prompt(**asked.row or {}), "")
