"""From a folder to an engine that is ready to translate."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seq2seq.checkpoint import load_model, resolve
from seq2seq.config import Config, load_config
from seq2seq.data.lexicon import Lexicon
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.engine import Engine, EngineName, TorchEngine
from seq2seq.decoding.ensemble import EnsembleEngine
from seq2seq.decoding.reranking import ReverseModel, check_directions
from seq2seq.devices import choose_device
from seq2seq.errors import CheckpointError, DecodingError, TokenizerError
from seq2seq.languages import differ

# The file by which an exported folder is known.
EXPORTED: dict[EngineName, str] = {"ctranslate2": "model.bin", "onnx": "decoder.onnx"}


MARK = "seq2seq.json"  # in each export, what it says of itself


class LoadedEngine(NamedTuple):
    """An engine with what belongs to it."""

    engine: Engine
    tokenizer: Tokenizer
    config: Config


def load_engine(path: Path | str, device: str = "auto", name: EngineName = "torch") -> LoadedEngine:
    """An engine from a run, one checkpoint of it, a folder that `seq2seq export` made for the engine, or a package.

    Raises:
        CheckpointError, TokenizerError: if something is missing, damaged, or not for this engine.
        ConfigError: if this machine has no such device.
        DecodingError: if the engine is not installed, or cannot compute this model.
    """
    path = Path(path)
    # A package has it beside the run. What lies so in a run may be of other weights.
    if name != "torch" and (path / MARK).exists() and (path / name / EXPORTED[name]).exists():
        path = path / name
    exported = export_in(path)
    if exported is not None and exported != name:
        raise CheckpointError(f"{path}: is an export for {exported}; add --engine {exported}, or name a run")
    if name == "torch":
        loaded = load_model(path, str(choose_device(device)))
        lexicon = Lexicon.load(resolve(path)[0])
        return LoadedEngine(TorchEngine(loaded.model, loaded.tokenizer, lexicon), loaded.tokenizer, loaded.config)
    if name == "onnx" and exported is None:
        command = "seq2seq export RUN --format onnx --output DIR"
        raise CheckpointError(f"{path}: is no export for onnx; `{command}` makes one")
    if exported is None:
        return _converted(path, device)
    tokenizer, config = Tokenizer.load(path / "tokenizer"), load_config(path / "config.toml")
    _check_tokenizer(path, tokenizer)
    if name == "onnx":
        from seq2seq.decoding.onnx import OnnxEngine

        return LoadedEngine(OnnxEngine(path, tokenizer, config.model.max_length, device), tokenizer, config)
    from seq2seq.decoding.ctranslate2 import Ctranslate2Engine

    return LoadedEngine(Ctranslate2Engine(path, tokenizer, config.model.max_length, device), tokenizer, config)


def _check_tokenizer(path: Path, tokenizer: Tokenizer) -> None:
    """Refuse an export whose tokenizer was exchanged, as far as the export says which one it was made with."""
    try:
        said = json.loads((path / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    made_with = said.get("tokenizer") if isinstance(said, dict) else None
    if isinstance(made_with, str) and made_with != tokenizer.hash:
        raise TokenizerError(
            f"{path / 'tokenizer'}: is {tokenizer.hash[:12]}, and the export was made with {made_with[:12]}; put that "
            "one back, or export the run again"
        )


def export_in(path: Path) -> EngineName | None:
    """The engine that a folder was exported for, if it is an export."""
    return next((engine for engine, file in EXPORTED.items() if (path / file).exists()), None)


def load_ensemble(paths: Sequence[Path | str], device: str = "auto", name: EngineName = "torch") -> LoadedEngine:
    """Runs or checkpoints as one engine that averages their probabilities, with the settings of the first; one is it.

    Raises:
        DecodingError: if the engine is not torch, or the runs do not share a tokenizer or their languages.
        CheckpointError, TokenizerError, ConfigError: as `load_engine`.
    """
    first, *others = paths
    if not others:
        return load_engine(first, device, name)
    if name != "torch":
        raise DecodingError(f"an ensemble of {len(paths)} runs: the {name} engine cannot; use --engine torch")
    members = [load_engine(path, device) for path in paths]
    tokenizer = members[0].tokenizer
    for path, member in zip(others, members[1:], strict=True):
        ours, theirs = (each.config.data.languages for each in (members[0], member))
        if differ(ours, theirs):
            raise DecodingError(
                f"{path}: translates {theirs[0]} to {theirs[1]}, and {first} {ours[0]} to {ours[1]}; an ensemble takes "
                "runs of the same languages"
            )
        if member.tokenizer.hash != tokenizer.hash:
            raise DecodingError(
                f"{path}: its tokenizer is {member.tokenizer.hash[:12]}, and that of {first} is {tokenizer.hash[:12]}; "
                "an ensemble takes runs of one tokenizer: train the others with `tokenizer.path`"
            )
    engines = [member.engine for member in members if isinstance(member.engine, TorchEngine)]
    return LoadedEngine(EnsembleEngine(engines, tokenizer), tokenizer, members[0].config)


def load_reverse(run: Path | str, forward: Config, device: str = "auto") -> ReverseModel:
    """A run, or one checkpoint, that translates back what a run with the config `forward` translates.

    Raises:
        DecodingError: if it translates other languages.
        CheckpointError, TokenizerError: if something is missing or damaged.
        ConfigError: if this machine has no such device.
    """
    loaded = load_model(run, str(choose_device(device)))
    check_directions(forward, loaded.config, str(run))
    return ReverseModel(loaded.model, loaded.tokenizer, loaded.config.decoding.tag)


def _converted(run: Path, device: str) -> LoadedEngine:
    """A run as CTranslate2 has it, by way of a temporary folder: small models are converted within a second."""
    from seq2seq.decoding.ctranslate2 import Ctranslate2Engine, convert

    loaded = load_model(run)
    with tempfile.TemporaryDirectory() as folder:
        convert(loaded.model, loaded.tokenizer, Path(folder))
        engine = Ctranslate2Engine(Path(folder), loaded.tokenizer, loaded.config.model.max_length, device)
    return LoadedEngine(engine, loaded.tokenizer, loaded.config)
