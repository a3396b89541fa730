"""Stages that ask an endpoint: sample, eval, curate, prefer and distill, through the runner and a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages import distill
from stages.core.artifact import Artifact, Conversations, Endpoint, Model, Rollouts
from stages.core.errors import EngineError, InputError, StageError
from stages.core.recipe import loading
from stages.core.rows import Conversation, Prompt, write_rows
from stages.core.run.plan import plan
from stages.core.run.runner import run_node
from stages.core.run.sources import resolve
from stages.core.storage import lineage
from stages.core.storage.store import Store
from tests.policy import tiny
from tests.policy.engines import fake_server as fake
from tests.policy.engines.fake_server import FakeServer

KEY = "sk-very-secret-0123456789"


def solves(number: int, body: dict[str, Any]) -> fake.Behaviour:
    """Adds what it is asked to add; 3 + 3 it gets wrong, and "no" it refuses."""
    asked = body["messages"][0]["content"]
    if "no" in asked.split():
        return fake.status(400, "not that")
    found = re.search(r"(\d+) \+ (\d+)", asked)
    total = int(found[1]) + int(found[2]) + (found[0] == "3 + 3") if found else 0
    return fake.say(f"<answer>{total}</answer>", reasoning="I add.")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with fake.running() as running:
        running.script = solves
        yield running


@pytest.fixture
def store(r1_home: Path) -> Store:
    return Store(r1_home)


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    return problems(tmp_path / "sums.jsonl", *(f"{n} + {n}" for n in (1, 2, 3, 4)))


def problems(path: Path, *sums: str) -> str:
    rows = [Prompt(f"p{n}", f"What is {text}?", str(eval_sum(text)), "math") for n, text in enumerate(sums)]
    write_rows(path, rows)
    return str(path)


def eval_sum(text: str) -> int:
    return sum(int(part) for part in re.findall(r"\d+", text))


def built(store: Store, stage: str, *overrides: str) -> Artifact:
    given = [f"runtime.endpoint.{setting}" for setting in ("backoff_s=0.01", "retries=1")]
    return run_node(loading.load(None, stage, [*given, *overrides]), store)


def asked(server: FakeServer) -> list[str]:
    """What the server was asked, after the tiny question of the import."""
    return [body["messages"][0]["content"] for body in server.bodies[1:]]


def test_sample_writes_what_an_endpoint_says_and_what_it_cost(server: FakeServer, store: Store, prompts: str) -> None:
    prices = ["runtime.endpoint.price_in=1", "runtime.endpoint.price_out=2"]
    made = built(
        store, "sample", f"inputs.model=openai:{server.url}#tiny", f"inputs.prompts={prompts}", "samples=2", *prices
    )
    assert isinstance(made, Rollouts)
    one = made.samples()[0]
    assert one.completion == "<think>I add.</think><answer>2</answer>"
    assert (one.tokens, one.truncated, one.rewards["accuracy"], one.rewards["format"]) == (19, False, 1.0, 1.0)
    assert sorted((each.id, each.sample) for each in made.samples()) == [(f"p{n}", k) for n in range(4) for k in (0, 1)]
    assert made.metrics["accuracy"] == 0.75
    bill = made.metrics["endpoint"]
    assert (bill["requests"], bill["prompt_tokens"], bill["tokens"]) == (8, 40, 8 * 19)
    assert bill["money"] == pytest.approx((40 + 2 * 8 * 19) / 1e6)
    assert (bill["models"], bill["system_fingerprints"]) == ({"tiny": 8}, {"fp_1": 8})
    assert "flops" not in made.metrics and made.record.inputs["model"] == "tiny@1"
    assert made.contract.template_name == "chat" and made.contract.render("x") == "x"
    assert sorted(set(asked(server))) == [f"What is {n} + {n}?" for n in (1, 2, 3, 4)]
    assert len({body["seed"] for body in server.bodies[1:]}) == 8


def test_a_template_is_written_around_the_problem_in_the_users_message(
    server: FakeServer, store: Store, prompts: str, tmp_path: Path
) -> None:
    template = tmp_path / "template.txt"
    template.write_text("Solve: {prompt} <think>\n", encoding="utf-8")
    given = [f"inputs.model=openai:{server.url}#tiny", f"inputs.prompts={prompts}", "samples=1", "problems=1"]
    made = built(store, "sample", *given, f"template={template}")
    assert re.fullmatch(r"Solve: What is \d \+ \d\? <think>\n", asked(server)[0])
    assert isinstance(made, Rollouts) and made.contract.prefill == ""
    assert made.samples()[0].completion.startswith("<think>I add.</think>")


def test_eval_measures_an_endpoint(server: FakeServer, store: Store, prompts: str) -> None:
    made = built(store, "eval", f"inputs.model=openai:{server.url}#tiny", f"inputs.prompts={prompts}", "samples=2")
    scores = json.loads((made.path / "scores.json").read_text(encoding="utf-8"))
    assert made.metrics["T0.6-p0.95"]["strict_pass@1"] == 0.75 and made.metrics["T1-p1"]["pass@1"] == 0.75
    assert scores["endpoint"]["requests"] == 16 and made.metrics["endpoint"]["requests"] == 16
    assert scores["max_tokens"] == 32768  # the server does not say how long it may be


def test_a_request_that_failed_is_no_wrong_answer(server: FakeServer, store: Store, tmp_path: Path) -> None:
    path = problems(tmp_path / "sums.jsonl", "1 + 1", "2 + 2 no ", "4 + 4")
    given = [f"inputs.model=openai:{server.url}#tiny", f"inputs.prompts={path}", "samples=2"]
    made = built(store, "sample", *given)
    assert isinstance(made, Rollouts) and [one.failed for one in made.samples()].count(True) == 2
    assert (made.metrics["accuracy"], made.metrics["failed"], made.metrics["rows"]) == (1.0, 2, 6)
    scores = built(store, "eval", *given)
    found = json.loads((scores.path / "scores.json").read_text(encoding="utf-8"))
    assert scores.metrics["T1-p1"]["pass@1"] == 1.0
    assert [(part["failed"], part["unjudged"]) for part in found["samplings"]] == [(2, 0), (2, 0)]
    server.script = lambda number, body: fake.status(400, "never")
    with pytest.raises(StageError, match="none of 3 requests got an answer"):
        built(store, "sample", *given, "samples=1")
    server.script = solves
    assert built(store, "sample", *given, "samples=1").metrics["failed"] == 1


def test_what_the_server_has_room_for_bounds_the_completion(server: FakeServer, store: Store, prompts: str) -> None:
    server.listing = fake.lists("tiny", max_model_len=1000)
    given = [f"inputs.model=openai:{server.url}#tiny", f"inputs.prompts={prompts}", "samples=1", "problems=1"]
    built(store, "sample", *given)
    built(store, "sample", *given, "max_tokens=999")
    built(store, "sample", *given, "max_tokens=1000")
    assert [body["max_tokens"] for body in server.bodies[1:]] == [1000 - 14 - 64, 999, 1000 - 14 - 64]


def test_a_budget_stops_the_node_whole_and_a_larger_one_goes_on(server: FakeServer, store: Store, prompts: str) -> None:
    given = [f"inputs.model=openai:{server.url}#tiny", f"inputs.prompts={prompts}", "samples=3", "max_tokens=32"]
    with pytest.raises(EngineError, match="the budget has no room") as raised:
        built(store, "sample", *given, "runtime.endpoint.budget_tokens=220")
    before = len(server.bodies)
    assert 2 < before < 12 and "goes on where this ended" in raised.value.hint
    assert plan([loading.load(None, "sample", given)], store)[0].action == "resume"
    made = built(store, "sample", *given, "runtime.endpoint.budget_tokens=100000")
    assert len(server.bodies) == 1 + 12 and made.metrics["endpoint"]["requests"] == 12


def test_a_server_that_dies_midway_ends_the_run_and_the_next_one_repeats_nothing(
    server: FakeServer, store: Store, prompts: str
) -> None:
    given = [f"inputs.model=openai:{server.url}#tiny", f"inputs.prompts={prompts}", "samples=3"]
    given += ["runtime.endpoint.concurrency=1"]
    server.script = lambda number, body: solves(number, body) if number <= 5 else fake.status(500)
    with pytest.raises(EngineError, match="does not answer any more"):
        built(store, "sample", *given)
    done = asked(server)[:5]
    server.script = solves
    server.bodies.clear()
    made = built(store, "sample", *given)
    assert len(server.bodies) == 12 - len(done) and made.metrics["rows"] == 12


def started(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "r1cli", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env={**os.environ, **environment}, **pipes)


def test_a_killed_client_asks_for_nothing_twice(server: FakeServer, store: Store, prompts: str) -> None:
    given = ["sample", f"inputs.model=openai:{server.url}#tiny", f"inputs.prompts={prompts}", "samples=5"]
    given += ["runtime.endpoint.concurrency=2"]
    server.script = lambda number, body: solves(number, body) if number <= 8 else fake.never
    client = started(*given)
    deadline = time.monotonic() + 60
    while len(server.bodies) < 11 and time.monotonic() < deadline:  # the import, 8 answers, 2 in flight
        time.sleep(0.02)
    client.send_signal(signal.SIGKILL)
    client.communicate()
    assert len(server.bodies) == 11
    answered = [(body["messages"][0]["content"], body["seed"]) for body in server.bodies[1:9]]
    server.script = solves
    server.bodies.clear()
    again = started(*given)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    repeated = [(body["messages"][0]["content"], body["seed"]) for body in server.bodies]
    assert len(repeated) == 20 - 8 and not set(answered) & set(repeated)


def test_the_key_is_in_no_file_and_no_output(server: FakeServer, store: Store, prompts: str) -> None:
    def echo(number: int, body: dict[str, Any]) -> fake.Behaviour:
        return fake.say(f"you sent {KEY}", version=KEY) if number < 3 else fake.status(401, f"no such key {KEY}")

    server.script = echo
    given = ["sample", f"inputs.model=openai:{server.url}#tiny", f"inputs.prompts={prompts}", "samples=2", "--debug"]
    client = started(*given, "runtime.endpoint.key_env=MY_KEY", "runtime.endpoint.concurrency=1", MY_KEY=KEY)
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 1 and "does not let us in (401 no such key [the key])" in output
    assert set(server.keys) == {f"Bearer {KEY}"} and KEY not in output
    files = [path for path in store.home.rglob("*") if path.is_file()]
    assert any("you sent [the key]" in path.read_text(errors="replace") for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_answers_of_an_endpoint_that_nobody_asked_for_tags_are_traces(
    server: FakeServer, store: Store, prompts: str
) -> None:
    server.script = lambda number, body: fake.say("The answer is 2.", reasoning="One and one are two.")
    made = built(store, "sample", f"inputs.model=openai:{server.url}#tiny", f"inputs.prompts={prompts}", "samples=1")
    assert made.metrics["format"] == 0.0
    kept = built(store, "curate", f"inputs.rollouts={made.address}")
    assert isinstance(kept, Conversations)
    assert [(row.reasoning, row.summary) for row in kept.rows()] == [("One and one are two.", "The answer is 2.")]
    discards = json.loads((kept.path / "yield.json").read_text(encoding="utf-8"))["discards"]
    assert {reason: count for reason, count in discards.items() if count} == {"wrong answer": 3}


def test_an_endpoint_judges_and_rewrites(server: FakeServer, store: Store, tmp_path: Path) -> None:
    def works(number: int, body: dict[str, Any]) -> fake.Behaviour:
        task = body["messages"][0]["content"]
        if "## Student's answer" in task:
            return fake.say('{"analysis": "fine", "correctness": "correct"}', reasoning="let me see")
        return fake.say("The sum is \\boxed{4}.") if "2 + 2" in task else solves(number, body)

    path = problems(tmp_path / "sums.jsonl", "2 + 2")
    endpoint = f"openai:{server.url}#tiny"
    made = built(store, "sample", f"inputs.model={endpoint}", f"inputs.prompts={path}", "samples=1")
    server.script = works
    kept = built(
        store, "curate", f"inputs.rollouts={made.address}", f"inputs.judge={endpoint}", "judge_all=true",
        f"inputs.rewriter={endpoint}", "rewriter=model",
    )  # fmt: skip
    assert isinstance(kept, Conversations)
    assert kept.rows()[0].summary == "The sum is \\boxed{4}."
    (bill,) = kept.metrics["endpoints"]
    assert bill["requests"] == 2 and kept.metrics["flops"] == {"sampling": 0.0}


def test_an_endpoint_labels_preferences(server: FakeServer, store: Store, tmp_path: Path) -> None:
    said = iter(range(1000))

    def works(number: int, body: dict[str, Any]) -> fake.Behaviour:
        if "## Answer A" in body["messages"][0]["content"]:
            return fake.say('{"analysis": "one is longer", "a": 9, "b": 2}')
        return fake.say(f"This is answer {next(said)}, as good as any.")

    server.script = works
    write_rows(tmp_path / "general.jsonl", [Prompt("g", "How are you?", "", "helpful")])
    endpoint = f"openai:{server.url}#tiny"
    made = built(
        store, "sample", f"inputs.model={endpoint}", f"inputs.prompts={tmp_path / 'general.jsonl'}", "samples=2"
    )
    pairs = ["labeller=model", f"inputs.judge={endpoint}", "queries=1", "max_tokens=64"]
    kept = built(store, "prefer", f"inputs.rollouts={made.address}", *pairs)
    assert kept.metrics["endpoint"]["requests"] == 1 and kept.metrics["rows" if "rows" in kept.metrics else "kept"] == 1


def test_an_endpoint_teaches_by_traces_alone(server: FakeServer, store: Store, tmp_path: Path) -> None:
    teacher = resolve(f"openai:{server.url}#tiny", Endpoint, store)
    assert isinstance(teacher, Endpoint)
    student = tiny.model(tmp_path / "student")
    rows = tmp_path / "rows"
    rows.mkdir()
    write_rows(rows / "conversations.jsonl", [Conversation("a", "1+1", "r", "2")])
    traces = Conversations(rows, tiny.record("conversations", "traces"))
    inputs = distill.Inputs(student=student, teacher=teacher, conversations=traces)
    chosen = distill.Recipe(learning_rate=1e-3)
    distill.refuse_missing(chosen, inputs)
    assert (
        distill.student_contract(chosen, inputs).template
        == distill.student_contract(chosen, distill.Inputs(student=student, conversations=traces)).template
    )
    assert lineage.variant(teacher) == ""
    with pytest.raises(InputError, match="only speaks, and mode on-policy needs its log-probabilities") as raised:
        given = resolve(str(rows / "conversations.jsonl"), Conversations, store)
        distill.refuse_missing(
            distill.Recipe(mode="on-policy", learning_rate=1e-3),
            distill.Inputs(student=student, teacher=teacher, prompts=given),  # type: ignore[arg-type]
        )
    assert "--mode traces" in raised.value.hint


def test_distill_from_an_endpoint_plans_its_traces_with_the_same_limits(server: FakeServer, store: Store) -> None:
    from r1cli.commands.distill import nodes

    given = [f"inputs.teacher=openai:{server.url}#org/tiny", "inputs.student=world:qwen-nano"]
    last = loading.load("distill", "distill", [*given, "runtime.endpoint.concurrency=3"])
    made = nodes(last)
    assert [node.name for node in made][:2] == ["tiny-samples", "tiny-traces"]
    assert [node.runtime.endpoint.concurrency for node in made] == [3, 3, 3]
    assert [step.action for step in plan(made, store)] == ["build"] * 3
    logprobs = nodes(loading.load("distill", "distill", [*given, "mode=logprobs"]))
    with pytest.raises(InputError, match="only speaks, and model is needed here"):
        plan(logprobs, store)


def test_a_model_whose_weights_are_here_is_asked_as_before(store: Store, prompts: str, tmp_path: Path) -> None:
    model = tiny.model(tmp_path / "m")
    assert isinstance(model, Model)
    short = ["samples=1", "max_tokens=4", "template=plain"]
    made = built(store, "sample", f"inputs.model={model.path}", f"inputs.prompts={prompts}", *short)
    assert made.metrics["flops"]["sampling"] > 0 and "endpoint" not in made.metrics
