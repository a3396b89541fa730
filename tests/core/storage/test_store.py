"""Sealed means frozen: what the store gives out is what was put in, or an error says what changed."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from stages.core.artifact import Artifact, Record
from stages.core.errors import (
    AskedWrongly,
    DiskError,
    InputError,
    LockedError,
    MissingError,
    R1Error,
    StageError,
    TamperedError,
)
from stages.core.fingerprint import fingerprint, node_payload
from stages.core.storage import disk
from stages.core.storage.packing import pack, unpack
from stages.core.storage.store import Store, parse_address

ROOT = Path(__file__).resolve().parents[3]


def _seal(store: Store, name: str, value: int = 0, kind: str = "prompts", **inputs: str) -> Artifact:
    """Seals an artifact holding one file; `value` decides its fingerprint."""
    payload = node_payload("make", 1, {"value": value}, {key: fingerprint({"at": at}) for key, at in inputs.items()})
    record = Record(
        kind=kind, name=name, number=0, fingerprint=fingerprint(payload), payload=payload, inputs=inputs, stage="make",
        version=1, metrics={"value": value, "ratio": 0.1}, provenance={"time": "2025-01-01T00:00:00+00:00"},
    )  # fmt: skip
    with store.workspace(name, record.fingerprint) as folder:
        (folder / "prompts.jsonl").write_text(f"{value}\n")
        (folder / "deep").mkdir(exist_ok=True)
        (folder / "deep" / "more.txt").write_text("more")
        return store.seal(folder, record)


def test_a_sealed_artifact_is_found_by_name_number_and_fingerprint(store: Store) -> None:
    first, second = _seal(store, "zero", 1), _seal(store, "zero", 2)
    assert (first.address, second.address) == ("zero@1", "zero@2")
    assert store.open("zero") == second == store.find(second.fingerprint)
    assert store.open("zero@1") == first
    assert store.find("0" * 64) is None
    assert [artifact.address for artifact in store.all()] == ["zero@1", "zero@2"]
    assert sorted(first.record.files) == ["deep/more.txt", "prompts.jsonl"]
    assert first.metrics == {"value": 1, "ratio": 0.1}
    assert not list((store.home / ".work").iterdir())
    store.verify("zero@1")


def test_the_same_fingerprint_under_two_names_prefers_the_name_asked_for(store: Store) -> None:
    one, two = _seal(store, "one", 1), _seal(store, "two", 1)
    assert store.find(one.fingerprint, "one") == one
    assert store.find(one.fingerprint, "two") == two
    assert store.find(one.fingerprint, "three") in (one, two)


def test_an_unknown_artifact_is_answered_with_the_nearest_name(store: Store) -> None:
    _seal(store, "zero", 1)
    with pytest.raises(MissingError, match="no artifact `zeor`") as caught:
        store.open("zeor")
    assert "did you mean `zero`?" in caught.value.hint
    with pytest.raises(MissingError, match="zero@9") as caught:
        store.open("zero@9")
    assert "@1" in caught.value.hint
    for odd in ("", "a/b", "../x", "zero@", "zero@0", "zero@-1", "zero@1@2", ".work"):
        with pytest.raises(InputError):
            parse_address(odd)


def test_a_folder_without_a_record_is_no_artifact_and_its_number_is_not_reused(store: Store) -> None:
    _seal(store, "zero", 1)
    (store.home / "zero" / "2").mkdir()
    (store.home / "zero" / "2" / "half.txt").write_text("half")
    assert store.open("zero").number == 1
    assert _seal(store, "zero", 3).number == 3


def test_a_removed_number_is_never_given_again(store: Store) -> None:
    _seal(store, "zero", 1)
    store.remove("zero@1")
    assert store.all() == []
    assert _seal(store, "zero", 2).number == 2


@pytest.mark.parametrize("edit", ["change", "add", "delete", "metrics", "payload"])
def test_any_edit_of_a_sealed_artifact_is_noticed(store: Store, edit: str) -> None:
    artifact = _seal(store, "zero", 1)
    store.trust(artifact)
    file, record = artifact.path / "prompts.jsonl", artifact.path / "artifact.json"
    before = file.stat()
    if edit == "change":
        file.write_text("9\n")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same mtime: ctime still tells
    elif edit == "add":
        (artifact.path / "extra.txt").write_text("x")
    elif edit == "delete":
        file.unlink()
    else:
        raw = json.loads(record.read_text())
        raw["metrics" if edit == "metrics" else "payload"]["value"] = 99
        record.write_text(json.dumps(raw))
    for check in (lambda: store.verify("zero@1"), lambda: store.trust(store.open("zero@1"))):
        with pytest.raises(TamperedError, match="`zero@1` is not what was sealed") as caught:
            check()
        assert "r1 artifacts rm zero@1" in caught.value.hint


def test_trusting_an_untouched_artifact_reads_no_file_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = _seal(store, "zero", 1)
    monkeypatch.setattr(disk, "hash_file", lambda path: pytest.fail(f"{path} was read"))
    store.trust(artifact)


def test_a_record_nobody_can_read_hides_no_other_artifact(store: Store) -> None:
    _seal(store, "zero", 1)
    broken = _seal(store, "zero", 2)
    (broken.path / "artifact.json").write_text("{")
    assert [artifact.address for artifact in store.all()] == ["zero@1"]
    assert store.damaged() == ["zero@2"]
    with pytest.raises(TamperedError, match="cannot be read"):
        store.open("zero@2")


def test_a_workspace_has_one_worker_and_keeps_what_was_left_there(store: Store) -> None:
    with store.workspace("zero", "f" * 64) as folder:
        (folder / "kept.txt").write_text("kept")
        with pytest.raises(LockedError, match="another process"), store.workspace("zero", "f" * 64):
            pass
    with store.workspace("zero", "f" * 64) as again:
        assert (again / "kept.txt").read_text() == "kept"
    with store.workspace("zero", "e" * 64) as other:
        assert not list(other.iterdir())


def test_a_model_with_a_pickle_or_any_artifact_with_a_link_is_not_sealed(store: Store, tmp_path: Path) -> None:
    record = Record(
        kind="model", name="m", number=0, fingerprint="a" * 64, payload={}, inputs={}, stage="make", version=1
    )  # fmt: skip
    for name in ("pytorch_model.bin", "deep/optimizer.PT"):
        with store.workspace("m", "a" * 64) as folder, pytest.raises(StageError, match="is a pickle"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("x")
            store.seal(folder, record)
        (folder / name).unlink()
    with store.workspace("m", "a" * 64) as folder, pytest.raises(StageError, match="is a link"):
        (folder / "link").symlink_to(tmp_path)
        store.seal(folder, record)
    assert store.all() == []


def test_sealing_on_a_full_disk_says_so_and_can_be_repeated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _seal(store, "old", 1)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "flush", full)
        with pytest.raises(DiskError, match="no space left on the disk of") as caught:
            _seal(store, "zero", 1)
    assert caught.value.hint == "free space, then run the same command: it resumes"
    assert [artifact.address for artifact in store.all()] == ["old@1"]
    assert _seal(store, "zero", 1).address == "zero@1"


def test_a_kill_between_the_record_and_the_rename_seals_nothing_and_costs_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "rename", killed)
        _seal(store, "zero", 1)
    assert store.all() == []
    assert _seal(store, "zero", 1).address == "zero@1"
    store.verify("zero@1")


def test_a_full_disk_is_recognised_in_the_words_of_other_libraries(tmp_path: Path) -> None:
    with pytest.raises(DiskError), disk.full_disk_in_words(tmp_path):
        raise ValueError("I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError), disk.full_disk_in_words(tmp_path):
        raise RuntimeError("file write failed")  # but there is space
    with pytest.raises(OSError, match="gone") as caught, disk.full_disk_in_words(tmp_path):
        raise OSError(errno.ENOENT, "gone")
    assert not isinstance(caught.value, R1Error)


RACER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from stages.core.storage.store import Store
from tests.core.storage.test_store import _seal
store = Store(Path({home!r}))
print(*[_seal(store, "race", 100 * int(sys.argv[1]) + n).number for n in range(6)])
"""


