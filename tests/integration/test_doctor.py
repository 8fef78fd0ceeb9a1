"""The doctor: each thing that can be wrong, broken once; and a sound set-up, of which nothing is to be found."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from seq2seq import devices
from seq2seq.checkpoint import load_model
from seq2seq.config import load_config
from seq2seq.data.batching import Batch
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.search import Hypothesis
from seq2seq.doctor import text as doctor
from seq2seq.doctor.examination import examine
from seq2seq.model.transformer import Transformer
from seq2seq.training import forecast as forecast_module
from seq2seq.training.distributed import Processes
from seq2seq.training.forecast import Forecast
from seq2seq.training.risk import RiskLoss
from seq2seq.training.setup import with_vocabulary
from seq2seq.training.steps import Steps
from seq2seq.training.trainer import train
from tests.conftest import CONFIG as TINY

# In no language that identification knows, with a test set, and of few steps.
CONFIG = (
    TINY.replace('"de"', '"xx"').replace('"en"', '"yy"')
    .replace("validation =", 'test = { source = "test.de", target = "test.en" }\nvalidation =')
    .replace("vocab_size = 300", "vocab_size = 300\nbyte_fallback = false")
    .replace("steps = 40", "steps = 4").replace("warmup_steps = 10", "warmup_steps = 1")
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound set-up of made-up sentences, all different."""
    generator = random.Random(1)
    words = ["".join(generator.choices("abcdefgh", k=generator.randint(3, 6))) for _ in range(200)]
    for name, size in {"train": 400, "valid": 40, "test": 40}.items():
        lines = [generator.choices(words, k=generator.randint(5, 9)) for _ in range(size)]
        write(tmp_path / f"{name}.de", [" ".join(line) for line in lines])
        write(tmp_path / f"{name}.en", [" ".join(word[::-1].upper() for word in line) for line in lines])
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")


