"""Import of Marian models as Hugging Face has them (OPUS-MT): a `MarianMTModel` folder or Hub id becomes a run.

transformers is not needed to read them, only to verify what was read against its own model and tokenizer.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from seq2seq.checkpoint import CheckpointInfo, LoadedRun, load_model, save_checkpoint
from seq2seq.config import Config, DataConfig, DecodingConfig, ModelConfig, TiedEmbeddings, TokenizerConfig, save_config
from seq2seq.data.batching import pad
from seq2seq.data.marian_tokenizer import MarianTokenizer
from seq2seq.data.tokenizer import MARIAN_FILES
from seq2seq.errors import ConfigError, ExportError, TokenizerError
from seq2seq.export.huggingface import ACTIVATIONS, HuggingFaceModel, import_transformers
from seq2seq.export.marian_weights import POSITIONS, embeddings, from_marian
from seq2seq.files import atomic_directory
from seq2seq.model.positions import sinusoidal_positions
from seq2seq.model.transformer import Transformer
from seq2seq.settings import from_dict
from seq2seq.weights import parameters_of

SILENT = -100.0  # the bias of a token without probability; not less, for fine-tuning smooths labels over it
TOLERANCE = 1e-4  # of a logit, in relation to the largest one where that is over 1
_POSITION_TOLERANCE = 1e-3  # some models are stored in float16
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SAFETENSORS, _PICKLED = "model.safetensors", "pytorch_model.bin"
_SMALL_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", *MARIAN_FILES)
_SAMPLES, _LONGEST, _LONG = 32, 40, 512  # sentences, their tokens, and the tokens of one that shows far positions
_PLAIN = (
    "Hello, world!", "  two  spaces ", "Ça coûte 3,50 €… “quoted”", "x" * 300, "漢字 and кириллица", ">>fra<< A code.",
    ">>unknown<< code",
)  # fmt: skip

# What `MarianConfig` has where config.json is silent.
_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 58101, "max_position_embeddings": 1024, "encoder_layers": 12, "encoder_ffn_dim": 4096,
    "encoder_attention_heads": 16, "decoder_layers": 12, "decoder_ffn_dim": 4096, "decoder_attention_heads": 16,
    "activation_function": "gelu", "d_model": 1024, "dropout": 0.1, "attention_dropout": 0.0,
    "activation_dropout": 0.0, "decoder_start_token_id": 58100, "scale_embedding": False, "eos_token_id": 0,
    "share_encoder_decoder_embeddings": True, "tie_word_embeddings": True,
}  # fmt: skip
# Settings of which our model, and that of transformers too, has only one value.
_ONLY: Mapping[str, Any] = {
    "normalize_before": False, "normalize_embedding": False, "add_final_layer_norm": False,
    "static_position_embeddings": True,
}  # fmt: skip


class Verified(NamedTuple):
    """How far the imported model and tokenizer agree with transformers' own."""

    logits: int  # compared
    largest: float  # difference of two logits
    texts: int  # whose token ids are equal

    def __str__(self) -> str:
        return (
            f"{self.logits:,} logits differ by {self.largest:.1e} at most; {self.texts} texts have the same tokens, "
            "as with transformers"
        )


