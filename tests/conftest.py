"""What several tests share: a tiny corpus, a tiny run that was trained on it, and the console script."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import pytest
from click.testing import CliRunner
from hypothesis import settings

# Examples are not timed: a machine may have other work.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# In a shell's background, Ctrl-C is ignored, and programs that are started there leave it so: tests send it to some.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_logger() -> Iterator[None]:
    """Leave the library's logger as it was: a command that ran in this process has its own way of warning."""
    logger = logging.getLogger("seq2seq")
    handlers, propagates = logger.handlers[:], logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagates


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several processes of pytest one core: threads that share one wait for each other."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        import torch

        torch.set_num_threads(1)  # here alone, not in programs that tests start


# Seconds to train: one layer of 32 is enough to test all that is around a model.
CONFIG = """\
[data]
source_language = "de"
target_language = "en"
max_length = 64
train = [{ source = "train.de", target = "train.en" }]
validation = { source = "valid.de", target = "valid.en" }

[tokenizer]
vocab_size = 300

[model]
encoder_layers = 1
decoder_layers = 1
d_model = 32
d_ff = 64
num_heads = 2
max_length = 64

[training]
steps = 40
batch_tokens = 512
learning_rate = 0.01
warmup_steps = 10
log_every = 10
validate_every = 20

[decoding]
beam_size = 2
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders in which others work are refused at once."""
    monkeypatch.setattr("seq2seq.files._GRACE_S", 0.0)


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of stdout; only a line feed ends one."""
        assert not self.stdout or self.stdout.endswith(b"\n")
        return self.stdout.decode("utf-8").split("\n")[:-1]


class Command(Protocol):
    def __call__(self, *arguments: object, stdin: bytes = b"") -> Outcome: ...


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and a small corpus of made-up words, whose target side is the source side upper-cased."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = random.Random(1)
    words = ["".join(generator.choices("abcdefgh", k=generator.randint(2, 5))) for _ in range(100)]
    for name, size in {"train": 300, "valid": 20, "test": 20}.items():
        lines = [" ".join(generator.choices(words, k=generator.randint(1, 6))) for _ in range(size)]
        (folder / f"{name}.de").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        (folder / f"{name}.en").write_text("".join(f"{line.upper()}\n" for line in lines), encoding="utf-8")
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def trained_run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints; not to be changed."""
    from seq2seq.config import load_config
    from seq2seq.training.trainer import train

    return train(load_config(corpus / "config.toml"), tmp_path_factory.mktemp("runs") / "tiny", device="cpu")


@pytest.fixture(scope="session")
def seq2seq() -> Command:
    """Runs the installed console script's function in this process, which is quick."""
    (script,) = entry_points(group="console_scripts", name="seq2seq")
    function = script.load()

    def run(*arguments: object, stdin: bytes = b"") -> Outcome:
        result = CliRunner().invoke(function, [str(argument) for argument in arguments], input=stdin)
        return Outcome(result.exit_code, result.stdout_bytes, result.stderr)

    return run


@pytest.fixture(scope="session")
def script() -> str:
    """The path of the installed console script."""
    return str(Path(sysconfig.get_path("scripts")) / "seq2seq")


@pytest.fixture(scope="session")
def process(script: str) -> Command:
    """Runs the installed console script in a process of its own, where exit, signals and pipes are the real ones."""

    def run(*arguments: object, stdin: bytes = b"") -> Outcome:
        done = subprocess.run(
            [script, *map(str, arguments)], input=stdin, capture_output=True, timeout=120, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr.decode("utf-8"))

    return run
