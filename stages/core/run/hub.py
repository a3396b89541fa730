"""The hub, asked and read: a repository's name enters, its commit, what is still to be fetched, and its files leave.

Everything here is bounded in time save the download of weights itself: a hub that is slow, silent or away is one
sentence within seconds, and what is in its cache on this machine still counts.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stages.core.errors import InputError, MissingError, UnreachableError
from stages.core.run.endpoint import shown

LOOK_S, SMALL_S = 20.0, 120.0
"""Longest wait for what the hub says of a repository, and for its small files (config and tokenizer), in seconds."""
MODEL_FILES = (".safetensors", ".json", ".txt", ".model", ".jinja")
"""Endings of what is fetched of a model."""
_SMALL = tuple(suffix for suffix in MODEL_FILES if suffix != ".safetensors")
_WEIGHTS_ELSEWHERE = (".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack")

Found = TypeVar("Found")


@dataclass(frozen=True)
class Repository:
    """A repository at one commit."""

    name: str
    commit: str
    """40 hex digits."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each file that would be taken; empty where only the cache was asked."""
    waiting: int = 0
    """Bytes that are not in the hub's cache here yet."""
    note: str = ""
    """What stands in the way of asking the hub, where the cache answered instead."""


def split_name(text: str) -> tuple[str, str]:
    """Return name and revision ("" = the default branch) of `hf:owner/name[@revision]`; InputError for another form."""
    repository, _, revision = text.removeprefix("hf:").partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InputError(
            f"{shown(text)} is not hf:owner/name", hint="e.g. hf:Qwen/Qwen2.5-0.5B or hf:owner/name@revision"
        )
    return repository, revision


def is_commit(text: str) -> bool:
    """Whether a revision is a whole commit hash, which no branch can move."""
    return bool(re.fullmatch(r"[0-9a-f]{40}", text))


def look(name: str, revision: str = "") -> Repository:
    """Return what the hub says of a model, or what its cache here holds of it whole where the hub cannot be asked.

    Raises MissingError for one that is not there or not open to us, InputError for one without safetensors, and
    UnreachableError where neither hub nor cache can tell.
    """
    import huggingface_hub

    def ask() -> Any:
        return huggingface_hub.HfApi().model_info(name, revision=revision or None, timeout=LOOK_S, files_metadata=True)

    try:
        info = _asked(f"hf:{name}", LOOK_S, ask)
    except UnreachableError as error:
        folder = _cached(name, revision)
        if folder is None:
            raise
        return Repository(name, folder.name, note=error.what)
    files = {one.rfilename: int(one.size or 0) for one in info.siblings or []}
    wanted = {file: size for file, size in files.items() if file.endswith(MODEL_FILES)}
    if not any(file.endswith(".safetensors") for file in wanted):
        other = next((file for file in files if file.endswith(_WEIGHTS_ELSEWHERE)), "no weights")
        what = f"`hf:{name}` holds no safetensors (found {other})"
        raise InputError(what, hint="choose a repository or a revision that holds safetensors")
    cached = huggingface_hub.try_to_load_from_cache
    waiting = {
        file: size for file, size in wanted.items() if not isinstance(cached(name, file, revision=info.sha), str)
    }
    return Repository(name, str(info.sha), wanted, sum(waiting.values()))


def small_files(found: Repository) -> Path:
    """Return a folder of the hub's cache with the repository's config and tokenizer, fetched where they are not there.

    Raises as `look`; a gated repository says so here, for its weights are not given out either.
    """
    patterns = [file for file in found.sizes if "/" not in file and file.endswith(_SMALL)]
    return _asked(f"hf:{found.name}", SMALL_S, lambda: _downloaded(found.name, found.commit, patterns or list(_SMALL)))


def snapshot(name: str, revision: str) -> Path:
    """Return a folder of the hub's cache that holds one commit, whose hash is the folder's name. Raises as `look`."""
    folder = _asked(f"hf:{name}", None, lambda: _downloaded(name, revision, [f"*{suffix}" for suffix in MODEL_FILES]))
    if not is_commit(folder.name):
        raise InputError(f"the hub's cache does not say which commit `hf:{name}` is", hint="give a local folder")
    return folder


