import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from seq2seq.checkpoint import best, load_model
from seq2seq.config import CorpusConfig, load_config
from seq2seq.errors import CheckpointError, DataError
from seq2seq.reporting.runs import read_metrics, read_runs, training_sources
from seq2seq.weights import parameters_of


def test_a_run_tells_its_settings_size_and_records(trained_run: Path) -> None:
    (run,) = read_runs([trained_run])
    lines = (trained_run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert run.name == trained_run.name
    assert run.config == load_config(trained_run / "config.toml")
    assert run.records == [json.loads(line) for line in lines]
    assert run.parameters == sum(each.numel() for each in parameters_of(load_model(trained_run).model).values())


def test_a_checkpoint_stands_for_its_run(trained_run: Path) -> None:
    checkpoint = best(trained_run, "bleu")
    assert checkpoint is not None
    (run,) = read_runs([checkpoint])
    assert run.records and run.name == checkpoint.name and run.path == checkpoint


def test_equal_names_are_told_apart_by_paths(trained_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / trained_run.name
    shutil.copytree(trained_run, copy)
    assert [run.name for run in read_runs([trained_run, copy])] == [str(trained_run), str(copy)]
    with pytest.raises(DataError, match="is named 2 times"):
        read_runs([trained_run, trained_run])


def test_records_that_are_cut_off_or_no_numbers_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = '{"step": 10, "loss": 2.5, "name": "x", "flag": NaN, "huge": Infinity}'
    path.write_text(f'{good}\n[1]\n{{"loss": 3}}\n\n{"[" * 100_000}\n{{"step": 20, "lo', encoding="utf-8")
    assert read_metrics(path) == [{"step": 10.0, "loss": 2.5}]
    assert read_metrics(tmp_path / "none") == []


def test_what_is_no_run_or_has_no_metrics_is_refused(trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run"):
        read_runs([tmp_path])
    with pytest.raises(CheckpointError, match="no such run"):
        read_runs([tmp_path / "none"])
    copy = tmp_path / "copy"
    shutil.copytree(trained_run, copy)
    (copy / "metrics.jsonl").unlink()
    with pytest.raises(DataError, match="no records of a training"):
        read_runs([copy])
    (run,) = read_runs([copy], need_metrics=False)
    assert run.records == []


def test_training_text_is_read_where_it_is_in_files(corpus: Path, trained_run: Path) -> None:
    config = load_config(trained_run / "config.toml")
    lines = training_sources(config)
    assert lines is not None
    assert list(lines) == (corpus / "train.de").read_text(encoding="utf-8").splitlines()
    for train in ((), (CorpusConfig(dataset="a/b"),), (CorpusConfig(path="/none.tsv"),)):
        assert training_sources(replace(config, data=replace(config.data, train=train))) is None
