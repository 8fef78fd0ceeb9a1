"""`seq2seq export`, `package` and `--engine` through the console script."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seq2seq.config import load_config, save_config
from tests.conftest import Command

ctranslate2 = pytest.importorskip("ctranslate2")
EXPORT = ("export", "RUN", "--format", "ctranslate2")
LINES = b"abc de\n\nfgh\x0bab c\n" + b"abc " * 100 + b"\n"


@pytest.fixture(scope="module")
def exported(trained_run: Path, seq2seq: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "ct2"
    done = seq2seq("export", trained_run, "--format", "ctranslate2", "--output", folder)
    assert (done.status, done.stdout.decode()) == (0, f"{folder}\n"), done.stderr
    assert "greedy translations" in done.stderr
    return folder


def test_the_engines_translate_alike(exported: Path, trained_run: Path, seq2seq: Command) -> None:
    ours = seq2seq("translate", trained_run, stdin=LINES)
    assert ours.status == 0 and ours.stdout.count(b"\n") == 4
    for folder in (exported, trained_run):
        theirs = seq2seq("translate", folder, "--engine", "ctranslate2", stdin=LINES)
        assert theirs.status == 0
        assert theirs.stdout == ours.stdout


def test_evaluate_takes_an_export(exported: Path, corpus: Path, seq2seq: Command) -> None:
    files = ("--source", corpus / "test.de", "--reference", corpus / "test.en")
    assert seq2seq("evaluate", exported, "--engine", "ctranslate2", *files).status == 0


def by_script(folder: Path, lines: bytes) -> bytes:
    """What the script beside an exported model makes of lines, where neither torch nor seq2seq are."""
    command = [sys.executable, "-S", "-c", _WITHOUT_SEQ2SEQ, folder / "translate.py"]
    return subprocess.run(command, input=lines, capture_output=True, check=True).stdout


def test_the_script_translates_as_the_engine_does(
    trained_run: Path, corpus: Path, seq2seq: Command, tmp_path: Path
) -> None:
    # Greedily, since the two differ in which of several hypotheses they take that were cut off at the greatest length.
    run = decoding_otherwise(trained_run, tmp_path / "run", beam_size=1)
    assert seq2seq(*("export", run, "--format", "ctranslate2"), "--output", tmp_path / "out").status == 0
    lines = b"  \n" + (corpus / "test.de").read_bytes() + b"\nabc\n"
    assert by_script(tmp_path / "out", lines) == seq2seq("translate", run, stdin=lines).stdout


def test_the_script_beside_the_model_needs_no_seq2seq(exported: Path) -> None:
    found = by_script(exported, b"abc de\n\nfgh\xc2\x85ab c\n")
    first, blank, last, end = found.split(b"\n")
    assert first and last and not blank and not end
    assert by_script(exported, b"\xef\xbb\xbfabc de\r\n\r\nfgh\xc2\x85ab c\r\n") == found


_WITHOUT_SEQ2SEQ = f"""
import runpy, sys
sys.path[1:] = {[path for path in sys.path if "site-packages" in path]!r} + sys.path[1:]
sys.modules["seq2seq"] = sys.modules["torch"] = None
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_an_int8_model_reports_its_cost(trained_run: Path, corpus: Path, seq2seq: Command, tmp_path: Path) -> None:
    sample = ("--verify", corpus / "test.de", "--reference", corpus / "test.en")
    done = seq2seq(
        "export", trained_run, "--format", "ctranslate2", "--output", tmp_path / "q", "--quantization", "int8", *sample
    )
    assert done.status == 0, done.stderr
    assert "BLEU against our output" in done.stderr and "ours:" in done.stderr
    assert seq2seq("translate", tmp_path / "q", "--engine", "ctranslate2", stdin=LINES).stdout.count(b"\n") == 4


def decoding_otherwise(trained_run: Path, run: Path, **settings: object) -> Path:
    shutil.copytree(trained_run, run)
    config = load_config(run / "config.toml")
    save_config(replace(config, decoding=replace(config.decoding, **settings)), run / "config.toml")
    return run