def dataset_commit(name: str, revision: str = "") -> str:
    """Return the commit a dataset's revision stands for now, which the hub must let us read; a full commit is its own
    answer and needs no network. Raises MissingError and UnreachableError."""
    if is_commit(revision):
        return revision
    import huggingface_hub

    def ask() -> str:
        api = huggingface_hub.HfApi()
        commit = api.dataset_info(name, revision=revision or None, timeout=LOOK_S).sha
        api.auth_check(name, repo_type="dataset")
        return str(commit or "")

    commit = _asked(f"hf:{name}", LOOK_S, ask)
    if not commit:
        raise MissingError(f"the hub names no commit of `hf:{name}`", hint=f"name one: hf:{name}@<40 hex digits>")
    return commit


def upload(folder: Path, name: str, *, private: bool, message: str) -> str:
    """Send a folder's files to a repository of models, made where it is not there, as one commit; returns its address.

    What the hub has already is not sent again. Raises MissingError where we may not write there, and UnreachableError.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi()
    made = _asked(f"hf:{name}", LOOK_S, lambda: api.create_repo(name, private=private, exist_ok=True))
    _asked(f"hf:{name}", None, lambda: api.upload_folder(repo_id=name, folder_path=folder, commit_message=message))
    return str(made)


def cache_folder() -> Path:
    """Return the hub's cache on this machine."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _downloaded(name: str, revision: str, patterns: list[str]) -> Path:
    import huggingface_hub

    return Path(huggingface_hub.snapshot_download(name, revision=revision or None, allow_patterns=patterns))


def _cached(name: str, revision: str) -> Path | None:
    """The cache's folder of a revision, where all that is taken of it is there."""
    import huggingface_hub

    patterns = [f"*{suffix}" for suffix in MODEL_FILES]
    try:
        path = huggingface_hub.snapshot_download(
            name, revision=revision or None, allow_patterns=patterns, local_files_only=True
        )
    except (OSError, ValueError):
        return None
    whole = is_commit(Path(path).name) and any(Path(path).glob("*.safetensors"))
    return Path(path) if whole else None


def _asked(text: str, seconds: float | None, function: Callable[[], Found]) -> Found:
    """What a function that asks the hub returns, in so many seconds; what it raises becomes one sentence."""
    try:
        return function() if seconds is None else _within(seconds, function)
    except (InputError, MissingError):
        raise
    except TimeoutError as error:
        raise _away(text, f"no whole answer within {seconds:.0f} s") from error
    except Exception as error:
        # the hub's client raises a dozen unrelated kinds for: unknown, private, gated, offline, no such revision
        raise _sentence(text, error) from error


def _within(seconds: float, function: Callable[[], Found]) -> Found:
    """A function's result, or TimeoutError: the client's own limits are per read, and a server may drip."""
    answers: queue.SimpleQueue[tuple[Found | None, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((function(), None))
        except Exception as error:  # noqa: BLE001 (told to the caller, who raises it)
            answers.put((None, error))

    threading.Thread(target=work, name="hub", daemon=True).start()
    try:
        found, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]


def _sentence(text: str, error: Exception) -> MissingError:
    import httpx
    from huggingface_hub import errors

    causes = [error, *([error.__cause__] if error.__cause__ else [])]
    status = next((one.response.status_code for one in causes if isinstance(one, errors.HfHubHTTPError)), 0)
    if any(isinstance(one, errors.GatedRepoError) for one in causes):
        hint = f"accept its terms at https://huggingface.co/{text.removeprefix('hf:')}, then `hf auth login`"
        return MissingError(f"`{text}` is gated, and the hub does not let us in", hint=hint)
    if any(isinstance(one, errors.RevisionNotFoundError) for one in causes):
        return MissingError(f"`{text}` has no such revision", hint="check the part behind the @, or leave it out")
    if any(isinstance(one, errors.RepositoryNotFoundError) for one in causes) or status in (401, 403, 404):
        hint = "check the name; for a private one `hf auth login`"
        return MissingError(f"the hub has no `{text}`, or does not show it to us ({status or 404})", hint=hint)
    if any(isinstance(one, errors.OfflineModeIsEnabled) for one in causes):
        return _away(text, "HF_HUB_OFFLINE is set, and it is not whole in the cache here")
    if any(isinstance(one, (errors.LocalEntryNotFoundError, httpx.HTTPError)) for one in causes) or status:
        return _away(text, f"it answers {status}" if status else type(causes[-1]).__name__)
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return _away(text, f"its answer cannot be read: {first[:120]}")


def _away(text: str, why: str) -> UnreachableError:
    hint = "check the network (and HF_ENDPOINT), then run the same command; or give a local folder or file instead"
    return UnreachableError(f"the hub cannot be asked for `{text}` ({why})", hint=hint)