def import_marian(
    source: str | Path, output: Path, revision: str | None = None, verify: bool = True
) -> Verified | None:
    """Make a run of a Marian model.

    Args:
        source: a folder, or the id of a model on the Hugging Face Hub such as `Helsinki-NLP/opus-mt-en-de`.
        output: the run directory to make, which appears only when it is complete and verified.
        revision: commit, tag or branch of the Hub's model.
        verify: whether to compare it with transformers' own model and tokenizer.

    Returns:
        What the comparison found; None if there was none.

    Raises:
        ExportError: if it is not a Marian model, or one that ours cannot be; if it cannot be read or fetched; if
            transformers is not installed, or has other results; or if `output` is there already.
    """
    if output.exists():
        raise ExportError(f"{output}: is there already; choose another --output")
    if verify:
        _need_transformers()
    folder = _find(source, revision)
    try:
        values = _read_json(folder / "config.json")
        weights, kind = _read_weights(folder, values)
        model = Transformer(_model_config(values, kind)).eval()
        from_marian(weights, model)
        tokenizer = _read_tokenizer(folder, values, model.config)
        _silence(model, tokenizer)
    except (ExportError, ConfigError, TokenizerError) as error:
        raise ExportError(f"{folder}: {error}") from None
    with atomic_directory(output) as run:
        tokenizer.save(run / "tokenizer")
        save_config(_config(folder, values, model.config, tokenizer, run), run / "config.toml")
        save_checkpoint(run, CheckpointInfo(step=0, tokenizer_hash=tokenizer.hash), parameters_of(model))
        return compare(load_model(run), HuggingFaceModel.load(folder)) if verify else None


def _silence(model: Transformer, tokenizer: MarianTokenizer) -> None:
    """Give tokens that were never learnt no probability, as `generate` does with `renormalize_logits`.

    Padding was added when the model was converted, with weights of 0. So its logit is 0, which may be the largest, and
    what is left for other tokens would differ from place to place.
    """
    padding, *_ = tokenizer.target.special_ids
    with torch.no_grad():
        model.output.bias[[padding, *tokenizer.target.unused]] = SILENT


def compare(ours: LoadedRun, theirs: HuggingFaceModel) -> Verified:
    """Compare logits and token ids on random sentences and some real ones; not those of tokens that are silent.

    Raises:
        ExportError: if they differ.
    """
    tokenizer, generator = ours.tokenizer, random.Random(1)
    sizes = tokenizer.source_vocab_size, tokenizer.target_vocab_size
    longest = min(_LONG, ours.config.model.max_length)
    lengths = [*(generator.randint(1, min(_LONGEST, longest) - 1) for _ in range(_SAMPLES)), longest - 1]
    sources, targets = (
        [[*(generator.randrange(size) for _ in range(length)), tokenizer.eos_id] for length in lengths]
        for size in sizes
    )
    texts = [*_PLAIN, *(tokenizer.decode_source(row) for row in sources)]
    texts = [text for text in texts if not re.search(r"</s>|<unk>|<pad>|>>.*\s.*<<", text)]
    for text, mine, other in zip(texts, tokenizer.encode_source(texts), theirs.encode(texts), strict=True):
        if mine != other:
            raise ExportError(f"not imported: the tokens of {text[:40]!r} are {mine[:9]}, transformers has {other[:9]}")
    count, largest, learnt = 0, 0.0, ours.model.output.bias != SILENT
    for i, everything in theirs.logits(sources, targets):
        logits, other_logits = _logits(ours, sources[i], targets[i])[:, learnt], everything[:, learnt]
        difference = float((logits - other_logits).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(other_logits.abs().max())):  # nor not a number
            raise ExportError(
                f"not imported: logits differ by {difference:.2g} from those of transformers (allowed: {TOLERANCE:g})"
            )
        count, largest = count + logits.numel(), max(largest, difference)
    return Verified(count, largest, len(texts))


@torch.inference_mode()
def _logits(ours: LoadedRun, source: list[int], target: list[int]) -> Tensor:
    tokens, mask = pad([source], 0)
    shifted = torch.tensor([[ours.tokenizer.start_id, *target[:-1]]])
    logits: Tensor = ours.model(tokens, mask, shifted)[0]
    return logits


def _need_transformers() -> None:
    try:
        import_transformers()
    except ExportError:
        raise ExportError(
            "verifying an import needs transformers: pip install 'seq2seq[huggingface]', or pass --no-verify"
        ) from None


