"""Tags before source text, from the corpora of a config to `translate --tag`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from seq2seq.checkpoint import load_model
from seq2seq.config import load_config
from seq2seq.training.trainer import train
from tests.conftest import CONFIG, Command


@pytest.fixture(scope="module")
def tagged_run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = CONFIG.replace('{ source = "train.de", target = "train.en" }', (
        '{ source = "train.de", target = "train.en", tag = "<up>" }, '
        '{ source = "valid.de", target = "valid.de", tag = "<same>" }'
    )).replace('"valid.en" }', '"valid.en", tag = "<up>" }').replace("steps = 40", "steps = 4")  # fmt: skip
    path = corpus / "tagged.toml"
    path.write_text(text, encoding="utf-8")
    return train(load_config(path), tmp_path_factory.mktemp("runs") / "tagged", device="cpu")


def test_tags_are_symbols_of_the_tokenizer_and_a_run_is_resumed_and_tuned_with_them(
    tagged_run: Path, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert load_model(tagged_run).tokenizer.user_symbols == ("<up>", "<same>")
    config = load_config(corpus / "tagged.toml")
    longer = replace(config.training, steps=6)
    train(replace(config, training=longer), tagged_run, device="cpu", resume=True)
    tuning = load_config(corpus / "tagged.toml", [f"training.initialise_from={tagged_run}"])
    capfd.readouterr()
    run = train(tuning, tmp_path / "tuned", device="cpu")
    assert load_model(run).tokenizer.user_symbols == ("<up>", "<same>")
    assert "not in the vocabulary" not in capfd.readouterr().err


def test_translate_and_evaluate_put_a_tag_before_every_line(
    tagged_run: Path, corpus: Path, seq2seq: Command, tmp_path: Path
) -> None:
    source = (corpus / "test.de").read_bytes()
    typed = b"".join(b"<same> " + line + b"\n" for line in source.split(b"\n")[:-1])
    options = ("--device", "cpu", "--max-length-ratio", 1)
    found = seq2seq("translate", tagged_run, "--tag", "<same>", *options, stdin=source)
    assert found.status == 0
    assert found.lines == seq2seq("translate", tagged_run, *options, stdin=typed).lines
    (tmp_path / "found").write_bytes(found.stdout)
    files = ("--source", corpus / "test.de", "--reference", tmp_path / "found")
    scored = seq2seq("evaluate", tagged_run, "--tag", "<same>", *files, *options)
    assert scored.status == 0
    assert "100.0" in scored.stdout.decode()
    (tmp_path / "chinese").write_bytes(typed.replace(b"<same>", b"<2zh>"))
    files = ("--source", tmp_path / "chinese", "--reference", tmp_path / "found")
    assert "tok:zh" in seq2seq("evaluate", tagged_run, *files, *options).stdout.decode()
    assert seq2seq("report", tagged_run, *files, "--output", tmp_path / "page.html", "--device", "cpu").status == 0
    assert "tok:zh" in (tmp_path / "page.html").read_text(encoding="utf-8")
    unknown = seq2seq("translate", tagged_run, "--tag", "<2fr>", *options, stdin=source)
    assert unknown.status == 1
    assert "tag '<2fr>': is no piece of the vocabulary (symbols it knows: <up>, <same>)" in unknown.stderr
    output = tmp_path / "nothing"
    assert seq2seq("translate", tagged_run, "--tag", "<2fr>", "--output", output).status == 1  # without input, too
    assert not output.exists()