def test_settings_that_ctranslate2_takes_otherwise(trained_run: Path, seq2seq: Command, tmp_path: Path) -> None:
    run = decoding_otherwise(trained_run, tmp_path / "run", patience=0.1, length_penalty=0.0)
    done = seq2seq(*("export", run, "--format", "ctranslate2", "--quantization", "int8"), "--output", tmp_path / "out")
    assert done.status == 0, done.stderr
    command = [sys.executable, tmp_path / "out" / "translate.py"]
    found = subprocess.run(command, input=LINES, capture_output=True, check=True).stdout
    assert found.count(b"\n") == 4
    assert "length_penalty=1e-06" in (tmp_path / "out" / "translate.py").read_text(), "with 0 it would end at once"


def test_a_run_that_decodes_in_its_own_way_is_exported_faithfully(
    trained_run: Path, seq2seq: Command, tmp_path: Path
) -> None:
    own = {"precision": "int8", "shortlist": True, "min_length_ratio": 0.5}
    run = decoding_otherwise(trained_run, tmp_path / "run", **own)
    done = seq2seq("export", run, "--format", "ctranslate2", "--output", tmp_path / "out")
    assert done.status == 0, done.stderr
    assert all(f"`decoding.{name}` = {value!r}" in done.stderr for name, value in own.items())
    sampling = decoding_otherwise(trained_run, tmp_path / "sampling", sample=True, epsilon=0.02)
    for form in ("ctranslate2", "onnx"):
        done = seq2seq("export", sampling, "--format", form, "--output", tmp_path / form)
        assert done.status == 0 and "`decoding.sample` = True: " in done.stderr
        assert "translate.py has it not" in done.stderr
        done = seq2seq("translate", tmp_path / form, "--engine", form, stdin=LINES)
        assert done.status == 0 and done.stdout.count(b"\n") == 4, done.stderr
    assert seq2seq("translate", tmp_path / "out", "--engine", "ctranslate2", stdin=LINES).stdout.count(b"\n") == 4