def _find(source: str | Path, revision: str | None) -> Path:
    """The folder itself, or one that the Hub's model was fetched into."""
    folder = Path(source)
    if folder.is_dir():
        if revision:
            raise ExportError(f"--revision {revision}: is for the Hub, but {folder} is a folder; leave it out")
        return folder
    if not _HUB_ID.fullmatch(str(source)):
        raise ExportError(f"{source}: no such folder, nor an id on the Hugging Face Hub (OWNER/NAME)")
    import huggingface_hub

    def fetch(*patterns: str) -> Path:
        return Path(huggingface_hub.snapshot_download(str(source), revision=revision, allow_patterns=list(patterns)))

    try:
        folder = fetch(*_SMALL_FILES, _SAFETENSORS)
        return folder if (folder / _SAFETENSORS).exists() else fetch(*_SMALL_FILES, _PICKLED)
    except Exception as error:  # of whichever HTTP library the installed version uses
        reason = " ".join(str(error).split())
        version = f" (revision {revision})" if revision else ""
        raise ExportError(
            f"{source}{version}: cannot be fetched from the Hugging Face Hub: {reason:.160}; check the id and the "
            "connection, or download the model's folder elsewhere and give its path"
        ) from None


def _read_json(path: Path, needed: bool = True) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        if not needed:
            return {}
        raise ExportError(f"no {path.name} there; expected the folder of a MarianMTModel") from None
    except (ValueError, RecursionError):
        raise ExportError(f"{path.name} is not JSON; get the model again") from None
    if not isinstance(values, dict):
        raise ExportError(f"{path.name} is not an object of JSON; get the model again")
    return values


def _read_weights(folder: Path, values: Mapping[str, Any]) -> tuple[dict[str, Tensor], TiedEmbeddings]:
    """The tensors of the file in float32, with the embeddings under the names that they have apart, and their kind."""
    _check(values)
    stored = {name: tensor.float() for name, tensor in _read_tensors(folder).items()}
    for name in POSITIONS:
        if name in stored and not _sinusoidal(stored[name]):
            raise ExportError(f"weight {name!r}: holds no sinusoids; our models have no other positions")
    matrices, kind = embeddings(
        stored, bool(_value(values, "share_encoder_decoder_embeddings")), bool(_value(values, "tie_word_embeddings"))
    )
    return {**stored, **matrices}, kind


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    path = next((folder / name for name in (_SAFETENSORS, _PICKLED) if (folder / name).exists()), None)
    if path is None:
        raise ExportError(f"neither {_SAFETENSORS} nor {_PICKLED} there; a model in several files cannot be imported")
    try:
        if path.name == _SAFETENSORS:
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of unpickling, which is refused for all but tensors, they have no common root
        raise ExportError(f"{path.name} cannot be read: {' '.join(str(error).split()):.160}; get it again") from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ExportError(f"{path.name} holds no tensors by name; get the model again")
    return dict(tensors)


def _sinusoidal(table: Tensor) -> bool:
    if table.dim() != 2:
        return False
    wanted = sinusoidal_positions(*table.shape)
    return wanted.shape == table.shape and torch.allclose(table, wanted, rtol=0, atol=_POSITION_TOLERANCE)


def _value(values: Mapping[str, Any], name: str) -> Any:
    return values.get(name, _DEFAULTS.get(name))


def _check(values: Mapping[str, Any]) -> None:
    """Refuse what is not Marian, and Marian models that ours cannot be."""
    kind = values.get("model_type")
    if kind != "marian":
        raise ExportError(f"`model_type` = {kind!r}: not a Marian model, and no other can be imported")
    for name, only in _ONLY.items():
        if values.get(name) not in (None, only):
            raise ExportError(f"`{name}` = {_json(values[name])}: cannot be imported, only {_json(only)}")
    for name in ("attention_heads", "ffn_dim"):
        encoder, decoder = (_value(values, f"{side}_{name}") for side in ("encoder", "decoder"))
        if encoder != decoder:
            raise ExportError(
                f"`encoder_{name}` = {encoder} and `decoder_{name}` = {decoder}: our models have one size for both "
                "sides; cannot be imported"
            )
    sizes = [_value(values, "vocab_size"), values.get("decoder_vocab_size")]
    if _value(values, "share_encoder_decoder_embeddings") and sizes[1] not in (None, sizes[0]):
        raise ExportError(
            f"`vocab_size` = {sizes[0]} and `decoder_vocab_size` = {sizes[1]}: but the sides share their embeddings; "
            "get the model again"
        )
    activation = _value(values, "activation_function")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ExportError(f"`activation_function` = {_json(activation)}: cannot be imported, only {known}")
    for name in ("decoder_start_token_id", "eos_token_id"):
        if type(_value(values, name)) is not int:
            raise ExportError(f"`{name}` = {_json(_value(values, name))}: expected one token id; cannot be imported")