def test_processes_that_seal_at_once_each_get_a_number_of_their_own(store: Store) -> None:
    script = RACER.format(root=str(ROOT), home=str(store.home))
    racers = [
        subprocess.Popen([sys.executable, "-c", script, str(n)], stdout=subprocess.PIPE, text=True) for n in range(3)
    ]
    numbers = [int(word) for racer in racers for word in racer.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 19))
    for artifact in store.all():
        store.verify(artifact.address)
        assert artifact.record.address == artifact.address


def _family(store: Store) -> None:
    _seal(store, "base", 1)
    _seal(store, "zero", 1, model="base@1")
    _seal(store, "zero", 2, model="base@1")
    _seal(store, "scores", 1, model="zero@1", prompts="base@1")


def test_lineage_runs_from_the_oldest_ancestor_and_descendants_the_other_way(store: Store) -> None:
    _family(store)
    assert [artifact.address for artifact in store.lineage("scores")] == ["base@1", "zero@1", "scores@1"]
    assert store.descendants("base@1") == ["scores@1", "zero@1", "zero@2"]
    assert store.descendants("scores@1") == []


def test_what_another_artifact_descends_from_is_not_removed(store: Store) -> None:
    _family(store)
    with pytest.raises(AskedWrongly, match="`zero@1` stays: scores@1 descends from it"):
        store.remove("zero@1")
    with pytest.raises(AskedWrongly, match="is a name"):
        store.remove("zero")
    with pytest.raises(MissingError):
        store.remove("zero@7")
    store.remove("scores@1")
    store.remove("zero@1")
    assert [artifact.address for artifact in store.all()] == ["base@1", "zero@2"]


