"""onnxruntime computes the same as we do, for models of all kinds.

An export takes seconds, so few models stand for many: each value of each setting is in one of them.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest
import torch

from seq2seq.checkpoint import LoadedRun
from seq2seq.config import Config, DecodingConfig, TokenizerConfig
from seq2seq.data.marian_tokenizer import MarianTokenizer
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.decoding.engine import Task, TorchEngine
from seq2seq.decoding.onnx import OnnxEngine
from seq2seq.decoding.scoring import token_log_probs
from seq2seq.decoding.translator import Translator
from seq2seq.errors import DecodingError, ExportError
from seq2seq.export.onnx import write
from tests.marian_models import sentences, write_tokenizer
from tests.random_models import random_model

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

KINDS: dict[str, dict[str, object]] = {
    "relu": {"norm": "post", "activation": "relu", "tied_embeddings": "all", "output_bias": True},
    "gelu": {"norm": "pre", "activation": "gelu", "tied_embeddings": "decoder", "encoder_layers": 1},
    "silu": {"norm": "post", "activation": "silu", "tied_embeddings": "inputs", "scale_embeddings": False},
    "swiglu": {"norm": "pre", "activation": "swiglu", "tied_embeddings": "none", "decoder_layers": 1},
}
SEARCHES = {
    "greedy": DecodingConfig(beam_size=1),
    "beam": DecodingConfig(beam_size=5, n_best=5),
    "rules": DecodingConfig(beam_size=3, n_best=3, no_repeat_ngram=2, patience=2.0),
    "sample": DecodingConfig(sample=True, n_best=3, temperature=0.7, top_k=20, top_p=0.9),
}


@dataclass(frozen=True)
class Pair:
    """A model, in torch and as it was exported."""

    ours: TorchEngine
    theirs: OnnxEngine
    tokenizer: Tokenizer
    folder: Path


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    words = [f"{first}{second}{third}" for first in "abcdefg" for second in "hijk" for third in "lmnop"]
    config = TokenizerConfig(vocab_size=80, byte_fallback=False, algorithm="bpe")
    return train_tokenizer(config, words, words, tmp_path_factory.mktemp("tokenizer") / "t")


# Short enough that some translations are cut off.
SHORT = DecodingConfig(beam_size=1, max_length_ratio=0.75, max_length_offset=2)


def exported(kind: dict[str, object], tokenizer: Tokenizer, folder: Path) -> Pair:
    model = random_model(**kind)
    write(LoadedRun(model, Config(decoding=SHORT), tokenizer, folder), folder)
    theirs = OnnxEngine(folder, tokenizer, model.config.max_length, "cpu")
    return Pair(TorchEngine(model, tokenizer), theirs, tokenizer, folder)


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return exported(KINDS[request.param], tokenizer, tmp_path_factory.mktemp(request.param))


def some_tasks(number: int) -> list[Task]:
    """Of sources of 1 to 15 tokens and the end, with lengths of their own."""
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(1, 16, (number,), generator=generator).tolist()
    sources = [[*torch.randint(4, 80, (length,), generator=generator).tolist(), 3] for length in lengths]
    return [Task(source, 1 + i % 3, 4 + 5 * (i % 20), (1, i)) for i, source in enumerate(sources)]


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("number", [1, 40])
def test_search_finds_the_same(pair: Pair, search: str, number: int) -> None:
    tasks, config = some_tasks(number), SEARCHES[search]
    pair.theirs.check(config)
    found = zip(pair.ours.search(tasks, config), pair.theirs.search(tasks, config), strict=True)
    ties = 0  # of hypotheses of a random model that go on for long, which some processors round the other way
    for mine, other in found:
        assert [each.score for each in mine] == pytest.approx([each.score for each in other], rel=1e-5, abs=1e-5)
        if [each.tokens for each in mine] != [each.tokens for each in other]:
            ties += 1
            continue
        assert [each.log_prob for each in mine] == pytest.approx([each.log_prob for each in other], rel=1e-5, abs=1e-4)
    assert ties <= number // 40


@pytest.mark.parametrize("config", [DecodingConfig(precision="int8"), DecodingConfig(shortlist=True)])
def test_what_it_cannot_is_refused_by_name(pair: Pair, config: DecodingConfig) -> None:
    with pytest.raises(DecodingError, match=r"`decoding\.(precision|shortlist)` = .*: the onnx engine cannot"):
        pair.theirs.check(config)


def test_log_probabilities_are_the_same(pair: Pair) -> None:
    sources = [task.tokens for task in some_tasks(80)]  # more than one batch
    targets = sources[::-1]
    expected = token_log_probs(pair.ours.model, pair.tokenizer, sources, targets)
    for mine, other in zip(expected, pair.theirs.log_probs(sources, targets), strict=True):
        assert other == pytest.approx(mine.tolist(), abs=1e-4)


def translated_by_script(folder: Path, text: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, folder / "translate.py"], input=text.encode(), capture_output=True, check=True, timeout=60
    )
    assert not done.stderr
    assert done.stdout.endswith(b"\n")
    return done.stdout.decode("utf-8").removesuffix("\n").split("\n")


def test_the_script_finds_what_greedy_search_finds(pair: Pair) -> None:
    words = [f"{first}{second}{third}" for first in "ceg" for second in "ik" for third in "mo"]
    lines = [*(" ".join(islice(cycle(words), i, i + 1 + i % 5)) for i in range(12)), "", " \u2028 ", "unknown: ü"]
    ours, whole = (
        [each.text for each in Translator(pair.ours, pair.tokenizer, config).translate(lines)]
        for config in (SHORT, DecodingConfig(beam_size=1))
    )
    assert ours != whole
    assert translated_by_script(pair.folder, "\n".join(lines)) == ours


@pytest.mark.parametrize("separate", [False, True], ids=["one vocabulary", "two vocabularies"])
def test_the_script_cuts_as_marian_does(separate: bool, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "marian", separate)
    files = {path.name: path.read_bytes() for path in (tmp_path / "marian").iterdir()}
    start = MarianTokenizer(files, 0).pad_id if not separate else 5
    tokenizer = MarianTokenizer(files, start)
    folder = tmp_path / "export"
    folder.mkdir()
    kind = {
        "source_vocab_size": tokenizer.source_vocab_size, "target_vocab_size": tokenizer.target_vocab_size,
        "tied_embeddings": "none", "encoder_layers": 1, "decoder_layers": 1,
    }  # fmt: skip
    pair = exported(kind, tokenizer, folder)
    lines = [*sentences("source.spm", 8), ">>fra<< " + sentences("source.spm", 1)[0], "unbekannt: xyz", ""]
    ours = Translator(pair.ours, tokenizer, SHORT).translate(lines)
    assert translated_by_script(folder, "\n".join(lines) + "\n") == [each.text for each in ours]


def test_the_exporter_is_quiet(tokenizer: Tokenizer, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from seq2seq.checkpoint import LoadedRun\n"
        "from seq2seq.config import Config; from seq2seq.data.tokenizer import Tokenizer\n"
        "from seq2seq.export.onnx import write; from tests.random_models import random_model\n"
        "model, folder = random_model(encoder_layers=1, decoder_layers=1), Path(sys.argv[1])\n"
        "write(LoadedRun(model, Config(), Tokenizer.load(folder / 't'), folder), folder)\n"
    )
    tokenizer.save(tmp_path / "t")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, check=True, timeout=120, cwd=root
    )
    assert (done.stdout, done.stderr) == (b"", b"")


def test_a_missing_package_is_named(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"^format onnx: needs onnxscript: pip install 'seq2seq\[onnx\]'$"):
        write(LoadedRun(random_model(), Config(), tokenizer, tmp_path), tmp_path)
    assert not list(tmp_path.iterdir())
