"""An adapter among a node's inputs becomes the whole model that it makes of its base, before a stage sees it.

A sealed artifact and the store enter; the artifact leaves, or in an adapter's place a model whose folder lies in the
node's scratch. So every stage and every engine opens one kind of folder, and none can forget the adapter.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.core.artifact import Adapter, Artifact, Model
from stages.core.errors import InputError, MissingError
from stages.core.storage.store import Store

OWNER = "stages.policy.models.adapter_files"
"""What puts an adapter on its base: loaded by name, since it lies above this module."""


def opened(artifact: Artifact, store: Store, folder: Path) -> Artifact:
    """The artifact, or the model in `folder` that an adapter makes, under the adapter's record.

    A base may itself be an adapter. Raises MissingError where the base is not in the store, TamperedError where it is
    not what was sealed.
    """
    if not isinstance(artifact, Adapter):
        return artifact
    address, print_ = artifact.base
    base = store.find(print_)
    if base is None:
        what = f"`{artifact.address}` is an adapter of `{address}`, which is not in this store"
        raise MissingError(what, hint="bring its base: `r1 artifacts unpack FILE`, or import or build it again")
    target = folder / "whole"
    if not target.is_dir():
        below = opened(store.trust(base), store, folder / "base")
        draft = folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        import_module(OWNER).whole(below.path, artifact.path, draft)
        shutil.rmtree(folder / "base", ignore_errors=True)
        os.rename(draft, target)
    return Model(path=target, record=artifact.record)


def adapter_folder(text: str, base: str) -> Path:
    """The folder of an adapter from elsewhere. Raises InputError for one that is none, and without a `base`."""
    path = Path(text).expanduser()
    if not (path / "adapter_config.json").is_file():
        raise InputError(f"`{text}` holds no adapter_config.json, so it is no adapter", hint="leave `--base` out")
    if not base:
        raise InputError(f"the adapter of `{text}` needs its base", hint="name it: `--base ADDRESS`")
    return path


def import_adapter(path: Path, base: Artifact, store: Store, folder: Path, *, kept: bool) -> Mapping[str, Any]:
    """Write an adapter from elsewhere into `folder`, `kept` as it is or merged into its base; its figures.

    Raises InputError for an adapter of another base, and as `opened`.
    """
    with TemporaryDirectory(dir=folder) as scratch:
        below = opened(store.trust(base), store, Path(scratch))
        found: Mapping[str, Any] = import_module(OWNER).import_adapter(below.path, path, folder, kept=kept)
    return found
