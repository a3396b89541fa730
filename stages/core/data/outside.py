"""Outside data, read row by row: the name of a file, folder or hub dataset enters, plain rows and what was read leave.

`identity` tells what a source really is, cheaply, before anything is read from it: plans and fingerprints need it. The
`datasets` library says which files are which split of a folder or a hub dataset; their rows are read here, one way for
all, so that the same rows are the same wherever they lie (`datasets` itself parses texts that look like numbers).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from stages.core.data import files
from stages.core.data.pieces import Piece, Wanted
from stages.core.errors import InputError, MissingError
from stages.core.run import hub
from stages.core.storage import disk

HUB = "hf:"
"""Marks a dataset of the Hugging Face hub: `hf:owner/name`, or `hf:owner/name@revision`."""


def identity(source: str) -> dict[str, str]:
    """Return what the source really is: {"source_sha256"} of a file or folder, {"source_commit"} of a hub dataset.

    Raises MissingError when there is no source, or when the hub does not tell its commit.
    """
    if source.startswith(HUB):
        return {"source_commit": hub.dataset_commit(*hub.split_name(source))}
    path = Path(source)
    if path.is_file():
        return {"source_sha256": disk.hash_file(path)}
    if not path.is_dir():
        hint = "give a .jsonl, .csv or .parquet file, a dataset folder, or hf:owner/name"
        raise MissingError(f"no file or folder `{source}`", hint=hint)
    digest = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{disk.hash_file(file)}\n".encode())
    return {"source_sha256": digest.hexdigest()}


def name_of(source: str) -> str:
    """Return what a source is called, without folders and formats: `rows` for data/rows.jsonl.gz."""
    return files.bare_name(Path(source))


class Source:
    """An outside table: `pieces` goes through it once, and `columns` then tells the columns that are known before rows
    are read."""

    def __init__(self, name: str, subset: str, split: str, scratch: Path, commit: str = "") -> None:
        """`subset` and `split` name a part of a dataset, files have none; only a dataset folder writes anything, under
        `scratch`. `commit` is the one of a hub dataset that its `identity` told, so that no other is read."""
        self.name, self.subset, self.split, self.scratch, self.commit = name, subset, split, scratch, commit
        self.columns: dict[str, None] = {}

    def pieces(self, wanted: Wanted) -> Iterator[Piece]:
        """Yield its rows in pieces, of a table with columns only those that are `wanted`; raises InputError for what
        cannot be read."""
        path = Path(self.name)
        if not self.name.startswith(HUB) and path.is_file():
            yield from files.pieces(path, self.name, self.columns, wanted)
            return
        for file, label in _saved(path, self.split) or self._dataset():
            yield from files.pieces(file, label, self.columns, wanted)

    def _dataset(self) -> Iterator[tuple[Path, str]]:
        """The files of one split, as the `datasets` library finds them, each fetched when it is its turn."""
        try:
            import datasets
        except ImportError as error:
            what = "a dataset needs the datasets library"
            raise InputError(what, where=self.name, hint="pip install datasets") from error
        datasets.disable_progress_bars()
        name, options = self.name, {"cache_dir": str(self.scratch / "datasets")}  # a stage writes only where it may
        if self.name.startswith(HUB):
            name, _ = hub.split_name(self.name)
            options["revision"] = self.commit
        try:
            found = datasets.load_dataset_builder(name, self.subset or None, **options).config.data_files
        except (OSError, ValueError, TypeError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            said = str(error).splitlines()[0][:300] if str(error) else repr(error)
            hint = "set `subset`, or check the name; a file of a folder can be given by its own path"
            raise InputError(f"cannot read this dataset ({said})", where=self.name, hint=hint) from error
        parts = {str(split): list(of_split) for split, of_split in (found or {}).items()}
        if self.split not in parts:
            hint = f"set `source_split` to one of: {', '.join(parts)}" if parts else "give a .jsonl or .parquet file"
            raise InputError(f"cannot read split `{self.split}`: there is none", where=self.name, hint=hint)
        read = [each for each in parts[self.split] if files.known(each)]
        if not read:
            hint = "give .jsonl, .csv, .parquet or .arrow files"
            what = (
                f"split `{self.split}` holds no file that is read, but {Path(parts[self.split][0]).name} and the like"
            )
            raise InputError(what, where=self.name, hint=hint)
        for each in read:
            file = _fetched(each) if self.name.startswith(HUB) else Path(each)
            inside = each.rpartition("@")[2].partition("/")[2] if self.name.startswith(HUB) else file.name
            yield file, f"{self.name}/{inside}"


def _saved(folder: Path, split: str) -> list[tuple[Path, str]]:
    """The files of a folder that `save_to_disk` wrote, [] for any other; raises InputError for a split that it has
    not."""
    splits, state = folder / "dataset_dict.json", folder / "state.json"
    try:
        if splits.is_file():
            known = json.loads(splits.read_text(encoding="utf-8"))["splits"]
            if split not in known:
                hint = f"set `source_split` to one of: {', '.join(known)}"
                raise InputError(f"cannot read split `{split}`: there is none", where=str(folder), hint=hint)
            return _saved(folder / split, split)
        if not state.is_file():
            return []
        told = json.loads(state.read_text(encoding="utf-8"))
        names, saved = [Path(each["filename"]).name for each in told["_data_files"]], told.get("_split")
    except (ValueError, KeyError, TypeError, OSError) as error:
        if isinstance(error, InputError):
            raise
        what = f"this folder was saved by datasets, and its state cannot be read ({type(error).__name__})"
        raise InputError(what, where=str(folder), hint="save it again, or as JSON Lines: `ds.to_json(FILE)`") from error
    if saved and re.fullmatch(r"\w+", saved) and saved != split:
        what = f"cannot read split `{split}`: this folder holds `{saved}`"
        raise InputError(what, where=str(folder), hint=f"set `source_split={saved}`")
    return [(folder / name, f"{folder}/{name}") for name in names]


def _fetched(address: str) -> Path:
    """Return the local copy of a hub file, `hf://datasets/owner/name@commit/path`, fetched into the hub's own cache."""
    import huggingface_hub

    found = re.fullmatch(r"hf://datasets/([^@]+)@([^/]+)/(.+)", address)
    if not found:
        raise InputError(f"`{address}` is no file of the hub", hint="give the file by its own path")
    name, revision, path = found.groups()
    try:
        return Path(huggingface_hub.hf_hub_download(name, path, repo_type="dataset", revision=revision))
    except (OSError, ValueError) as error:  # the hub's errors and the network's are both OSError
        what = f"cannot fetch `{path}` ({type(error).__name__})"
        raise MissingError(what, where=HUB + name, hint="check the network, and run the same again") from error
