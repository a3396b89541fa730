"""What the hub says becomes one sentence, in seconds; what its cache holds counts where it cannot be asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.core.errors import InputError, MissingError, UnreachableError
from stages.core.run import hub
from tests.fake_hub import COMMIT, FakeHub, running


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with one repository, that is waited for a second."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "pytorch_model.bin").write_bytes(b"pickles" * 9)
    monkeypatch.setattr(hub, "LOOK_S", 1.0)
    monkeypatch.setattr(hub, "SMALL_S", 1.0)
    with running(monkeypatch, tmp_path / "cache") as server:
        server.repositories["owner/tiny"] = folder
        yield server


def test_a_look_tells_the_commit_and_what_is_still_to_be_fetched(fake: FakeHub) -> None:
    found = hub.look("owner/tiny")
    assert (found.commit, found.sizes) == (COMMIT, {"config.json": 2, "model.safetensors": 7})
    assert found.waiting == 9
    assert {file.name for file in hub.small_files(found).iterdir()} == {"config.json"}
    assert hub.look("owner/tiny").waiting == 7
    assert hub.snapshot("owner/tiny", "").name == COMMIT
    assert hub.look("owner/tiny", COMMIT).waiting == 0


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "RepoNotFound", "has no `hf:owner/tiny`"),
        (401, "", "does not show it"),
        (404, "", r"does not show it to us \(404\)"),
        (403, "GatedRepo", "is gated"),
        (404, "RevisionNotFound", "no such revision"),
    ],
)
def test_what_is_not_there_or_not_open_is_told_apart(fake: FakeHub, status: int, code: str, said: str) -> None:
    fake.status, fake.headers = status, {"X_Error_Code": code}
    with pytest.raises(MissingError, match=said) as caught:
        hub.look("owner/tiny")
    assert not isinstance(caught.value, UnreachableError) and caught.value.hint


@pytest.mark.parametrize("how", ["503", "429", "drips", "silent", "html", "gone"])
def test_a_hub_that_cannot_be_asked_is_one_sentence_within_seconds(fake: FakeHub, how: str) -> None:
    if how.isdigit():
        fake.status = int(how)
    elif how == "html":
        fake.says = b"<html>please log in</html>"
    elif how == "gone":
        fake.shutdown()
        fake.server_close()
    else:
        setattr(fake, how, True)
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match="the hub cannot be asked for `hf:owner/tiny`") as caught:
        hub.look("owner/tiny")
    assert time.monotonic() - begun < 5
    assert "\n" not in str(caught.value) and "same command" in caught.value.hint


def test_what_the_cache_holds_whole_counts_while_the_hub_is_away(fake: FakeHub) -> None:
    first = hub.look("owner/tiny")
    hub.small_files(first)
    fake.status = 503
    with pytest.raises(UnreachableError):  # config alone is no model
        hub.look("owner/tiny")
    fake.status = 200
    hub.snapshot("owner/tiny", "")
    fake.status = 503
    found = hub.look("owner/tiny")
    assert (found.commit, found.waiting) == (COMMIT, 0) and "503" in found.note


def test_a_repository_without_safetensors_is_refused_before_anything_is_fetched(fake: FakeHub) -> None:
    (fake.repositories["owner/tiny"] / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no safetensors \(found pytorch_model.bin\)"):
        hub.look("owner/tiny")
    assert not any("resolve" in line for line in fake.asked)


def test_a_data_set_is_known_by_its_commit_and_read_only_where_it_is_open(fake: FakeHub) -> None:
    assert hub.dataset_commit("owner/tiny") == COMMIT
    assert fake.asked[-1].endswith("/auth-check")
    fake.silent = True
    assert hub.dataset_commit("owner/tiny", COMMIT) == COMMIT
    with pytest.raises(UnreachableError):
        hub.dataset_commit("owner/tiny")


def test_offline_is_said_as_offline(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnreachableError, match="HF_HUB_OFFLINE is set"):
        hub.look("owner/tiny")
    with pytest.raises(UnreachableError, match="HF_HUB_OFFLINE is set"):
        hub.snapshot("owner/tiny", "")
    assert fake.asked == []
