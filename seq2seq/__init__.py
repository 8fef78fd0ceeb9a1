"""Train your own translator: a small, fast, readable sequence-to-sequence Transformer toolkit.

    from seq2seq import Translator
    print(Translator.load("runs/quickstart").translate(["Turn on the light."])[0].text)

Importing this package is quick: names are looked up when they are first used, and torch is loaded only then.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2seq.averaging import average as average
    from seq2seq.checkpoint import load_model as load_model
    from seq2seq.config import Config as Config
    from seq2seq.config import DecodingConfig as DecodingConfig
    from seq2seq.config import load_config as load_config
    from seq2seq.data.tokenizer import Tokenizer as Tokenizer
    from seq2seq.decoding.translator import Translator as Translator
    from seq2seq.errors import Seq2SeqError as Seq2SeqError
    from seq2seq.evaluation import score as score
    from seq2seq.model.transformer import Transformer as Transformer
    from seq2seq.training.fine_tuning import merge as merge
    from seq2seq.training.trainer import train as train

_HOMES = {
    "Config": "seq2seq.config.run",
    "DecodingConfig": "seq2seq.config.decoding",
    "Seq2SeqError": "seq2seq.errors",
    "Tokenizer": "seq2seq.data.tokenizer",
    "Transformer": "seq2seq.model.transformer",
    "Translator": "seq2seq.decoding.translator",
    "average": "seq2seq.averaging",
    "load_config": "seq2seq.config.files",
    "load_model": "seq2seq.checkpoint",
    "merge": "seq2seq.training.fine_tuning",
    "score": "seq2seq.evaluation",
    "train": "seq2seq.training.trainer",
}
__all__ = [
    "Config",
    "DecodingConfig",
    "Seq2SeqError",
    "Tokenizer",
    "Transformer",
    "Translator",
    "__version__",
    "average",
    "load_config",
    "load_model",
    "merge",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("seq2seq")
    if name not in _HOMES:
        raise AttributeError(f"module 'seq2seq' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
