"""The command line as its users and their scripts meet it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch

from seq2seq import evaluation
from seq2seq.checkpoint import checkpoints
from seq2seq.config import Config, DecodingConfig, load_config, save_config
from seq2seq.data.lexicon import FILE as LEXICON
from seq2seq.decoding.translator import Translator
from seq2seq.settings import reference

COMMANDS = (
    "recipe", "prepare", "doctor", "tokenizer", "train", "translate", "score", "evaluate", "report", "average",
    "export", "import", "package", "settings",
)  # fmt: skip
SUBCOMMANDS = {"recipe": ("list", "show", "copy", "run"), "tokenizer": ("train", "encode", "decode")}

HELP_OF_ALL = """
import sys
from importlib.metadata import entry_points
from click.testing import CliRunner
(script,) = entry_points(group="console_scripts", name="seq2seq")
function = script.load()
for arguments in sys.argv[1:]:
    result = CliRunner().invoke(function, [*arguments.split(), "--help"])
    assert result.exit_code == 0 and "Usage: " in result.output, (arguments, result.output)
print(*sorted({"torch", "numpy", "datasets", "sacrebleu", "sentencepiece", "tqdm"} & set(sys.modules)))
"""

SCORE_NAMES = {"bleu", "chrf", "ter", "bleu_lowercased_tokenised"}


@pytest.fixture
def sentences(corpus: Path) -> bytes:
    return (corpus / "test.de").read_bytes()


# --- what every command does


def test_help_of_every_command_loads_no_heavy_library():
    pages = ["", *COMMANDS, *(f"{group} {name}" for group, names in SUBCOMMANDS.items() for name in names)]
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL, *pages], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)


def test_commands_are_those_that_scripts_rely_on(seq2seq):
    shown = seq2seq("--help").stdout.decode().partition("Commands:\n")[2].split("\n\n")[0]
    assert tuple(line.split()[0] for line in shown.splitlines()) == COMMANDS


def test_version_is_that_of_the_package(process):
    from seq2seq import __version__

    assert process("--version").lines == [f"seq2seq {__version__}"]


def test_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "seq2seq_cli", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("seq2seq ")


@pytest.mark.parametrize(
    "arguments", [["no-such"], ["--no-such"], ["translate"], ["translate", "RUN", "--beam-size", "x"]]
)
def test_wrong_usage_is_one_line_and_status_2(seq2seq, arguments):
    outcome = seq2seq(*arguments)
    assert outcome.status == 2
    assert outcome.stderr.startswith("seq2seq: error: ") and outcome.stderr.count("\n") == 1
    assert "--help`" in outcome.stderr


@pytest.mark.parametrize("group", [(), ("recipe",), ("tokenizer",)])
def test_no_command_shows_the_help_page(seq2seq, group):
    outcome = seq2seq(*group)
    assert outcome.status == 2 and outcome.stdout == b""
    assert outcome.stderr.startswith("Usage: seq2seq") and "Commands:" in outcome.stderr


def test_traceback_is_shown_on_demand_only(seq2seq, monkeypatch):
    monkeypatch.delenv("SEQ2SEQ_DEBUG", raising=False)
    assert seq2seq("settings", "no-such").stderr.count("\n") == 1
    monkeypatch.setenv("SEQ2SEQ_DEBUG", "1")
    assert "Traceback" in seq2seq("settings", "no-such").stderr


def test_unexpected_error_is_one_line(seq2seq, monkeypatch, tmp_path):
    def fail(*arguments: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.delenv("SEQ2SEQ_DEBUG", raising=False)
    monkeypatch.setattr("seq2seq.config.load_config", fail)
    outcome = seq2seq("train", tmp_path / "config.toml", "--output", tmp_path / "run")
    assert outcome.status == 1
    assert outcome.stderr == "seq2seq: internal error: RuntimeError: two lines; SEQ2SEQ_DEBUG=1 shows where\n"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
     RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
     torch.OutOfMemoryError("CUDA out of memory. Tried to\nallocate 20 MiB")],
)  # fmt: skip
def test_want_of_memory_is_one_line_with_a_remedy(seq2seq, monkeypatch, trained_run, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.delenv("SEQ2SEQ_DEBUG", raising=False)
    monkeypatch.setattr("seq2seq.decoding.translator.Translator._search_all", fail)
    outcome = seq2seq("translate", trained_run, stdin=b"a\n")
    assert outcome.status == 1 and outcome.stderr.count("\n") == 1
    assert "error: not enough memory (" in outcome.stderr and "--batch-size" in outcome.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full to write to")
def test_full_disk_is_one_line_and_status_1(script):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run([script, "settings"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "seq2seq: error: cannot write: no space left on device\n"


def test_closed_streams(script, trained_run, corpus, tmp_path):
    """Nothing is lost for want of a place to complain, and nothing is called done that went nowhere."""

    def run(redirection: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
        shell = ["sh", "-c", f'"$@" {redirection}', "sh", script, *map(str, arguments)]
        return subprocess.run(shell, input=b"ab\n\xff b\ncd\n", capture_output=True, check=False)

    for nowhere in ("2>&-", *(["2>/dev/full"] if Path("/dev/full").exists() else [])):
        done = run(nowhere, "translate", trained_run)
        assert done.returncode == 0 and done.stdout.count(b"\n") == 3
    score = ("score", corpus / "test.en", "--reference", corpus / "test.en")
    for command in (("translate", trained_run), ("settings",), score, (*score, "--json")):
        done = run(">&-", *command)
        assert done.returncode == 1 and b"error: cannot write: bad file descriptor" in done.stderr, done.stderr
    (tmp_path / "in").write_text("ab\n")
    done = run(">&- 2>&-", "translate", trained_run, "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert done.returncode == 0 and (tmp_path / "out").read_text().count("\n") == 1
    assert run("<&-", "translate", trained_run).returncode == 0
    assert run("<&-", "tokenizer", "encode", trained_run / "tokenizer").returncode == 0


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict"])
def test_results_are_utf_8_in_every_locale(script, corpus, tmp_path, encoding):
    names = ("Übersetzung 译文".encode(), b"not-utf-8-\xfc")
    for name in names:
        path = bytes(tmp_path) + b"/" + name
        shutil.copy(corpus / "test.en", path)
        command = [script, "score", path, "--reference", str(corpus / "test.en")]
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert name in done.stdout and "±".encode() in done.stdout


def test_ctrl_c_that_a_library_makes_something_else_of_is_ctrl_c(seq2seq, corpus, monkeypatch):
    def imported(*arguments, **options):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("half loaded") from None

    monkeypatch.setattr(evaluation, "read_parallel", imported)
    outcome = seq2seq("score", corpus / "test.en", "--reference", corpus / "test.en")
    assert (outcome.status, outcome.stderr) == (130, "seq2seq: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_that_python_drops_comes_again(seq2seq, corpus, monkeypatch, number):
    class Leaves:
        def __del__(self):  # exceptions in here, as in hooks of fork, are written to stderr, and that is all
            signal.raise_signal(number)

    def read(*arguments, **options):
        Leaves()
        time.sleep(10)
        raise AssertionError("it did not come again")

    monkeypatch.setattr(evaluation, "read_parallel", read)
    outcome = seq2seq("score", corpus / "test.en", "--reference", corpus / "test.en")
    assert (outcome.status, outcome.stderr) == (130, "\nseq2seq: interrupted\n")


def test_what_is_no_language_code_is_refused(seq2seq, corpus):
    score = ("score", corpus / "test.en", "--reference", corpus / "test.en")
    outcome = seq2seq(*score, "--target-language", "klingon")
    assert outcome.status == 2 and "'klingon': is no language code; give one, such as ja" in outcome.stderr
    for known in ("", "de", "zh-Hant", "zho_Hans", "DE", "CN"):
        assert seq2seq(*score, "--target-language", known).status == 0


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_test_set_too_large_for_tests_is_scored(seq2seq, corpus, monkeypatch, form):
    monkeypatch.setattr(evaluation, "MAX_RESAMPLED_SENTENCES", 19)
    files = (corpus / "test.en", "--reference", corpus / "test.en", "--baseline", corpus / "test.de")
    outcome = seq2seq("score", *files, *form)
    assert outcome.status == 0 and b"100.0" in outcome.stdout and b"baseline" not in outcome.stdout
    assert "20 lines; over 19 there are no intervals and tests; for baselines, compare a part" in outcome.stderr


def test_evaluating_says_so_too(seq2seq, corpus, trained_run, monkeypatch):
    monkeypatch.setattr(evaluation, "MAX_RESAMPLED_SENTENCES", 19)
    files = ("--source", corpus / "test.de", "--reference", corpus / "test.en")
    outcome = seq2seq("evaluate", trained_run, *files)
    assert outcome.status == 0 and "test.de: 20 lines; over 19 there are no intervals" in outcome.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--sample --beam-size 4", "--beam-size 4: does nothing with --sample"),
        ("--sample --patience 2", "--patience 2.0: does nothing with --sample"),
        ("--beam-size 1 --patience 2", "--patience 2.0: does nothing with a beam of 1"),
        ("--length-penalty 0 --length-penalty-form gnmt", "--length-penalty-form gnmt: does nothing with a length"),
    ],
)
def test_options_that_do_nothing_are_refused(seq2seq, trained_run, options, told):
    outcome = seq2seq("translate", trained_run, *options.split(), stdin=b"ab\n")
    assert outcome.status == 1 and told in outcome.stderr and outcome.stdout == b""


def test_patience_is_taken_where_the_beam_is_widened(seq2seq, trained_run):
    options = ("--beam-size", 1, "--patience", 2, "--mbr", "chrf", "--candidates", 4)
    assert seq2seq("translate", trained_run, *options, stdin=b"ab\n").status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_ended_leaves_nothing_half_written(script, trained_run, sentences, tmp_path, number):
    (tmp_path / "in").write_bytes(sentences * 20_000)
    command = [script, "translate", trained_run, "--input", tmp_path / "in", "--output", tmp_path / "out"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as running:
        while not list(tmp_path.glob(".out.*.partial")):
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(number)
        _, stderr = running.communicate(timeout=60)
    assert (running.returncode, stderr.strip()) == (130, b"seq2seq: interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# --- settings, recipes


def test_settings_lists_every_setting_with_its_meaning(seq2seq):
    page = " ".join(seq2seq("settings").stdout.decode().split())
    for name, setting in reference(Config):
        assert f"{name.rpartition('.')[2]} = " in page and " ".join(setting.meaning.split()) in page


def test_settings_of_a_section_or_of_one(seq2seq):
    outcome = seq2seq("settings", "decoding")
    names = [line.split(" = ")[0] for line in outcome.lines if not line.startswith((" ", "["))]
    assert names == [field.name for field in dataclasses.fields(DecodingConfig)]
    assert seq2seq("settings", "decoding.beam_size").lines[1].startswith("beam_size = 5")


def test_translations_are_scored_from_a_pipe(script, corpus):
    reference = corpus / "valid.en"
    piped = subprocess.run(
        [script, "score", "-", "--reference", reference], input=reference.read_bytes(), capture_output=True, check=True
    )
    assert b"100.00" in piped.stdout and not piped.stderr
    bad = subprocess.run(
        [script, "score", "-", "--reference", reference], input=b"a\n\xff\n", capture_output=True, check=False
    )
    assert bad.returncode == 1 and b"standard input:2: not UTF-8 (byte 0xff" in bad.stderr


def test_standard_streams_are_not_opened_anew(script, corpus, trained_run, tmp_path):
    """A shell's redirection is theirs who share it: what was read before is not read again, nor replaced."""
    (tmp_path / "in").write_bytes(b"header\n" + (corpus / "valid.en").read_bytes())
    shell = ["sh", "-c", '{ read -r header; "$@"; } < "$0"', str(tmp_path / "in")]
    done = subprocess.run(
        [*shell, script, "score", "-", "--reference", str(corpus / "valid.en")], capture_output=True, check=True
    )
    assert b"100.00" in done.stdout
    (tmp_path / "in").write_text("ab\n")
    shell = ["sh", "-c", '{ echo head; "$@"; echo foot; } > "$0"', str(tmp_path / "all")]
    translate = ("translate", trained_run, "--input", tmp_path / "in", "--output", "/dev/stdout")
    subprocess.run([*shell, script, *map(str, translate)], check=True)
    lines = (tmp_path / "all").read_text().splitlines()
    assert (len(lines), lines[0], lines[2]) == (3, "head", "foot")


