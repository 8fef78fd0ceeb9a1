"""Bad input, kind by kind: one line on stderr that names thing, value and remedy, and nothing half-written."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

GOOD = b"abc\n"


def _files(**contents: bytes | str) -> Callable[[Path], None]:
    """Write files into the working folder; `a__b` stands for `a.b`."""

    def write(folder: Path) -> None:
        for name, content in contents.items():
            path = folder / name.replace("__", ".")
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def _config(before: str, after: str) -> Callable[[Path], None]:
    """Change the good config.toml of the working folder."""

    def change(folder: Path) -> None:
        text = (folder / "config.toml").read_text()
        assert before in text
        (folder / "config.toml").write_text(text.replace(before, after))

    return change


def _corpus_at(path: str) -> Callable[[Path], None]:
    return _config('{ source = "train.de", target = "train.en" }', f'{{ path = "{path}" }}')


def _all(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        for step in steps:
            step(folder)

    return do


def _nothing(folder: Path) -> None:
    pass


def _cut(name: str) -> Callable[[Path], None]:
    """Cut a file of the run in half."""

    def cut(folder: Path) -> None:
        for path in (folder / "run").glob(name):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return cut


def _other_tokenizer(folder: Path) -> None:
    from seq2seq.config import TokenizerConfig
    from seq2seq.data.tokenizer import train_tokenizer

    lines = (folder / "train.de").read_text().splitlines()
    shutil.rmtree(folder / "run" / "tokenizer")
    train_tokenizer(TokenizerConfig(vocab_size=290), lines, lines, folder / "run" / "tokenizer")


def _other_architecture(folder: Path) -> None:
    path = folder / "run" / "config.toml"
    path.write_text(path.read_text().replace("d_ff = 64", "d_ff = 48"))


def _no_checkpoint(folder: Path) -> None:
    shutil.rmtree(folder / "run" / "checkpoints")


@dataclass(frozen=True)
class Bad:
    """A kind of bad input, given in a folder with a good corpus, config.toml and a trained `run`."""

    kind: str
    command: str
    says: tuple[str, ...]  # all in the one line: the thing, the value, the remedy
    prepare: Callable[[Path], None] = _nothing
    stdin: bytes = GOOD
    status: int = 1
    begun: str = ""  # what was said of work that had to begin for the mistake to be seen


TRAIN = "train config.toml --output out --device cpu"
TRANSLATE = "translate run --input test.de --output out"

KINDS = [
    # Config files and overrides
    Bad("no config file", "train none.toml --output out", ("none.toml: no such config file", "recipe copy")),
    Bad("config is a folder", "train run --output out", ("run: cannot read", "directory")),
    Bad("config is not TOML", TRAIN, ("config.toml: not valid TOML", "line 1"), _files(config__toml="[data\n")),
    Bad("config is not UTF-8", TRAIN, ("config.toml", "UTF-8"), _files(config__toml=b"[data]\nx = '\xe4'\n")),
    Bad("unknown setting", TRAIN, ("`model.dmodel`", "did you mean `model.d_model`?"), _config("d_model", "dmodel")),
    Bad("wrong type", TRAIN, ("`training.steps` = 'ten'", "integer"), _config("steps = 40", 'steps = "ten"')),
    Bad("unknown choice", f"{TRAIN} --set model.norm=both", ("`model.norm` = 'both'", "pre, post")),
    Bad("out of bounds", f"{TRAIN} --set training.steps=0", ("`training.steps` = 0", "at least 1")),
    Bad("settings at odds", f"{TRAIN} --set model.num_heads=5", ("`model.num_heads` = 5", "`model.d_model` = 32")),
    Bad("override without value", f"{TRAIN} --set training.steps", ("'training.steps'", "KEY=VALUE")),
    Bad("option of sampling", f"{TRANSLATE} --temperature 0.7", ("--temperature 0.7", "add it", "--sample")),
    Bad("option of choice", f"{TRANSLATE} --candidates 9", ("--candidates 9", "--mbr, --rerank-by or --length-reward")),
    Bad("two choices", f"{TRANSLATE} --mbr bleu --length-reward 0.1", ("length_reward` = 0.1", "`mbr` to off")),
    Bad("option of reranking", f"{TRANSLATE} --mbr bleu --reverse-weight 2", ("--reverse-weight 2", "--rerank-by")),
    Bad("unknown override", f"{TRAIN} --set model.depth=3", ("`model.depth`", "did you mean `model.d")),
    Bad("unknown device", f"{TRAIN} --set training.steps=1 --device abacus", ("'abacus'", "cpu")),
    Bad("precision that a CPU lacks", f"{TRAIN} --set training.precision=float16", ("'float16'", "cpu", "'float32'")),
    Bad("an empty output", "train config.toml --output=", ("'--output'", "is empty", "name a"), status=2),
    Bad("two contrary flags", f"{TRAIN} --resume --overwrite", ("--resume", "--overwrite", "--help"), status=2),
    Bad("unknown option", f"{TRAIN} --step 5", ("--step", "--help"), status=2),
    # Corpora
    Bad(
        "no corpus named",
        TRAIN,
        ("`data.train`", "[[data.train]]"),
        _config('train = [{ source = "train.de", target = "train.en" }]', ""),
    ),
    Bad("no such user", "recipe run ~nobody-here/x.toml", ("~nobody-here/x.toml", "no such user")),
    Bad("compressed output", f"{TRANSLATE} --output out.zst", ("out.zst", "take .zst off the name")),
    Bad("a line without end", "tokenizer train /dev/zero --output out", ("/dev/zero:1: no line end in 64 MB",)),
    Bad("input without end", "translate run --input /dev/zero --output out", ("/dev/zero:1: no line end in 64 MB",)),
    Bad("one side named", TRAIN, ("`source`", "`target`"), _config(', target = "train.en"', "")),
    Bad("corpus file missing", TRAIN, ("none.de",), _config("train.de", "none.de")),
    Bad("validation file missing", TRAIN, ("none.de",), _config("valid.de", "none.de")),
    Bad("unequal line counts", TRAIN, ("train.en", "300", "299"), lambda folder: _drop_line(folder / "train.en")),
    Bad(
        "corpus not UTF-8",
        TRAIN,
        ("train.de:2", "UTF-8", "0xe4", "iconv"),
        _files(train__de=b"abc\nab\xe4c\n", train__en="A\nB\n"),
    ),
    Bad(
        "corpus in UTF-16",
        TRAIN,
        ("train.de", "UTF-16", "iconv"),
        _files(train__de="abc\n".encode("utf-16"), train__en="A\n"),
    ),
    Bad(
        "gzip cut off",
        TRAIN,
        ("train.de.gz",),
        _all(_config("train.de", "train.de.gz"), _files(train__de__gz=gzip.compress(b"abc\n" * 300, mtime=0)[:-9])),
    ),
    Bad(
        "not gzip",
        TRAIN,
        ("train.de.gz",),
        _all(_config("train.de", "train.de.gz"), _files(train__de__gz=b"abc\n" * 300)),
    ),
    Bad(
        "JSONL line broken",
        TRAIN,
        ("c.jsonl:2",),
        _all(_corpus_at("c.jsonl"), _files(c__jsonl='{"de": "a", "en": "b"}\n{"de": \n')),
    ),
    Bad(
        "JSONL without column",
        TRAIN,
        ("c.jsonl", "'de'"),
        _all(_corpus_at("c.jsonl"), _files(c__jsonl='{"fr": "a", "es": "b"}\n')),
    ),
    Bad("TSV without tab", TRAIN, ("c.tsv:2",), _all(_corpus_at("c.tsv"), _files(c__tsv="a\tb\nc\n"))),
    Bad("not Parquet", TRAIN, ("c.parquet",), _all(_corpus_at("c.parquet"), _files(c__parquet="a\tb\n"))),
    Bad("unknown kind of corpus", TRAIN, ("c.docx", ".tsv"), _all(_corpus_at("c.docx"), _files(c__docx="a\tb\n"))),
    Bad(
        "empty side",
        TRAIN,
        ("train.en:2", "drop_empty"),
        _all(
            _config('target = "train.en"', 'target = "train.en", drop_empty = false'),
            _files(train__de="a\nb\n", train__en="A\n\n"),
        ),
    ),
    Bad(
        "bad corpus to overwrite a good run with",
        "train config.toml --output run --overwrite",
        ("none.de",),
        _config("train.de", "none.de"),
    ),
    Bad(
        "corpus of which no pair is drawn, to overwrite a good run with",
        "train config.toml --output run --overwrite",
        ("`data.train.weight` = [0.001]", "raise one of them"),
        _config('target = "train.en"', 'target = "train.en", weight = 0.001'),
    ),
    Bad("empty corpus", TRAIN, ("train",), _files(train__de="", train__en="")),
    Bad(
        "too many pieces for the corpus",
        f"{TRAIN} --set tokenizer.vocab_size=9000",
        ("`tokenizer.vocab_size` = 9000", "set it to"),
        begun="training a unigram tokenizer (joint, 9,000 pieces)\n",
    ),
    Bad(
        "too few pieces for the corpus",
        f"{TRAIN} --set tokenizer.vocab_size=100",
        ("`tokenizer.vocab_size` = 100", "set it to"),
        begun="training a unigram tokenizer (joint, 100 pieces)\n",
    ),
    # Runs and checkpoints
    Bad("run exists", "train config.toml --output run", ("run:", "--resume", "--overwrite")),
    Bad(
        "model changed on resume",
        "train config.toml --output run --resume --set model.d_ff=48",
        ("`model.d_ff` was 64", "48", "--overwrite"),
    ),
    Bad("no run", "translate none", ("none: no such run", "seq2seq train")),
    Bad(
        "not a run", "translate empty", ("empty: not a run", "seq2seq train"), lambda folder: (folder / "empty").mkdir()
    ),
    Bad("run without checkpoint", TRANSLATE, ("run: ", "no checkpoint", "--resume"), _no_checkpoint),
    Bad(
        "weights cut off",
        TRANSLATE,
        ("model.safetensors: damaged", "another checkpoint"),
        _cut("checkpoints/*/model.safetensors"),
    ),
    Bad(
        "checkpoint.json cut off",
        TRANSLATE,
        ("checkpoint.json: damaged", "another checkpoint"),
        _cut("checkpoints/*/checkpoint.json"),
    ),
    Bad("tokenizer cut off", TRANSLATE, ("tokenizer",), _cut("tokenizer/*.model")),
    Bad("tokenizer of another run", TRANSLATE, ("trained with tokenizer", "put the original"), _other_tokenizer),
    Bad("weights of another model", TRANSLATE, ("model.safetensors: does not fit", "config.toml"), _other_architecture),
    Bad("too few checkpoints to average", "average run --last 9", ("9 checkpoints", "2 of the latest there", "fewer")),
    # Text to translate and score
    Bad("input missing", "translate run --input none.txt --output out", ("none.txt",)),
    Bad("input not UTF-8", TRANSLATE, ("test.de:2", "UTF-8", "0xff", "iconv"), _files(test__de=b"abc\n\xff\n")),
    Bad(
        "more hypotheses than beams",
        f"{TRANSLATE} --n-best 5 --beam-size 2",
        ("`decoding.n_best` = 5", "`decoding.beam_size` = 2"),
    ),
    Bad("no beam", f"{TRANSLATE} --beam-size 0", ("`decoding.beam_size` = 0", "at least 1")),
    Bad(
        "sentence too long",
        f"{TRANSLATE} --too-long refuse",
        ("2", "64"),
        _files(test__de=b"abc\n" + b"abc def " * 100 + b"\n"),
    ),
    Bad("output to be compressed", "translate run --input test.de --output out.gz", ("out.gz:", "take .gz off")),
    Bad("output under a file", "translate run --output config.toml/out", ("config.toml",)),
    Bad(
        "translations and references differ in number",
        "score test.de --reference train.en",
        ("test.de has 20 lines", "train.en has 300"),
    ),
    Bad("reference missing", "score test.de --reference none.en", ("none.en",)),
    Bad("nothing to score", "score empty.txt --reference empty.txt", ("empty.txt", "empty"), _files(empty__txt="")),
    Bad("source and references differ in number", "evaluate run --source test.de --reference train.en", ("20", "300")),
    # Reports
    Bad("report on nothing", "report --output out.html", ("RUN", "--system NAME=FILE"), status=2),
    Bad(
        "report over a folder",
        "report run --output out",
        ("out", "is a directory"),
        lambda folder: (folder / "out").mkdir(),
        status=2,
    ),
    Bad("report to standard output", "report run --output -", ("--output -", "report.html"), status=2),
    Bad("report on no run", "report none --output out.html", ("none: no such run", "seq2seq train")),
    Bad(
        "report on a folder",
        "report empty --output out.html",
        ("empty: not a run", "seq2seq train"),
        lambda folder: (folder / "empty").mkdir(),
    ),
    Bad(
        "report on a run without metrics",
        "report run --output out.html",
        ("metrics.jsonl: no records", "--source"),
        lambda folder: (folder / "run" / "metrics.jsonl").unlink(),
    ),
    Bad(
        "report on files that differ in number",
        "report run --source test.de --reference train.en --output out.html",
        ("test.de has 20 lines", "train.en has 300"),
    ),
    Bad(
        "report on translations that differ in number",
        "report --reference test.en --system old=train.en --output out.html",
        ("test.en has 20 lines", "train.en has 300"),
    ),
    Bad("system without name", "report run --system test.en --output out.html", ("'test.en'", "NAME=FILE"), status=2),
    Bad(
        "system named twice",
        "report run --source test.de --system run=test.en --output out.html",
        ("system 'run'", "2 times", "name of its own"),
    ),
    Bad(
        "more systems than a page holds",
        "report --system a=test.en --system b=test.en --system c=test.en --system d=test.en --output out.html",
        ("4 systems (a, b, c, d)", "up to 3", "leave some out"),
    ),
    Bad("reference alone", "report run --reference test.en --output out.html", ("test.en", "--source", "--system")),
    Bad("run named twice", "report run run --output out.html", ("run: is named 2 times", "once")),
    # Recipes, tokenizers, settings
    Bad("unknown recipe", "recipe run multi30k --output out", ("'multi30k'", "did you mean 'multi30k_")),
    Bad("recipe without script", "recipe run ./config.toml --output out", ("config.py", "fetch")),
    Bad("data folder missing", "recipe run multi30k_de_en --data none --output out", ("none",)),
    Bad(
        "data folder without files",
        "recipe run multi30k_de_en --data empty --output out",
        ("empty", "train"),
        lambda folder: (folder / "empty").mkdir(),
    ),
    Bad(
        "recipe copied twice",
        "recipe copy reverse .",
        ("reverse.toml: exists already", "another DIR"),
        _files(reverse__toml=""),
    ),
    Bad("tokenizer missing", "tokenizer encode none", ("none",)),
    Bad("text for a tokenizer missing", "tokenizer train none.txt --output out", ("none.txt",)),
    Bad("unknown section", "settings modle", ("'modle'", "did you mean `model`?")),
]


def _drop_line(path: Path) -> None:
    path.write_bytes(path.read_bytes().partition(b"\n")[2])


@pytest.fixture
def folder(corpus: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a command: what it needs is there, and good."""
    shutil.copytree(corpus, tmp_path, dirs_exist_ok=True)
    shutil.copytree(trained_run, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQ2SEQ_DEBUG", raising=False)
    return tmp_path


@pytest.mark.parametrize("bad", KINDS, ids=[bad.kind for bad in KINDS])
def test_bad_input_is_one_clear_line_and_leaves_nothing(seq2seq, folder, bad):
    bad.prepare(folder)
    before = _snapshot(folder)
    outcome = seq2seq(*bad.command.split(), stdin=bad.stdin)
    assert outcome.status == bad.status, outcome.stderr
    assert outcome.stderr.startswith(f"{bad.begun}seq2seq: error: "), outcome.stderr
    line = outcome.stderr.removeprefix(bad.begun)
    assert line.count("\n") == 1 and line.endswith("\n")
    assert [said for said in bad.says if said not in line] == [], line
    assert outcome.stdout == b""
    assert _snapshot(folder) == before


def test_there_are_twenty_kinds_and_more():
    assert len({bad.kind for bad in KINDS}) == len(KINDS) >= 20


def _snapshot(folder: Path) -> dict[Path, bytes | None]:
    """All files with their contents, and all folders."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