def test_prune_takes_only_what_nobody_holds_or_needs(store: Store) -> None:
    _family(store)
    _seal(store, "zero", 3)
    with store.workspace("left", "a" * 64) as folder:
        (folder / "x").write_text("x")
    with store.workspace("held", "b" * 64):
        pruned = store.prune()
        assert (pruned.removed, pruned.locked, pruned.protected) == ([f"left-{'a' * 12}"], [f"held-{'b' * 12}"], {})
        pruned = store.prune(keep=1)
    assert pruned.removed == ["zero@2"]
    assert pruned.protected == {"zero@1": ["scores@1"]}
    assert [artifact.address for artifact in store.all()] == ["base@1", "scores@1", "zero@1", "zero@3"]
    with pytest.raises(AskedWrongly, match="cannot keep 0"):
        store.prune(keep=0)


def test_prune_frees_an_ancestor_together_with_its_last_descendant(store: Store) -> None:
    _seal(store, "base", 1)
    _seal(store, "zero", 1, model="base@1")
    _seal(store, "base", 2)
    _seal(store, "zero", 2, model="base@2")
    assert sorted(store.prune(keep=1).removed) == ["base@1", "zero@1"]


def test_diff_shows_recipe_inputs_and_metrics_that_differ(store: Store) -> None:
    _family(store)
    _seal(store, "zero", 2, model="zero@1")
    assert store.diff("zero@1", "zero@2") == {"recipe.value": (1, 2), "metrics.value": (1, 2)}
    assert store.diff("zero@2", "zero@3") == {"inputs.model": ("base@1", "zero@1")}
    assert store.diff("base@1", "zero@1") == {"inputs.model": (None, "base@1")}


def test_a_packed_lineage_unpacks_whole_in_another_store(store: Store, tmp_path: Path) -> None:
    _family(store)
    assert pack(store, "scores", tmp_path / "one.tar", lineage=True) == ["base@1", "zero@1", "scores@1"]
    other = Store(tmp_path / "other")
    assert [artifact.address for artifact in unpack(other, tmp_path / "one.tar")] == ["base@1", "zero@1", "scores@1"]
    assert other.verify("scores@1").record == store.open("scores@1").record
    unpack(other, tmp_path / "one.tar")  # the same again is no conflict
    with pytest.raises(AskedWrongly, match="exists already"):
        pack(store, "base", tmp_path / "one.tar")


def test_an_artifact_packed_alone_keeps_the_names_of_its_ancestors(store: Store, tmp_path: Path) -> None:
    _family(store)
    pack(store, "zero@1", tmp_path / "zero.tar")
    other = Store(tmp_path / "other")
    (zero,) = unpack(other, tmp_path / "zero.tar")
    assert zero.record.inputs == {"model": "base@1"}
    assert other.lineage("zero") == [zero]


def test_unpacking_never_overwrites(store: Store, tmp_path: Path) -> None:
    _family(store)
    pack(store, "scores", tmp_path / "family.tar", lineage=True)
    other = Store(tmp_path / "other")
    mine = _seal(other, "zero", 77)
    with pytest.raises(AskedWrongly, match="`zero@1` is already in this store and is something else"):
        unpack(other, tmp_path / "family.tar")
    assert other.all() == [mine]


def _tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def _link(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../../evil.txt"),
        tarfile.TarInfo("/etc/evil.txt"),
        tarfile.TarInfo("zero/1/../../../evil.txt"),
        tarfile.TarInfo("zero/evil.txt"),
        tarfile.TarInfo(".work/1/evil.txt"),
        tarfile.TarInfo("zero/last/evil.txt"),
        _link("zero/1/link", tarfile.SYMTYPE),
        _link("zero/1/hard", tarfile.LNKTYPE),
        _link("zero/1/pipe", tarfile.FIFOTYPE),
    ],
)
def test_a_hostile_tar_writes_nothing(store: Store, tmp_path: Path, member: tarfile.TarInfo) -> None:
    path = _tar(tmp_path / "evil.tar", [(member, b"")])
    with pytest.raises(InputError) as caught:
        unpack(store, path)
    assert caught.value.where == str(path)
    assert [p for p in tmp_path.rglob("*") if "evil" in p.name or p.is_symlink()] == [path]
    assert store.all() == []


def test_a_tar_with_changed_bytes_a_missing_record_or_no_tar_at_all_is_refused(store: Store, tmp_path: Path) -> None:
    _seal(store, "zero", 1)
    pack(store, "zero", tmp_path / "good.tar")
    with tarfile.open(tmp_path / "good.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    other = Store(tmp_path / "other")
    changed = {**files, "zero/1/prompts.jsonl": b"9\n"}
    path = _tar(tmp_path / "bad.tar", [(tarfile.TarInfo(name), data) for name, data in changed.items()])
    with pytest.raises(TamperedError, match=r"prompts.jsonl` was changed"):
        unpack(other, path)
    members = [(tarfile.TarInfo(name), data) for name, data in files.items() if "artifact.json" not in name]
    with pytest.raises(InputError, match="never sealed"):
        unpack(other, _tar(tmp_path / "unsealed.tar", members))
    (tmp_path / "text.tar").write_text("not a tar")
    with pytest.raises(InputError, match="not a whole tar"):
        unpack(other, tmp_path / "text.tar")
    with pytest.raises(MissingError):
        unpack(other, tmp_path / "none.tar")
    assert other.all() == []