def test_a_mistake_in_an_override_is_not_said_of_the_file(seq2seq, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("[training]\nr_drop = 1.0\n")
    done = seq2seq("train", config, "--output", tmp_path / "run", "--set", "training.stepz=3")
    assert f"error: --set, over {config}: `training.stepz`: unknown setting" in done.stderr
    done = seq2seq("train", config, "--output", tmp_path / "run", "--set", "model.dropout=0")
    assert f"error: --set, over {config}: `training.r_drop` = 1.0: compares" in done.stderr
    config.write_text("[training]\nstepz = 1\n")
    done = seq2seq("train", config, "--output", tmp_path / "run", "--set", "training.steps=3")
    assert f"error: {config}: `training.stepz`" in done.stderr


def test_a_file_where_a_folder_is_needed(seq2seq, tmp_path):
    (tmp_path / "file").touch()
    for arguments in (("copy", "reverse", tmp_path / "file"), ("run", "reverse", "--output", tmp_path / "file")):
        done = seq2seq("recipe", *arguments)
        assert (done.status, done.stderr.count("\n")) == (1, 1)
        assert f"{tmp_path / 'file'}: " in done.stderr and "a file stands where a folder is needed" in done.stderr


def test_a_recipe_of_ones_own_is_found_by_its_folder(seq2seq, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert seq2seq("recipe", "copy", "reverse", "mine").status == 0
    assert "your own is ./mine/reverse.toml" in seq2seq("recipe", "run", "mine").stderr


def test_recipes_are_listed_shown_and_copied(seq2seq, tmp_path):
    listed = seq2seq("recipe", "list").lines
    names = [line.split()[0] for line in listed]
    assert {"reverse", "quickstart", "multi30k_de_en", "multi30k_en_de"} <= set(names)
    assert all(len(line.split(maxsplit=1)) == 2 for line in listed), "each has a description"
    for name in names:
        shown = seq2seq("recipe", "show", name)
        assert shown.status == 0 and tomllib.loads(shown.stdout.decode())
        assert seq2seq("recipe", "copy", name, tmp_path / "mine").status == 0
        assert (tmp_path / "mine" / f"{name}.toml").read_bytes() == shown.stdout
        assert (tmp_path / "mine" / f"{name}.py").exists()
    assert (
        seq2seq("recipe", "show", tmp_path / "mine" / "reverse.toml").stdout
        == seq2seq("recipe", "show", "reverse").stdout
    )


# --- translate


def test_lines_out_are_lines_in_whatever_is_in_them(seq2seq, trained_run):
    odd = ["a", "", "\x85b", "c\u2028d", "e\rf\x0bg\x0ch", " ", "\ufeff", "\u3042 \U0001f600 \x00", "last without end"]
    outcome = seq2seq("translate", trained_run, stdin="\n".join(odd).encode())
    assert outcome.status == 0
    assert len(outcome.lines) == len(odd)
    assert outcome.lines[1] == outcome.lines[5] == ""


def test_stdin_that_is_not_utf8_keeps_its_lines_and_warns(seq2seq, trained_run):
    outcome = seq2seq("translate", trained_run, stdin=b"a\n\n\x85b\n")
    assert (outcome.status, len(outcome.lines)) == (0, 3)
    assert outcome.stderr.startswith("seq2seq: warning: standard input:3: not UTF-8 (byte 0x85 at column 1)")
    assert outcome.stderr.count("\n") == 1


def test_no_input_gives_no_output(seq2seq, trained_run):
    assert (seq2seq("translate", trained_run).status, seq2seq("translate", trained_run).stdout) == (0, b"")


def test_file_and_stdin_and_checkpoint_translate_alike(seq2seq, trained_run, corpus, sentences, tmp_path):
    from seq2seq.checkpoint import resolve

    piped = seq2seq("translate", trained_run, stdin=sentences)
    assert len(piped.lines) == 20 and any(piped.lines) and piped.stderr == ""
    target = tmp_path / "new folder" / "out.txt"
    outcome = seq2seq("translate", resolve(trained_run)[1], "--input", corpus / "test.de", "--output", target)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, b"", "")
    assert target.read_bytes() == piped.stdout
    assert [path.name for path in target.parent.iterdir()] == ["out.txt"]


def test_chunks_of_a_file_are_full_and_those_of_a_pipe_what_has_come(
    seq2seq, trained_run, corpus, sentences, monkeypatch
):
    from seq2seq.decoding import translator

    fullness = []
    as_they_come = translator.as_they_come

    def noting(items, limit, *, full):
        fullness.append(full)
        return as_they_come(items, limit, full=full)

    monkeypatch.setattr(translator, "as_they_come", noting)
    assert seq2seq("translate", trained_run, "--input", corpus / "test.de").status == 0
    assert seq2seq("translate", trained_run, stdin=sentences).status == 0
    assert fullness == [True, False]
    code = "from seq2seq_cli.streams import stdin_is_file; print(stdin_is_file())"
    command = [sys.executable, "-c", code]
    with (corpus / "test.de").open("rb") as file:
        assert subprocess.run(command, stdin=file, stdout=subprocess.PIPE, check=True).stdout == b"True\n"
    assert subprocess.run(command, input=b"a\n", stdout=subprocess.PIPE, check=True).stdout == b"False\n"


def test_output_to_a_pipe_writes_to_it(script, trained_run, sentences):
    command = [script, "translate", trained_run, "--beam-size", "1", "--output", "/dev/stdout"]
    piped = subprocess.run(command, input=f"{sentences[0]}\n".encode(), capture_output=True, check=True)
    assert piped.stdout.count(b"\n") == 1 and not piped.stderr


def test_output_to_a_device_writes_to_it(seq2seq, trained_run, sentences):
    assert seq2seq("translate", trained_run, "--output", "/dev/null", stdin=sentences).status == 0
    assert not Path("/dev/null").is_file()


def test_jsonl_has_scores_tokens_and_n_best(seq2seq, trained_run, sentences):
    source = b"\n" + sentences
    plain = seq2seq("translate", trained_run, "--beam-size", 3, stdin=source).lines
    outcome = seq2seq("translate", trained_run, "--beam-size", 3, "--n-best", 3, "--format", "jsonl", stdin=source)
    records = [json.loads(line) for line in outcome.lines]
    assert [record["translation"] for record in records] == plain
    assert [record["source"] for record in records] == source.decode().split("\n")[:-1]
    for record in records[1:]:
        assert record.keys() == {"source", "translation", "score", "log_prob", "tokens", "n_best"}
        assert len(record["n_best"]) == 3
        assert record["n_best"][0] == {key: record[key] for key in ("score", "log_prob")} | {
            "text": record["translation"]
        }
        scores = [hypothesis["score"] for hypothesis in record["n_best"]]
        assert scores == sorted(scores, reverse=True)
        assert all(isinstance(token, str) for token in record["tokens"])
    assert records[0]["translation"] == "" and records[0]["tokens"] == []


def test_n_best_text_is_as_moses_writes_it(seq2seq, trained_run, sentences):
    best = seq2seq("translate", trained_run, "--beam-size", 3, stdin=sentences).lines
    rows = [line.split(" ||| ") for line in seq2seq("translate", trained_run, "--n-best", 3, stdin=sentences).lines]
    assert [int(index) for index, _, _ in rows] == [number for number in range(20) for _ in range(3)]
    assert [text for _, text, _ in rows[::3]] == best
    assert all(float(score) < 0 for _, _, score in rows)


def test_sampling_depends_on_the_seed_alone(seq2seq, trained_run, sentences):
    def sample(*options: object) -> bytes:
        return seq2seq("translate", trained_run, "--sample", "--temperature", 2, *options, stdin=sentences).stdout

    assert sample("--seed", 1) == sample("--seed", 1, "--batch-size", 1) != sample("--seed", 2)


@pytest.fixture
def translating(script, trained_run):
    """A process that translates what is typed."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([script, "translate", str(trained_run)], **pipes) as running:
        yield running
        running.kill()


def type_line(running, line):
    running.stdin.write(line)
    running.stdin.flush()


def test_translations_appear_while_input_still_arrives(translating):
    for line in (b"abc\n", b"\n", b"def abc\n"):
        type_line(translating, line)
        assert translating.stdout.readline().endswith(b"\n")  # would wait for ever if it waited for the end of input
    translating.send_signal(signal.SIGINT)
    assert translating.wait(60) == 130
    assert translating.stderr.read().decode().split("\n")[1:] == ["seq2seq: interrupted", ""]


def test_reader_that_goes_away_ends_it_though_input_is_open(translating):
    type_line(translating, b"abc\n")
    assert translating.stdout.readline()
    translating.stdout.close()
    type_line(translating, b"abc\n")
    assert (translating.wait(60), translating.stderr.read()) == (0, b"")


def test_reader_that_stops_reading_ends_it_quietly(script, trained_run, sentences, tmp_path):
    big = tmp_path / "big.txt"
    big.write_bytes(sentences * 200)
    command = 'set -o pipefail; "$0" translate "$1" < "$2" | head -n 1'
    arguments = ["bash", "-c", command, script, str(trained_run), str(big)]
    done = subprocess.run(arguments, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr, done.stdout.count(b"\n")) == (0, b"", 1)


# --- train, evaluate, average


def test_interrupted_training_is_saved_and_status_130(script, corpus, tmp_path):
    run = tmp_path / "run"
    arguments = ["train", corpus / "config.toml", "--output", run, "--set", "training.steps=1000000"]
    arguments += ["--set", "training.checkpoint_every=5"]
    with subprocess.Popen([script, *map(str, arguments)], stderr=subprocess.PIPE, text=True) as running:
        while not checkpoints(run):
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith("seq2seq: interrupted: ") and "--resume" in stderr.splitlines()[-1]


def test_training_that_was_interrupted_while_it_tokenised_says_how_it_goes_on(seq2seq, corpus, tmp_path, monkeypatch):
    def interrupted(config, tokenizer, folder, tell):
        folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("seq2seq.training.trainer.open_stores", interrupted)
    outcome = seq2seq("train", corpus / "config.toml", "--output", tmp_path / "run")
    assert outcome.status == 130
    kept = f"{tmp_path / 'run'}: what was tokenised is kept; --resume, without --overwrite, goes on"
    assert outcome.stderr.splitlines()[-1] == f"seq2seq: interrupted: {kept}"


def test_training_says_what_of_the_config_is_for_other_commands(seq2seq, corpus, tmp_path):
    one_step = ("--set", "training.steps=1", "--set", "training.validate_every=0")
    plain = seq2seq("train", corpus / "config.toml", "--output", tmp_path / "plain", *one_step)
    assert "[prepare]" not in plain.stderr and "recipe.average" not in plain.stderr
    others = ("--set", "prepare.max_ratio=2", "--set", "recipe.average=1", "--set", "recipe.ensemble=2")
    outcome = seq2seq("train", corpus / "config.toml", "--output", tmp_path / "run", *one_step, *others)
    assert outcome.status == 0
    assert f"seq2seq prepare {corpus / 'config.toml'} --output DIR" in outcome.stderr
    assert "`recipe.average` = 1" in outcome.stderr and "`recipe.ensemble` = 2" in outcome.stderr


def test_training_says_that_a_given_tokenizer_is_not_of_the_size_that_is_asked_for(seq2seq, corpus, tmp_path):
    one_step = ("--set", "training.steps=1", "--set", "training.validate_every=0")
    seq2seq("train", corpus / "config.toml", "--output", tmp_path / "first", *one_step)
    given = (*one_step, "--set", f"tokenizer.path={tmp_path / 'first' / 'tokenizer'}", "--set")
    same = seq2seq("train", corpus / "config.toml", "--output", tmp_path / "same", *given, "tokenizer.vocab_size=300")
    assert same.status == 0 and "not used" not in same.stderr
    other = seq2seq("train", corpus / "config.toml", "--output", tmp_path / "other", *given, "tokenizer.vocab_size=350")
    assert other.status == 0
    assert "`tokenizer.vocab_size` = 350: not used" in other.stderr and "has 300 pieces" in other.stderr


def test_preparing_shows_a_bar_for_each_stage_on_a_terminal(monkeypatch, capsys):
    from seq2seq_cli.prepare import _Bars

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with _Bars() as bars:
        bars.update("filters", 5, 10)
        bars.update("tokens", 3, 3)
    shown = capsys.readouterr().err
    assert "filters:  50%" in shown and "tokens: 100%" in shown


def test_metrics_have_the_fields_that_scripts_read(trained_run):
    records = [json.loads(line) for line in (trained_run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == [10, 20, 30, 40]
    assert all(record["tokens_per_second"] > 0 for record in steps)
    assert [record["step"] for record in records if "validation_bleu" in record] == [20, 40]


def test_evaluate_agrees_with_translate_and_score(seq2seq, trained_run, corpus, tmp_path):
    folders = checkpoints(trained_run)
    files = ("--source", corpus / "test.de", "--reference", corpus / "test.en")
    outcome = seq2seq("evaluate", trained_run, *folders, *files, "--json")
    records = json.loads(outcome.stdout)
    assert len(records) == 1 + len(folders)
    assert [record["checkpoint"] for record in records[1:]] == [str(folder) for folder in folders]
    for record in records:
        assert record.keys() == SCORE_NAMES | {"checkpoint", "sentences_per_second"}
        assert record["sentences_per_second"] > 0
    hypotheses = tmp_path / "hypotheses"
    seq2seq("translate", trained_run, "--input", corpus / "test.de", "--output", hypotheses)
    scored = json.loads(seq2seq("score", hypotheses, "--reference", corpus / "test.en", "--json").stdout)
    assert scored == {name: records[0][name] for name in scored}
    assert scored.keys() == SCORE_NAMES
    assert all(measure.keys() == {"score", "low", "high", "signature"} for measure in scored.values())
    table = seq2seq("evaluate", trained_run, *files)
    assert table.status == 0 and f"{scored['bleu']['score']:.2f}" in table.stdout.decode()
    shutil.copytree(trained_run, several := tmp_path / "several")
    config = load_config(several / "config.toml")
    decoding = dataclasses.replace(config.decoding, n_best=config.decoding.beam_size)
    save_config(dataclasses.replace(config, decoding=decoding), several / "config.toml")
    (record,) = json.loads(seq2seq("evaluate", several, *files, "--beam-size", 1, "--json").stdout)
    (expected,) = json.loads(seq2seq("evaluate", trained_run, *files, "--beam-size", 1, "--json").stdout)
    assert record["bleu"] == expected["bleu"], "one translation of each is scored, whatever a run gives otherwise"


def test_what_was_evaluated_before_an_error_is_not_lost(seq2seq, trained_run, corpus, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained_run, other)
    (other / LEXICON).unlink()
    files = ("--source", corpus / "test.de", "--reference", corpus / "test.en", "--shortlist", "--json")
    outcome = seq2seq("evaluate", trained_run, other, *files)
    assert outcome.status == 1 and "the run has no lexicon" in outcome.stderr
    (record,) = json.loads(outcome.stdout)
    assert record["bleu"]["score"] >= 0
    wrong = seq2seq("evaluate", trained_run, other, *files, "--beam-size", 0)
    assert (wrong.status, wrong.stdout) == (1, b""), "seen before anything is translated"


def test_average_is_a_checkpoint_to_translate_with(process, seq2seq, trained_run, sentences, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    outcome = seq2seq("average", run, "--last", 2)
    assert outcome.lines == [str(run / "checkpoints" / "average_last_2")]
    assert "BLEU" in outcome.stderr
    assert len(seq2seq("translate", outcome.lines[0], stdin=sentences).lines) == 20
    of_one = seq2seq("average", outcome.lines[0])
    assert of_one.status == 1 and f"is one checkpoint; name its run, {run}" in of_one.stderr
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(text.replace("valid.de", "gone.de"), encoding="utf-8")
    elsewhere = seq2seq("average", run, "--last", 1)
    assert elsewhere.status == 0 and "warning: the mean is not validated: " in elsewhere.stderr
    for folder in checkpoints(run):
        shutil.rmtree(folder)
    without = seq2seq("average", run)
    assert without.status == 1 and f"{run}: has no checkpoint of a training to average" in without.stderr


# --- decoding for quality


def test_an_ensemble_translates_and_is_evaluated(seq2seq, trained_run, corpus, sentences, tmp_path):
    first, second = checkpoints(trained_run)
    options = ("--ensemble", second, "--beam-size", 3)
    lines = seq2seq("translate", first, *options, stdin=sentences + b"\n").lines
    assert len(lines) == 21 and lines[-1] == ""
    assert lines == seq2seq("translate", second, "--ensemble", first, "--beam-size", 3, stdin=sentences + b"\n").lines
    files = ("--source", corpus / "test.de", "--reference", corpus / "test.en")
    (record,) = json.loads(seq2seq("evaluate", first, *options, *files, "--json").stdout)
    assert record["checkpoint"] == f"{first} + {second}"
    other = shutil.copytree(trained_run, tmp_path / "other")
    text = (other / "config.toml").read_text(encoding="utf-8")
    (other / "config.toml").write_text(text.replace('target_language = "en"', 'target_language = "fr"'), "utf-8")
    outcome = seq2seq("translate", first, "--ensemble", other, stdin=sentences)
    assert outcome.status == 1 and "other: translates de to fr, and " in outcome.stderr
    outcome = seq2seq("translate", first, "--ensemble", second, "--engine", "ctranslate2", stdin=sentences)
    assert (outcome.status, outcome.stdout) == (1, b"")
    assert "an ensemble of 2 runs: the ctranslate2 engine cannot; use --engine torch" in outcome.stderr


@pytest.mark.parametrize("options", [("--mbr", "chrf", "--sample"), ("--mbr", "bleu")], ids=["sample", "beam"])
def test_minimum_bayes_risk_gives_candidates_with_utilities(seq2seq, trained_run, options):
    options = (*options, "--candidates", 6)
    source = b"abc de\n\nfgh\n"
    plain = seq2seq("translate", trained_run, *options, stdin=source).lines
    outcome = seq2seq("translate", trained_run, *options, "--n-best", 6, "--format", "jsonl", stdin=source)
    records = [json.loads(line) for line in outcome.lines]
    assert [record["translation"] for record in records] == plain and len(plain) == 3
    assert records[1]["n_best"] == [] and records[1]["translation"] == ""
    for record in (records[0], records[2]):
        scores = [each["score"] for each in record["n_best"]]
        assert record["score"] == scores[0] and scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 100 for score in scores)
        assert len({each["text"] for each in record["n_best"]}) == len(scores)


@pytest.fixture(scope="module")
def turned_run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, which says of itself that it translates the other way."""
    import shutil

    run = tmp_path_factory.mktemp("turned") / "run"
    shutil.copytree(trained_run, run)
    text = (run / "config.toml").read_text(encoding="utf-8")
    text = text.replace('"de"', '"?"').replace('"en"', '"de"').replace('"?"', '"en"')
    (run / "config.toml").write_text(text, encoding="utf-8")
    return run


def test_a_run_that_translates_back_takes_the_place_of_a_runs_mbr(seq2seq, trained_run, turned_run, corpus, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    config = load_config(run / "config.toml")
    decoding = dataclasses.replace(config.decoding, mbr="chrf", candidates=9, n_best=7)
    save_config(dataclasses.replace(config, decoding=decoding), run / "config.toml")
    files = ("--source", corpus / "test.de", "--reference", corpus / "test.en")
    assert seq2seq("evaluate", run, "--rerank-by", turned_run, *files).status == 0
    outcome = seq2seq("translate", run, "--rerank-by", turned_run, stdin=b"abc\n")
    assert outcome.status == 0 and len(outcome.lines) == 7, outcome.stderr
    assert Translator.load(run, "cpu", rerank_by=turned_run).translate(["abc"])[0].hypotheses[0].reverse_score
    outcome = seq2seq("translate", run, "--rerank-by", turned_run, "--mbr", "bleu", stdin=b"abc\n")
    assert outcome.status == 1 and "`decoding.mbr` = bleu" in outcome.stderr and "leave one out" in outcome.stderr


def test_a_run_that_translates_back_chooses(seq2seq, trained_run, turned_run, corpus):
    source = b"abc de\n\nfgh\n"
    options = ("--rerank-by", turned_run, "--candidates", 4)
    plain = seq2seq("translate", trained_run, *options, stdin=source).lines
    outcome = seq2seq("translate", trained_run, *options, "--n-best", 4, "--format", "jsonl", stdin=source)
    records = [json.loads(line) for line in outcome.lines]
    assert [record["translation"] for record in records] == plain and plain[1] == ""
    assert all(each.keys() == {"text", "score", "log_prob", "reverse_score"} for each in records[0]["n_best"])
    files = ("--source", corpus / "test.de", "--reference", corpus / "test.en")
    rows = json.loads(seq2seq("evaluate", trained_run, *options, "--reverse-weights", "0,2", *files, "--json").stdout)
    assert [row["checkpoint"].rpartition(", ")[2] for row in rows] == ["reverse weight 0", "reverse weight 2"]
    (alone,) = json.loads(seq2seq("evaluate", trained_run, *options, "--reverse-weight", 2, *files, "--json").stdout)
    assert alone["bleu"] == rows[1]["bleu"]
    assert seq2seq("translate", trained_run, *options, "--engine", "ctranslate2", stdin=source).lines == plain
    narrow = seq2seq("translate", trained_run, *options, "--n-best", 4, "--beam-size", 2, stdin=b"abc\n")
    assert narrow.status == 0 and len(narrow.lines) > 2
    outcome = seq2seq("translate", trained_run, *options, "--n-best", 9, stdin=source)
    assert outcome.status == 1 and "`decoding.n_best` = 9: is over `decoding.candidates` = 4" in outcome.stderr
    outcome = seq2seq("translate", trained_run, "--rerank-by", trained_run, stdin=source)
    assert (outcome.status, outcome.stdout) == (1, b"") and "translates de to en" in outcome.stderr
    outcome = seq2seq("evaluate", trained_run, *options, "--reverse-weights", "", *files)
    assert outcome.status == 2 and "'': give numbers with commas between them" in outcome.stderr
    both = ("--reverse-weights", "1", "--reverse-weight", 2)
    assert "leave one out" in seq2seq("evaluate", trained_run, *options, *both, *files).stderr
    for weights in ("a", "-1", "nan"):
        assert seq2seq("evaluate", trained_run, *options, "--reverse-weights", weights, *files).status == 2
    assert seq2seq("evaluate", trained_run, "--reverse-weights", "1", *files).status == 2


def test_what_an_engine_cannot_is_refused_by_name(seq2seq, trained_run):
    options = ("--engine", "ctranslate2", "--mbr", "chrf", "--sample", "--epsilon", 0.02)
    outcome = seq2seq("translate", trained_run, *options, stdin=b"a\n")
    assert outcome.status == 1 and "`decoding.epsilon` = 0.02: the ctranslate2 engine cannot" in outcome.stderr
    outcome = seq2seq("translate", trained_run, *options[:5], "--seed", 1, stdin=b"a\n")
    assert outcome.status == 1 and "--seed 1: does nothing with --engine ctranslate2" in outcome.stderr
    outcome = seq2seq("translate", trained_run, *options[:5], "--candidates", 4, stdin=b"abc de\n\n")
    assert outcome.status == 0 and len(outcome.lines) == 2


# --- report


def test_report_is_one_page_and_stdout_names_it(seq2seq, corpus, trained_run, tmp_path):
    page = tmp_path / "report.html"
    test = ("--source", corpus / "test.de", "--reference", corpus / "test.en")
    outcome = seq2seq("report", trained_run, "--output", page, *test, "--system", f"old={corpus / 'test.en'}")
    assert (outcome.status, outcome.lines, outcome.stderr) == (0, [str(page)], "")
    html = page.read_text(encoding="utf-8")
    assert "100.0" in html and "old" in html and "Attention" in html
    assert "http" not in html