def read(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def rewrite(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    return lambda folder: write(folder / name, change(read(folder / name)))


def swap(folder: Path) -> None:
    (folder / "valid.de").rename(folder / "other")
    (folder / "valid.en").rename(folder / "valid.de")
    (folder / "other").rename(folder / "valid.en")


def overlap(folder: Path) -> None:
    for side in ("de", "en"):
        write(folder / f"test.{side}", read(folder / f"test.{side}")[:30] + read(folder / f"train.{side}")[:10])


def repeat(folder: Path) -> None:
    for side in ("de", "en"):
        write(folder / f"train.{side}", read(folder / f"train.{side}") + read(folder / f"train.{side}")[:100])


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


class Broken(NamedTuple):
    name: str
    check: str
    told: str
    change: Callable[[Path], object] = lambda folder: None
    settings: tuple[str, ...] = ()
    is_error: bool = True


BROKEN = [
    Broken("a missing file", "corpora", "train.de: no such file", lambda folder: (folder / "train.de").unlink()),
    Broken("unequal line counts", "corpora", "has 399", rewrite("train.en", lambda lines: lines[1:])),
    Broken("another encoding", "corpora", "valid.de:1: not UTF-8",
           lambda folder: (folder / "valid.de").write_bytes(b"gr\xfcn\n" * 40)),
    Broken("mojibake", "encoding", "wrongly decoded",
           rewrite("train.de", lambda lines: [f"grÃ¼n {line}" for line in lines])),
    Broken("line ends of Windows", "line ends", "carriage return",
           rewrite("train.en", lambda lines: [f"{line}\r" for line in lines]), is_error=False),
    Broken("empty sides", "empty sides", "have an empty side",
           rewrite("train.en", lambda lines: [""] * 60 + lines[60:]), is_error=False),
    Broken("swapped validation", "swapped languages", "data.validation", swap),
    Broken("duplicates", "duplicates", "100 of 500", repeat, is_error=False),
    Broken("training text in the test", "overlap", "25.0%", overlap),
    Broken("something else in the place of the run", "output", "belongs to no run",
           lambda folder: write(_new(folder / "run") / "config.toml", ["mine"])),
    Broken("no validation", "validation", "name one",
           lambda folder: (folder / "config.toml").write_text(CONFIG.replace("\nvalidation", "\n#")), is_error=False),
    Broken("patience without validation", "validation", "stops by it",
           lambda folder: (folder / "config.toml").write_text(CONFIG.replace("\nvalidation", "\n#")),
           settings=("training.patience=3",)),
    Broken("another script", "unknown characters", "of the source characters",
           rewrite("valid.de", lambda lines: ["мир и труд" for _ in lines])),
    Broken("too short a limit", "too long", "data.max_length", settings=("data.max_length=5",)),
    Broken("a warm-up without end", "schedule", "still rises", settings=("training.warmup_steps=4",), is_error=False),
    Broken("too large a vocabulary", "tokenizer", "vocab_size", settings=("tokenizer.vocab_size=50000",)),
    Broken("too large a model", "memory", "parameters need"),
    Broken("too many checkpoints", "disk", "keep_checkpoints", settings=("training.keep_checkpoints=1000000000",)),
    Broken("a batch too large", "memory", "batch_tokens"),
]  # fmt: skip


def quick(monkeypatch: pytest.MonkeyPatch, memory_mb: float = 100.0) -> None:
    monkeypatch.setattr(forecast_module, "forecast", lambda *_: Forecast(1000.0, 400.0, memory_mb, 100.0))


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_what_is_broken_is_found_and_nothing_else(
    folder: Path, broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, 1e9 if broken.name == "a batch too large" else 100.0)
    if broken.name == "too large a model":
        monkeypatch.setattr(devices, "total_memory_mb", lambda: 0.1)
    broken.change(folder)
    found = examine(load_config(folder / "config.toml", broken.settings), folder / "run")
    assert {finding.check for finding in found.findings} == {broken.check}
    assert any(broken.told in finding.message for finding in found.findings)
    assert all("\n" not in finding.message for finding in found.findings)
    assert found.is_sound is not broken.is_error


@pytest.mark.parametrize(
    ("form", "check", "remedy"), [("{}\r", "line ends", "sed -i"), ("grÃ¼n {}", "encoding", "convert the source anew")]
)
def test_what_is_wrong_with_validation_text_is_not_for_prepare(
    folder: Path, form: str, check: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    rewrite("valid.de", lambda lines: [form.format(line) for line in lines])(folder)
    found = examine(load_config(folder / "config.toml"), folder / "run").findings
    told = next(finding.message for finding in found if finding.check == check)
    assert remedy in told and "seq2seq prepare" not in told


def test_test_text_with_a_tag_is_found_in_training_text_that_has_it_in_the_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    overlap(folder)
    write(folder / "train.de", [f"<2yy> {line}" for line in read(folder / "train.de")])
    text = CONFIG.replace('test = { source = "test.de"', 'test = { tag = "<2yy>", source = "test.de"')
    (folder / "config.toml").write_text(text, encoding="utf-8")
    config = load_config(folder / "config.toml", ['tokenizer.user_symbols=["<2yy>"]'])
    found = {finding.check: finding.message for finding in examine(config, folder / "run").findings}
    assert "25.0%" in found["overlap"]


def test_tags_in_prepared_text_are_not_unknown(folder: Path, seq2seq, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    text = CONFIG.replace('{ source = "', '{ tag = "<2yy>", source = "')
    (folder / "config.toml").write_text(text, encoding="utf-8")
    assert seq2seq("prepare", folder / "config.toml", "--output", folder / "out").status == 0
    assert examine(load_config(folder / "out/config.toml"), folder / "run").findings == []


def test_of_a_sound_one_nothing_is_found(folder: Path, seq2seq) -> None:
    done = seq2seq("doctor", folder / "config.toml", "--output", folder / "run", "--json")
    told = json.loads(done.stdout)
    assert (done.status, told["sound"], told["findings"]) == (0, True, [])
    assert told["figures"]["pairs"] == {"train": 400, "validation": 40, "test": 40}
    assert told["figures"]["parameters"] > 10_000
    assert told["figures"]["tokens_per_second"] > 0
    assert told["figures"]["memory_mb"] > 50
    assert not (folder / "run").exists()


def test_the_same_text_is_found_however_late_and_near_duplicates_among_a_part(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    monkeypatch.setattr(doctor, "_NEAR", 10)
    overlap(folder)  # with the first ten training pairs
    config = load_config(folder / "config.toml")
    for side in ("de", "en"):
        lines = read(folder / f"train.{side}")
        write(folder / f"train.{side}", lines[10:] + lines[:10])
    assert [finding.check for finding in examine(config, folder / "run").findings] == ["overlap"]
    for side in ("de", "en"):
        write(folder / f"test.{side}", [f"{line}!" for line in read(folder / f"test.{side}")])
    assert examine(config, folder / "run").findings == []
    monkeypatch.setattr(doctor, "_NEAR", 395)
    assert "12.5%" in examine(config, folder / "run").findings[0].message
    monkeypatch.setattr(doctor, "_NEAR", 1000)
    assert "25.0%" in examine(config, folder / "run").findings[0].message


@pytest.mark.parametrize("sizes", [(400, 300), (300, 400), (400, 400)])
@pytest.mark.parametrize("in_text", [False, True])
def test_text_of_several_directions_is_not_called_swapped(
    folder: Path, sizes: tuple[int, int], in_text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    tags = ("<2en>", "<2de>")
    before = [f"{tag} " if in_text else "" for tag in tags]
    sides = read(folder / "train.de"), read(folder / "train.en")
    for number, (source, target) in enumerate((sides, sides[::-1])):
        write(folder / f"{number}.s", [before[number] + line for line in source[: sizes[number]]])
        write(folder / f"{number}.t", target[: sizes[number]])
    tagged = ["" if in_text else f', tag = "{tag}"' for tag in tags]
    train = ", ".join(f'{{ source = "{n}.s", target = "{n}.t"{tag} }}' for n, tag in enumerate(tagged))
    text = CONFIG.replace('train = [{ source = "train.de", target = "train.en" }]', f"train = [{train}]")
    (folder / "config.toml").write_text(text, encoding="utf-8")
    config = load_config(folder / "config.toml", ['tokenizer.user_symbols=["<2en>", "<2de>"]'])
    found = examine(config, folder / "run").findings
    assert [finding.message for finding in found if finding.check == "swapped languages"] == []


def test_an_epoch_has_the_pairs_that_weights_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    epochs = []
    for weight in (1.0, 0.5):
        train = f'{{ source = "train.de", target = "train.en", weight = {weight} }}'
        text = CONFIG.replace('{ source = "train.de", target = "train.en" }', train)
        (folder / "config.toml").write_text(text, encoding="utf-8")
        epochs.append(examine(load_config(folder / "config.toml"), folder / "run").figures["epochs"])
    assert epochs[1] == pytest.approx(2 * epochs[0], rel=0.01)


@pytest.mark.parametrize(
    ("settings", "copies"),
    [
        (["diversification.models=1"], 3.0),
        (["distillation.teacher=a run", "distillation.original_weight=0.5"], 1.5),
        (["distillation.teacher=a run"], 1.0),
    ],
)
def test_an_epoch_has_what_models_make_too(
    folder: Path, settings: list[str], copies: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    plain, made = (
        examine(load_config(folder / "config.toml", each), folder / "run").figures["epochs"] for each in ([], settings)
    )
    assert plain == pytest.approx(copies * made, rel=0.01)


def test_teachers_take_their_time(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    quick(monkeypatch)
    settings = [
        "diversification.models=1", "diversification.max_minutes=20", "recipe.ensemble=2", "training.max_minutes=40",
        "training.steps=1000000000",
    ]  # fmt: skip
    assert examine(load_config(folder / "config.toml", settings), folder / "run").figures["hours"] == pytest.approx(2)


def test_lines_are_counted_to_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    monkeypatch.setattr(doctor, "PAIRS", 100)
    write(folder / "train.de", read(folder / "train.de")[:-1])
    (finding,) = examine(load_config(folder / "config.toml"), folder / "run").findings
    assert finding.severity == "error" and "has 399 lines" in finding.message and "has 400" in finding.message


def test_a_vocabulary_that_the_whole_text_has_pieces_for_is_not_refused_for_a_sample(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    monkeypatch.setattr(doctor, "SAMPLE", 4)
    found = examine(load_config(folder / "config.toml", ["tokenizer.algorithm=bpe"]), folder / "run")
    assert found.findings == []


def test_checkpoints_take_as_much_as_training_leaves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    config = load_config(folder / "config.toml", ["training.checkpoint_every=1", "training.keep_checkpoints=3"])
    figures = examine(config, folder / "run").figures
    run = train(config, folder / "run", device="cpu")
    shown = sum(file.stat().st_size for file in (run / "checkpoints").rglob("*.safetensors")) / 1024**2
    latest = sum(file.stat().st_size for file in (run / "checkpoints/step_00000004").rglob("*.safetensors")) / 1024**2
    assert shown < figures["checkpoints_mb"] < 1.1 * (shown + 2 * latest)


def test_a_model_that_memory_suffices_for_with_muon_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, memory_mb=0.0)
    config = load_config(folder / "config.toml")
    parameters = examine(config, folder / "run").figures["parameters"]
    monkeypatch.setattr(devices, "total_memory_mb", lambda: 3.5 * 4 * parameters / 1024**2)  # 3 or 4 float32 for each
    assert "parameters need" in examine(config, folder / "run").findings[0].message
    muon = load_config(folder / "config.toml", ("training.optimizer=muon",))
    assert not examine(muon, folder / "run").findings


def test_low_rank_matrices_are_what_is_tried(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(load_config(folder / "config.toml"), folder / "base", device="cpu")
    tuned = [f"training.initialise_from={run}", "training.lora_rank=2"]
    tried: list[int] = []
    make = forecast_module.Steps

    def noted(model: Transformer, *rest: object) -> Steps:
        tried.append(sum(each.numel() for each in model.parameters() if each.requires_grad))
        return make(model, *rest)

    monkeypatch.setattr(forecast_module, "Steps", noted)
    config = load_config(folder / "config.toml", tuned)
    tokenizer = Tokenizer.load(run / "tokenizer")
    forecast_module._measure(with_vocabulary(config, tokenizer), str(run / "tokenizer"), "cpu", Processes())
    assert 0 < tried[0] < 5000 < load_model(run).model.output.weight.numel()
    other = load_config(folder / "config.toml", [*tuned, "model.d_model=64"])
    (finding,) = examine(other, folder / "run").findings
    assert "`model.d_model` = 64" in finding.message


def test_steps_that_minimise_the_risk_are_tried_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(load_config(folder / "config.toml"), folder / "base", device="cpu")
    tokenizer = Tokenizer.load(run / "tokenizer")
    lengths: list[tuple[int, int]] = []  # of references, and of the longest candidate of each
    search = RiskLoss._candidates

    def noted(self: RiskLoss, batch: Batch, references: list[list[int]]) -> list[list[Hypothesis]]:
        found = search(self, batch, references)
        longest = (max(len(each.tokens) + 1 for each in candidates) for candidates in found)
        lengths.extend(zip(map(len, references), longest, strict=True))
        return found

    monkeypatch.setattr(RiskLoss, "_candidates", noted)
    config = with_vocabulary(load_config(folder / "config.toml", ["training.minimum_risk=100"]), tokenizer)
    found = forecast_module._measure(config, str(run / "tokenizer"), "cpu", Processes())
    assert 0 < found.risk_tokens_per_second < found.tokens_per_second
    assert lengths and all(longest <= reference + 1 for reference, longest in lengths)
    assert "risk_batch_tokens" in forecast_module.less_memory(config.training)


def test_a_step_that_memory_does_not_suffice_for_is_a_finding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool(ThreadPoolExecutor):
        def __init__(self, size: int, context: object) -> None:
            super().__init__(size)

    def fail(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator:\ncan't allocate memory")

    monkeypatch.setattr(forecast_module, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(forecast_module, "_measure", fail)
    (finding,) = examine(load_config(folder / "config.toml"), folder / "run").findings
    assert (finding.check, finding.severity) == ("training", "error")
    assert "can't allocate memory" in finding.message and "lower `training.batch_tokens`" in finding.message
    assert "\n" not in finding.message


def test_the_verdict_is_the_exit_status(folder: Path, seq2seq, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    done = seq2seq("doctor", folder / "config.toml")
    assert done.status == 0
    assert done.lines[-1] == "sound: training can begin"
    assert any(line.startswith("tokenizer: 0.00% of source and 0.00% of target characters") for line in done.lines)
    overlap(folder)
    done = seq2seq("doctor", folder / "config.toml")
    assert done.status == 1
    assert any(line.startswith("pairs near training text: ") for line in done.lines)
    assert done.lines[-2].startswith("error: overlap: `data.test`: 25.0%")
    assert done.lines[-1].startswith("not sound")


def test_languages_are_told_by_their_names_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    german = "Der Hund läuft schnell über die grüne Wiese und bellt laut."
    english = "The dog runs quickly across the green meadow and barks loudly."
    for name, size in {"train": 400, "valid": 40, "test": 40}.items():
        write(folder / f"{name}.de", [f"{english} {name} {i}" for i in range(size)])
        write(folder / f"{name}.en", [f"{german} {name} {i}" for i in range(size)])
    languages = ["tokenizer.vocab_size=60", "data.source_language=de", "data.target_language=en"]
    found = examine(load_config(folder / "config.toml", languages), folder / "run")
    swapped = [finding.message for finding in found.findings if finding.check == "swapped languages"]
    assert any("`data.train`: 100.0% of the pairs are not de-en" in message for message in swapped)
    # One of three corpora is enough.
    for side, texts in {"de": (german, german, english), "en": (english, english, german)}.items():
        write(folder / f"train.{side}", [f"{texts[i % 3]} train {i}" for i in range(400)])
    found = examine(load_config(folder / "config.toml", languages), folder / "run")
    assert any("`data.train`: 3" in finding.message for finding in found.findings)
