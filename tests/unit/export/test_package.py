"""A packaged run: whole, movable, and silent about the machine it comes from."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from seq2seq.averaging import average
from seq2seq.checkpoint import checkpoints, read_info, resolve, update_info
from seq2seq.config import (
    BackTranslationConfig,
    Config,
    DistillationConfig,
    TokenizerConfig,
    TrainingConfig,
    config_to_dict,
    load_config,
    save_config,
)
from seq2seq.decoding.translator import Translator
from seq2seq.errors import ExportError
from seq2seq.export.exporter import without_data
from seq2seq.export.package import Publication, _file, package


def packaged(trained_run: Path, tmp_path: Path, **details: object) -> Path:
    package(trained_run, tmp_path / "given", Publication(name="A: [model] \"x\"", **details))
    return tmp_path / "given"


def test_it_is_a_run_that_can_be_moved(trained_run: Path, tmp_path: Path) -> None:
    folder = packaged(trained_run, tmp_path)
    moved = tmp_path / "elsewhere" / "m"
    shutil.copytree(folder, moved)
    shutil.rmtree(folder)
    sentences = ["eins zwei", "drei"]
    expected = [each.text for each in Translator.load(trained_run).translate(sentences)]
    assert [each.text for each in Translator.load(moved).translate(sentences)] == expected


def test_it_holds_what_inference_needs_and_no_paths(trained_run: Path, tmp_path: Path) -> None:
    folder = packaged(trained_run, tmp_path)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    (checkpoint,) = {name.split("/")[1] for name in files if name.startswith("checkpoints/")}
    assert files == {
        "README.md", "config.toml", "data.lock.json", "lexicon.safetensors", "seq2seq.json",
        "tokenizer/joint.model", "tokenizer/tokenizer.toml",
        f"checkpoints/{checkpoint}/model.safetensors", f"checkpoints/{checkpoint}/checkpoint.json",
    }  # fmt: skip
    for name in ("README.md", "config.toml", "data.lock.json"):
        text = (folder / name).read_text(encoding="utf-8")
        assert str(trained_run.parent) not in text
        assert str(tmp_path) not in text


def test_a_mean_that_was_not_validated_can_be_used(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    mean = average(run, last=2)
    assert read_info(mean).validation is None
    package(mean, tmp_path / "mean", Publication(name="mean"))
    assert resolve(tmp_path / "mean")[1].name == mean.name


def test_a_checkpoint_that_is_linked_can_be_used(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    latest = max((run / "checkpoints").glob("step_*"))
    (run / "checkpoints" / "favourite").symlink_to(latest.name)
    package(run / "checkpoints" / "favourite", tmp_path / "made", Publication(name="made"))
    assert resolve(tmp_path / "made")[1].name == latest.name


def test_no_path_of_other_models_or_text_is_told() -> None:
    config = Config(
        distillation=DistillationConfig(teacher="/home/a/teacher"),
        back_translation=BackTranslationConfig(monolingual="/home/a/text", reverse_model="/home/a/reverse"),
        training=TrainingConfig(initialise_from="/home/a/base"),
        tokenizer=TokenizerConfig(path="/home/a/tokenizer"),
    )
    assert "/home" not in str(config_to_dict(without_data(config)))


def test_a_corpus_that_is_a_folder_has_a_hash(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus" / "parts").mkdir(parents=True)
    found = []
    for text in ("a", "b", "a"):
        (tmp_path / "corpus" / "parts" / "0").write_text(text)
        found.append(_file(tmp_path / "corpus")["sha256"])
    assert found[0] == found[2] != found[1] and len(str(found[1])) == 64
    assert _file(tmp_path / "none")["sha256"] is None


def test_the_card_says_what_is_known(trained_run: Path, tmp_path: Path) -> None:
    card = (packaged(trained_run, tmp_path, licence="cc-by-4.0") / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    assert 'license: "cc-by-4.0"' in front and '- "de"\n- "en"' in front
    assert "Translates de to en" in body and "`train.de` (SHA-256 " in body
    assert "validation text" in body, "no test set was scored"
    assert "; 300 pieces." in body, "which both sides share"


def test_the_card_names_no_engine_that_refuses_the_settings(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    config = load_config(run / "config.toml")
    for ratio in (0.0, 0.5):
        save_config(replace(config, decoding=replace(config.decoding, min_length_ratio=ratio)), run / "config.toml")
        card = (packaged(run, tmp_path) / "README.md").read_text(encoding="utf-8")
        assert ("seq2seq translate . --engine ctranslate2" in card) is (ratio == 0)
        assert "seq2seq translate . < input" in card


def test_scores_come_with_their_signatures(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    scores = {"bleu": {"score": 12.3, "low": 11.0, "high": 13.5, "signature": "nrefs:1|tok:13a"}, "other": 3}
    (run / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    card = (packaged(run, tmp_path) / "README.md").read_text(encoding="utf-8")
    assert "| BLEU | 12.30 | 11.00 to 13.50 |" in card and "`nrefs:1|tok:13a`" in card
    # Of an ensemble, of another checkpoint, or of a mean that was made before.
    for others in ({"models": 2}, {"checkpoint": "step_00000001"}, {"checkpoint_step": 1}):
        (run / "scores.json").write_text(json.dumps(scores | others), encoding="utf-8")
        assert "12.30" not in (packaged(run, tmp_path) / "README.md").read_text(encoding="utf-8")
    (run / "scores.json").write_text("{", encoding="utf-8")
    with pytest.raises(ExportError, match=r"scores\.json: damaged"):
        packaged(run, tmp_path)


def test_a_package_is_not_packaged_again(trained_run: Path, tmp_path: Path) -> None:
    first = packaged(trained_run, tmp_path)
    with pytest.raises(ExportError, match="is a package already; name the run"):
        packaged(first, tmp_path)


def test_what_a_run_was_made_from_is_named(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    config = load_config(run / "config.toml")
    training = replace(config.training, initialise_from="/home/a/opus-de-en/checkpoints/step_1")
    save_config(replace(config, training=training), run / "config.toml")
    tuned = packaged(run, tmp_path)
    assert json.loads((tuned / "data.lock.json").read_text(encoding="utf-8"))["base"] == "opus-de-en"
    assert ", from opus-de-en." in (tuned / "README.md").read_text(encoding="utf-8")
    for folder in checkpoints(run):
        update_info(folder, step=0, target_tokens_seen=0)
    card = (packaged(run, tmp_path) / "README.md").read_text(encoding="utf-8")
    assert "Imported with seq2seq" in card and "0 steps" not in card


def test_the_lock_has_a_hash_for_each_file(trained_run: Path, tmp_path: Path) -> None:
    lock = json.loads((packaged(trained_run, tmp_path) / "data.lock.json").read_text(encoding="utf-8"))
    train, validation = lock["corpora"]
    assert (train["role"], validation["role"]) == ("train", "validation")
    assert train["pairs"] > 0
    for corpus in lock["corpora"]:
        assert all(len(file["sha256"]) == 64 and "/" not in file["name"] for file in corpus["files"])
