"""What an endpoint's address means, what it may not hold, and which limits can be true."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from stages.core.artifact import Endpoint, Model
from stages.core.errors import InputError, MissingError, RecipeError
from stages.core.recipe import loading
from stages.core.run import sources
from stages.core.run.endpoint import Address, EndpointSettings
from stages.core.storage.store import Store


@pytest.mark.parametrize(
    ("text", "url", "model", "revision"),
    [
        ("openai:http://127.0.0.1:8000/v1#Qwen/Qwen2.5-7B", "http://127.0.0.1:8000/v1", "Qwen/Qwen2.5-7B", ""),
        ("openai:https://API.Example.com:443/v1/#m@2026-11", "https://api.example.com/v1", "m", "2026-11"),
        ("openai:http://[::1]:8000#@cf/meta/llama@r2", "http://[::1]:8000", "@cf/meta/llama", "r2"),
        ("openai:https://a.b/v1#claude%4020240620", "https://a.b/v1", "claude@20240620", ""),
    ],
)
def test_an_address_is_url_model_and_declared_revision(text: str, url: str, model: str, revision: str) -> None:
    address = Address.parse(text)
    assert (address.url, address.model, address.revision) == (url, model, revision)
    assert Address.parse(address.text) == address


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("openai:http://host/v1", "does not say which model"),
        ("openai:http://host/v1#", "does not say which model"),
        ("openai:http://host/v1#m@", "has an empty revision"),
        ("openai:ftp://host/v1#m", "is not openai:URL#model"),
        ("openai:gpt-4o", "is not openai:URL#model"),
        ("openai:http://host:notaport/v1#m", "cannot be read as a URL"),
        ("openai:http://host/v1/chat/completions#m", "names a route"),
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str, what: str) -> None:
    with pytest.raises(InputError, match=what) as raised:
        Address.parse(text)
    assert raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "openai:http://me:s3cret@host/v1#m",
        "openai:http://s3cret@host/v1#m",
        "openai:http://h/v1?key=s3cret#m",
        "openai:me:s3cret@host#m",
        "openai:me:s3cret@host",
        "openai://me:s3cret@host/v1#m",
        "openai:http:me:s3cret@host/v1#m",
        "openai:me%3As3cret%40host#m",
        "openai:http://me%253As3cret%2540host/v1#m",
        "openai:http://h/v1;key=s3cret#m",
        "openai:http://h/v1%3Fkey=s3cret#m",
        "openai:h/v1&key=s3cret#m",
    ],
)
def test_an_address_with_a_secret_is_refused_without_saying_it_again(text: str) -> None:
    with pytest.raises(InputError, match="holds a password or a query") as raised:
        Address.parse(text)
    assert "s3cret" not in raised.value.told and "OPENAI_API_KEY" in raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "openai:me:s3#cret@host#m",
        "openai:http://me:s3/cret@host",
        "openai:sk-s3cret-s3cret99",
        "http://me:s3cret@host/v1#m",
        "OpenAI:me:s3cret@host#m",
        "hf:me:s3cret@owner/name",
        "hf:https://me:s3cret@huggingface.co/owner/name",
        "https://host/v1?key=s3cret",
        "hf:hf_s3cretS3cretS3cret",
    ],
)
def test_no_error_says_a_secret_again_wherever_it_was_written(text: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, MissingError)) as raised:
        sources.identity(text, (Model, Endpoint), Store(tmp_path))
    assert "s3" not in raised.value.told and "cret" not in raised.value.told and raised.value.hint
    with pytest.raises((InputError, MissingError)) as raised:
        sources.resolve(text, (Model, Endpoint), Store(tmp_path))
    assert "cret@" not in raised.value.told and "s3cret" not in raised.value.told


def test_an_ordinary_mistake_is_repeated(tmp_path: Path) -> None:
    for text in ("openai:gpt-4o", "hf:tiny", "openai:http://host/v1"):
        with pytest.raises(InputError, match=f"`{text}`"):
            sources.identity(text, (Model, Endpoint), Store(tmp_path))


def test_only_a_server_elsewhere_hears_a_key_in_the_clear() -> None:
    shown = {
        text: Address.parse(f"openai:{text}#m").in_the_clear for text in ("http://127.0.0.1/v1", "http://localhost")
    }
    assert not any(shown.values())
    assert Address.parse("openai:http://gpu7/v1#m").in_the_clear
    assert not Address.parse("openai:https://gpu7/v1#m").in_the_clear


def test_limits_are_set_on_the_command_line() -> None:
    loaded = loading.load(None, "sample", ["runtime.endpoint.concurrency=8", "runtime.endpoint.price_in=0.5"])
    assert (loaded.runtime.endpoint.concurrency, loaded.runtime.endpoint.price_in) == (8, 0.5)
    with pytest.raises(RecipeError, match=r"unknown key `runtime.endpoint.concurency`") as raised:
        loading.load(None, "sample", ["runtime.endpoint.concurency=8"])
    assert "endpoint.concurrency" in raised.value.hint


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"concurrency": 0}, "`concurrency` must be 1 or more"),
        ({"retries": -1}, "`retries` must be 0 or more"),
        ({"idle_s": 0.0}, "`idle_s` must be above 0"),
        ({"requests_per_minute": 0.0}, "`requests_per_minute` must be above 0"),
        ({"budget_money": 5.0, "price_in": 1.0}, "needs to know what tokens cost"),
    ],
)
def test_limits_that_cannot_be_are_refused(settings: dict[str, float], what: str) -> None:
    with pytest.raises(RecipeError, match=what):
        EndpointSettings(**settings)  # type: ignore[arg-type]


def test_a_key_in_the_place_of_its_variables_name_is_not_said_again() -> None:
    with pytest.raises(RecipeError) as raised:
        loading.load(None, "sample", ["runtime.endpoint.key_env=sk-s3cret"])
    assert "s3cret" not in raised.value.told + raised.value.where


def test_the_page_lists_every_setting_with_its_default() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "engines.md").read_text(encoding="utf-8")
    listed: dict[str, str] = {}
    for line in page.partition("### Settings")[2].partition("\n### ")[0].splitlines():
        if line.startswith("| `"):
            names, defaults = (cell.replace("`", "").split(", ") for cell in line.split(" | ")[:2])
            listed |= dict(zip([name.strip("| ") for name in names], defaults * len(names), strict=False))
    known = {field.name: field.default for field in fields(EndpointSettings)}
    shown = {name: "null" if value is None else str(value).lower() for name, value in known.items()}
    assert {name: text.lower() for name, text in listed.items()} == {
        name: text.removesuffix(".0") for name, text in shown.items()
    }
