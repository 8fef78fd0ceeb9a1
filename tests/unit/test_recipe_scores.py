from pathlib import Path

import pytest

from seq2seq import recipe_scores
from seq2seq.checkpoint import CheckpointInfo
from seq2seq.run_folder import RunFolder


def test_a_test_set_is_scored_as_of_the_language_that_its_tag_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("data", "translations"):
        (tmp_path / folder).mkdir()
    texts = {"test": ("<2zh> A dog.\n<2de> A cat.\n", "一只狗。\nEine Katze.\n"),
             "test_en-zh": ("<2zh> A dog.\n", "一只狗。\n"),
             "test_en-de": ("<2de> A cat.\n", "Eine Katze.\n")}  # fmt: skip
    for name, (source, target) in texts.items():
        (tmp_path / f"data/{name}.source").write_text(source, encoding="utf-8")
        for folder in ("data", "translations"):
            (tmp_path / f"{folder}/{name}.target").write_text(target, encoding="utf-8")
    monkeypatch.setattr("seq2seq.checkpoint.latest", lambda _: tmp_path)
    monkeypatch.setattr("seq2seq.checkpoint.read_info", lambda _: CheckpointInfo(step=1, tokenizer_hash=""))
    stages = {"train": {}, "translate": {"checkpoint": "x", "sentences_per_second": 1.0}}
    told = []
    monkeypatch.setattr(recipe_scores, "write_json", lambda _, values: told.append(values))
    recipe_scores.score_tests(RunFolder(tmp_path, ("source", "target")), 1, stages)
    text = str(told[0])
    assert text.count("tok:zh") == 2 and text.count("tok:13a") == 4
