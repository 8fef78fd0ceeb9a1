from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seq2seq.errors import RecipeError
from seq2seq.stages import Stage, StageRecord


class Job:
    """Two stages: `upper` makes a file from `text`, `double` makes one from that."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, list[str]()

    def stages(self, **settings: Any) -> list[Stage]:
        text, upper, double = (self.folder / name for name in ("text", "upper", "double"))

        def existing(path: Path) -> list[Path]:
            return [path] if path.exists() else []

        return [
            Stage(
                name="upper", settings=settings, inputs=lambda: [text], outputs=lambda: existing(upper),
                work=lambda: self.work("upper", upper, text.read_text().upper()),
            ),
            Stage(
                name="double", settings={}, inputs=lambda: [upper], outputs=lambda: existing(double),
                work=lambda: self.work("double", double, upper.read_text() * 2),
            ),
        ]  # fmt: skip

    def work(self, name: str, path: Path, text: str) -> None:
        self.done.append(name)
        path.write_text(text)

    def run(self, **settings: Any) -> list[str]:
        self.done.clear()
        record = StageRecord(self.folder)
        for stage in self.stages(**settings):
            if not record.is_done(stage):
                record.run(stage)
        return list(self.done)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "text").write_text("a")
    return Job(tmp_path)


def test_stages_are_done_once(job: Job) -> None:
    assert job.run(x=1) == ["upper", "double"]
    assert job.run(x=1) == []


def test_a_changed_input_is_worked_through(job: Job) -> None:
    job.run()
    (job.folder / "text").write_text("b")
    assert job.run() == ["upper", "double"]
    assert (job.folder / "double").read_text() == "BB"


def test_a_stage_whose_input_came_out_the_same_is_not_done_again(job: Job) -> None:
    job.run(x=1)
    assert job.run(x=2) == ["upper"]


@pytest.mark.parametrize("name", ["upper", "double"])
def test_a_missing_output_is_made_again(job: Job, name: str) -> None:
    job.run()
    (job.folder / name).unlink()
    assert job.run() == [name]


def test_a_changed_output_is_made_again(job: Job) -> None:
    job.run()
    (job.folder / "upper").write_text("tampered")
    assert job.run() == ["upper"]
    assert (job.folder / "upper").read_text() == "A"


def test_a_stage_that_failed_is_not_done(job: Job) -> None:
    job.run(x=1)
    stage = job.stages(x=2)[0]
    broken = Stage(
        name=stage.name, settings=stage.settings, inputs=stage.inputs, outputs=stage.outputs, work=lambda: 1 // 0
    )
    with pytest.raises(ZeroDivisionError):
        StageRecord(job.folder).run(broken)
    assert job.run(x=1) == ["upper"]


@pytest.mark.parametrize("goes_on", [True, False])
def test_work_that_goes_on_took_all_its_times_together(
    job: Job, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 50.0, 100.0, 108.0])
    monkeypatch.setattr("seq2seq.stages.time.monotonic", lambda: next(clock))
    stopped = replace(job.stages()[0], work=lambda: 1 // 0, goes_on=goes_on)
    with pytest.raises(ZeroDivisionError):
        StageRecord(job.folder).run(stopped)
    record = StageRecord(job.folder)
    record.entries.setdefault("upper", {})["peak_memory_mb"] = 1e6
    record.run(replace(job.stages()[0], goes_on=goes_on))
    entry = StageRecord(job.folder).entries["upper"]
    assert entry["seconds"] == (58.0 if goes_on else 8.0)
    assert (entry["peak_memory_mb"] == 1e6) is goes_on


def test_a_folder_can_be_moved(job: Job, tmp_path: Path) -> None:
    job.run()
    moved = Job(tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved")))
    assert moved.run() == []


def test_files_of_one_name_in_two_folders_are_told_apart(job: Job, tmp_path: Path) -> None:
    record, files = StageRecord(job.folder / "run"), [tmp_path / folder / "text" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.touch()
    stage = Stage(name="x", settings={}, inputs=lambda: files, outputs=list, work=lambda: None)
    before = record.fingerprint(stage)
    for file in files:
        file.write_text("changed")
        assert record.fingerprint(stage) != before
        file.write_text("")
    assert record.fingerprint(stage) == before


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text("{")
    with pytest.raises(RecipeError, match=r"stages\.json: damaged; choose another"):
        StageRecord(tmp_path)


def test_notes_outlive_a_stage_that_is_done_again(job: Job) -> None:
    job.run(x=1)
    StageRecord(job.folder).write("upper", note="kept")
    job.run(x=2)
    entry = json.loads((job.folder / "stages.json").read_text())["upper"]
    assert entry["note"] == "kept" and entry["seconds"] >= 0 and entry["peak_memory_mb"] > 0