@pytest.mark.parametrize("broken", ["a transposed weight", "shifted positions"])
def test_a_broken_export_is_caught(
    broken: str, trained_run: Path, seq2seq: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seq2seq.decoding import ctranslate2 as conversion

    array = conversion._array

    def wrong(tensor: torch.Tensor):
        if broken == "a transposed weight" and tensor.shape == (32, 32):
            tensor = tensor.t()
        if broken == "shifted positions" and tensor.shape == (64, 32) and not tensor.requires_grad:
            tensor = tensor.roll(1, dims=0)
        return array(tensor)

    monkeypatch.setattr(conversion, "_array", wrong)
    done = seq2seq("export", trained_run, "--format", "ctranslate2", "--output", tmp_path / "broken")
    assert done.status == 1
    assert "not written, since the ctranslate2 model is not the same: log-probabilities differ" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_an_export_within_a_run_is_not_taken_for_it(seq2seq, trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (run / "ctranslate2").mkdir()
    (run / "ctranslate2" / "model.bin").write_bytes(b"of other weights")
    assert seq2seq("translate", run, "--engine", "ctranslate2", stdin=LINES).stdout.count(b"\n") == 4


def test_a_package_moves_and_translates(trained_run: Path, seq2seq: Command, tmp_path: Path) -> None:
    done = seq2seq("package", trained_run, "--output", tmp_path / "p", "--format", "ctranslate2", "--license", "mit")
    assert done.status == 0, done.stderr
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "p", moved)
    expected = seq2seq("translate", trained_run, stdin=LINES).stdout
    assert seq2seq("translate", moved, stdin=LINES).stdout == expected
    assert seq2seq("translate", moved / "ctranslate2", "--engine", "ctranslate2", stdin=LINES).stdout == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((*EXPORT, "--output", "THERE"), "is there already; --overwrite"),
        (("package", "RUN", "--output", "THERE"), "is there already; --overwrite"),
        (("package", "RUN", "--output", "RUN", "--overwrite"), "holds the run itself"),
        ((*EXPORT, "--output", "OTHERS", "--overwrite"), "has no mark of an export or package"),
        (("translate", "RUN", "--rerank-by", "CT2"), "is an export for another engine"),
        (("translate", "RUN", "--device", "meta"), "not supported; use auto, cpu"),
        (("export", "RUN", "--format", "onnx", "--quantization", "int8", "--output", "NEW"), "is for ctranslate2"),
        (("export", "NONE", "--format", "ctranslate2", "--output", "NEW"), "no such run"),
        ((*EXPORT, "--output", "NEW", "--verify", "NONE"), "no such file"),
        ((*EXPORT, "--output", "NEW", "--verify", "EMPTY"), "no sentence to compare"),
        (("translate", "HF"), "is an export for another engine; name the run"),
        (("translate", "CT2"), "is an export for ctranslate2; add --engine ctranslate2"),
        (("evaluate", "CT2", "--source", "EMPTY", "--reference", "EMPTY"), "is an export for ctranslate2"),
        (("translate", "CT2", "--engine", "onnx"), "is an export for ctranslate2; add --engine ctranslate2"),
        (("translate", "RUN", "--engine", "onnx"), "is no export for onnx"),
        (("translate", "CT2", "--engine", "ctranslate2", "--min-length-ratio", "1"), "`decoding.min_length_ratio`"),
        (("translate", "CUT", "--engine", "ctranslate2"), "ctranslate2 cannot load it"),
    ],
    ids=lambda value: "",
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], expected: str, exported: Path, trained_run: Path, seq2seq: Command, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("\n \n", encoding="utf-8")
    (tmp_path / "there").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "letter").touch()
    if "HF" in arguments:
        (tmp_path / "hf").mkdir()
        for name in ("model.safetensors", "config.json", "seq2seq.json"):
            (tmp_path / "hf" / name).touch()
    if "CUT" in arguments:
        shutil.copytree(exported, tmp_path / "cut")
        (tmp_path / "cut" / "model.bin").write_bytes((exported / "model.bin").read_bytes()[:999])
    places = {
        "RUN": trained_run, "CT2": exported, "NONE": tmp_path / "none", "NEW": tmp_path / "new",
        "THERE": tmp_path / "there", "EMPTY": tmp_path / "empty", "CUT": tmp_path / "cut",
        "OTHERS": tmp_path / "others", "HF": tmp_path / "hf",
    }  # fmt: skip
    done = seq2seq(*(places.get(argument, argument) for argument in arguments), stdin=b"abc\n")
    errors = [line for line in done.stderr.splitlines() if "warning" not in line]
    assert done.status == 1
    assert len(errors) == 1 and expected in errors[0], done.stderr
    assert not (tmp_path / "new").exists()


def test_an_export_with_another_tokenizer_is_refused(
    exported: Path, corpus: Path, seq2seq: Command, tmp_path: Path
) -> None:
    shutil.copytree(exported, tmp_path / "mixed")
    tokenizer = tmp_path / "mixed" / "tokenizer"
    shutil.rmtree(tokenizer)
    assert seq2seq("tokenizer", "train", corpus / "train.en", "--vocab-size", 290, "--output", tokenizer).status == 0
    done = seq2seq("translate", tmp_path / "mixed", "--engine", "ctranslate2", stdin=b"abc\n")
    assert done.status == 1 and done.stdout == b""
    assert f"{tokenizer}: is " in done.stderr and "put that one back, or export the run again" in done.stderr


@pytest.mark.parametrize("engine", ["ctranslate2", "onnx"])
def test_a_package_translates_with_the_engine_that_it_holds(trained_run: Path, tmp_path: Path, seq2seq, engine) -> None:
    package = tmp_path / "package"
    assert seq2seq("package", trained_run, "--output", package, "--format", engine).status == 0
    expected = seq2seq("translate", trained_run, stdin=b"ab cd\n")
    assert seq2seq("translate", package, "--engine", engine, stdin=b"ab cd\n").lines == expected.lines
