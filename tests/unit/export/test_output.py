"""Nothing is replaced but what an export or a package made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seq2seq.errors import ExportError
from seq2seq.export.output import check_output, mark


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "runs" / "mine" / "checkpoints" / "step_1").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.toml").touch()
    return tmp_path / "runs" / "mine"


def test_a_new_folder_an_empty_one_and_an_earlier_export_are_taken(run: Path, tmp_path: Path) -> None:
    check_output(tmp_path / "new", run, overwrite=False)
    for folder in (tmp_path / "empty", tmp_path / "made"):
        folder.mkdir()
        if folder.name == "made":
            (folder / "model.bin").touch()
            mark(folder)
        check_output(folder, run, overwrite=True)
        with pytest.raises(ExportError, match="is there already; --overwrite"):
            check_output(folder, run, overwrite=False)


def test_what_came_into_an_export_later_is_not_lost(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.bin").touch()
    mark(folder, format="ctranslate2")
    check_output(folder, run, overwrite=True)
    for name in (".git/config", "tokenizer/notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
        with pytest.raises(ExportError, match=rf"holds {re.escape(name)}, new or edited, which would be lost"):
            check_output(folder, run, overwrite=True)
        (folder / name).unlink()
    (folder / "tokenizer" / ".DS_Store").touch()
    check_output(folder, run, overwrite=True)


def test_a_card_that_was_completed_is_not_lost(run: Path, tmp_path: Path) -> None:
    card = tmp_path / "made" / "README.md"
    card.parent.mkdir()
    card.write_text("a card")
    mark(card.parent, format="package")
    check_output(card.parent, run, overwrite=True)
    card.write_text("a card, completed")
    with pytest.raises(ExportError, match=r"holds README\.md, new or edited, which would be lost"):
        check_output(card.parent, run, overwrite=True)


def test_of_a_folder_that_a_mark_names_all_is_ours(run: Path, tmp_path: Path) -> None:
    (tmp_path / "made" / "tokenizer").mkdir(parents=True)
    (tmp_path / "made" / "tokenizer" / "joint.model").touch()
    (tmp_path / "made" / "seq2seq.json").write_text('{"holds": ["tokenizer"]}')
    check_output(tmp_path / "made", run, overwrite=True)


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"holds": "all"}', '{"holds": ["."]}', '{"holds": [["a"]]}'])
def test_files_of_others_with_the_name_of_a_mark_are_none(run: Path, tmp_path: Path, said: str) -> None:
    for name in ("seq2seq.json", "data.lock.json", "thesis.txt"):
        (tmp_path / "others").mkdir(exist_ok=True)
        (tmp_path / "others" / name).write_text(said)
    with pytest.raises(ExportError, match="has no mark of an export or package"):
        check_output(tmp_path / "others", run, overwrite=True)


PARTS = ("runs/mine/checkpoints", "runs/mine/checkpoints/step_1")


@pytest.mark.parametrize("place", ["other", "runs", "runs/mine", *PARTS])
def test_what_would_be_lost_is_not_replaced(run: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "other").mkdir()
    for folder in ("other", "runs", *PARTS):
        for name in ("source.spm", "model.bin"):  # as in models from elsewhere
            (tmp_path / folder / name).touch()
    with pytest.raises(ExportError, match=r"holds the run itself|has no mark of an export or package"):
        check_output(tmp_path / place, run, overwrite=True)


def test_a_file_is_not_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="is there already"):
        check_output(tmp_path / "file", run, overwrite=True)


def test_the_run_is_found_by_whatever_path(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "data.lock.json").touch()  # itself a package
    monkeypatch.chdir(run)
    for folder in (Path(), run, Path("../../runs/mine")):
        with pytest.raises(ExportError, match="holds the run itself"):
            check_output(folder, run / "checkpoints" / "step_1", overwrite=True)