def _model_config(values: Mapping[str, Any], kind: TiedEmbeddings) -> ModelConfig:
    source_size = _value(values, "vocab_size")
    settings = {
        "encoder_layers": _value(values, "encoder_layers"),
        "decoder_layers": _value(values, "decoder_layers"),
        "d_model": _value(values, "d_model"),
        "d_ff": _value(values, "encoder_ffn_dim"),
        "num_heads": _value(values, "encoder_attention_heads"),
        "dropout": _value(values, "dropout"),
        "attention_dropout": _value(values, "attention_dropout"),
        "activation_dropout": _value(values, "activation_dropout"),
        "norm": "post",
        "activation": ACTIVATIONS[_value(values, "activation_function")],
        "tied_embeddings": kind,
        "scale_embeddings": bool(_value(values, "scale_embedding")),
        "output_bias": True,
        "max_length": _value(values, "max_position_embeddings"),
        "source_vocab_size": source_size,
        "target_vocab_size": values.get("decoder_vocab_size") or source_size,
    }
    return from_dict(ModelConfig, settings)  # which checks the types, too


def _read_tokenizer(folder: Path, values: Mapping[str, Any], config: ModelConfig) -> MarianTokenizer:
    separate = _read_json(folder / "tokenizer_config.json", needed=False).get("separate_vocabs", False)
    names = MARIAN_FILES if separate else MARIAN_FILES[:-1]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ExportError(f"no {missing[0]} there; without its tokenizer, a model cannot be imported")
    files = {name: (folder / name).read_bytes() for name in names}
    start = _value(values, "decoder_start_token_id")
    tokenizer = MarianTokenizer(files, start, config.source_vocab_size, config.target_vocab_size)
    end = _value(values, "eos_token_id")
    if tokenizer.eos_id != end:
        raise ExportError(f"`eos_token_id` = {end}: but vocab.json has {tokenizer.eos_id} for </s>; get both again")
    return tokenizer


def _config(
    folder: Path, values: Mapping[str, Any], model: ModelConfig, tokenizer: MarianTokenizer, run: Path
) -> Config:
    """The settings of the run: the model's, and what the folder says of languages and search."""
    search = {**values, **_read_json(folder / "generation_config.json", needed=False)}
    languages = _read_json(folder / "tokenizer_config.json", needed=False)
    decoding = DecodingConfig()
    if type(search.get("num_beams")) is int and search["num_beams"] > 0:
        decoding = replace(decoding, beam_size=search["num_beams"])
    if isinstance(search.get("length_penalty"), int | float) and search["length_penalty"] >= 0:
        decoding = replace(decoding, length_penalty=float(search["length_penalty"]))
    return Config(
        data=DataConfig(
            source_language=str(languages.get("source_lang") or ""),
            target_language=str(languages.get("target_lang") or ""),
            max_length=model.max_length,  # what it was trained on is not known
        ),
        tokenizer=TokenizerConfig(
            path=str(run / "tokenizer"),
            algorithm="bpe" if tokenizer.algorithm == "bpe" else "unigram",
            vocab_size=tokenizer.target_vocab_size,
            joint=tokenizer.joint,
            byte_fallback=False,
        ),
        model=model,
        decoding=decoding,
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
