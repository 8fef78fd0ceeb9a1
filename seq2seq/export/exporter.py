"""A run in the format of another engine, verified before the folder appears."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from seq2seq.checkpoint import LoadedRun
from seq2seq.config import NO_STAGES, Config, DataConfig, DecodingConfig, save_config
from seq2seq.decoding.loading import load_engine
from seq2seq.errors import ExportError
from seq2seq.export.output import mark
from seq2seq.export.verification import EngineModel, Foreign, Report, sample_sentences, verify
from seq2seq.files import atomic_directory

_LOG = logging.getLogger(__name__)

Format = Literal["ctranslate2", "huggingface", "onnx"]
Quantization = Literal["float32", "int8", "int8_float32", "int8_float16", "int16", "float16", "bfloat16"]
# Settings of the search that stay behind, and those that our own engines obey, but not the script of an export.
_LOST: Mapping[Format, Sequence[str]] = {
    "ctranslate2": ["min_length_ratio", "epsilon"],
    "huggingface": ["mbr", "length_reward", "max_length_ratio", "max_length_offset"],
    "onnx": [],
}
_NOT_IN_SCRIPT: Mapping[Format, Sequence[str]] = {
    "ctranslate2": ["mbr", "length_reward", "sample"],
    "huggingface": [],
    "onnx": ["mbr", "length_reward", "sample", "min_length_ratio", "no_repeat_ngram"],
}


def export(
    loaded: LoadedRun,
    form: Format,
    output: Path,
    quantization: Quantization = "float32",
    verified: bool = True,
    sentences: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
) -> Report | None:
    """Write a run for another engine into the folder `output`, which appears only when it is verified.

    Args:
        loaded: the run.
        form: the format.
        output: the folder to make; what stands there is replaced.
        quantization: of the weights, for CTranslate2.
        verified: whether to compare what was written with the run.
        sentences: to compare on; by default, those of `sample_sentences`.
        references: of these, to report the BLEU of a quantised model.

    Returns:
        What the comparison found; None if there was none.

    Raises:
        ExportError: if the format cannot express the model, or the comparison finds another model.
        DecodingError: if a package that the format needs is not installed.
    """
    if quantization != "float32" and form != "ctranslate2":
        raise ExportError(f"--quantization {quantization}: is for ctranslate2; the format {form} has float32 weights")
    report = None
    with atomic_directory(output) as folder:
        _warn_of_rules(loaded.config.decoding, form, quantization)
        _write(loaded, form, folder, quantization)
        mark(folder, format=form, quantization=quantization, tokenizer=loaded.tokenizer.hash)
        if verified:
            report = verify(
                loaded,
                open_export(form, folder),
                sample_sentences(loaded) if sentences is None else _tagged(sentences, loaded.config.decoding.tag),
                quantised=quantization != "float32",
                references=references,
            )
            if report.faults:
                faults = "; ".join(report.faults)
                raise ExportError(f"{output}: not written, since the {form} model is not the same: {faults}")
    return report


def _tagged(sentences: Sequence[str], tag: str) -> list[str]:
    """Sentences with what `translate` would put before each of them."""
    return [f"{tag} {text}" if tag and text.strip() else text for text in sentences]


def open_export(form: Format, folder: Path) -> Foreign:
    """A folder that was written, opened by the engine that it is for, on the CPU."""
    match form:
        case "ctranslate2" | "onnx":
            opened = load_engine(folder, "cpu", form)
            return EngineModel(opened.engine, opened.tokenizer)  # type: ignore[arg-type]  # both can score
        case "huggingface":
            from seq2seq.export.huggingface import HuggingFaceModel

            return HuggingFaceModel.load(folder)


def _warn_of_rules(decoding: DecodingConfig, form: Format, quantization: Quantization) -> None:
    """Say which of a run's ways of choosing a translation stay behind."""
    names = ["shortlist", *(["precision"] if quantization == "float32" else []), *_LOST[form]]
    for name in (*names, *_NOT_IN_SCRIPT[form]):
        value = getattr(decoding, name)
        if value != getattr(DecodingConfig(), name):
            where = "translate.py" if name in _NOT_IN_SCRIPT[form] else "what is written"
            _LOG.warning("`decoding.%s` = %r: is not in the format %s; %s has it not", name, value, form, where)
    if form == "ctranslate2" and decoding.patience < 1 and not decoding.sample:
        _LOG.warning("`decoding.patience` = %g: translate.py has it, our engine for CTranslate2 1", decoding.patience)


def _write(loaded: LoadedRun, form: Format, folder: Path, quantization: Quantization) -> None:
    match form:
        case "ctranslate2":
            from seq2seq.export import ctranslate2

            ctranslate2.write(loaded, folder, None if quantization == "float32" else quantization)
        case "huggingface":
            from seq2seq.export import huggingface

            huggingface.write(loaded, folder)
        case "onnx":
            from seq2seq.export import onnx

            onnx.write(loaded, folder)
    if form != "huggingface":  # whose config.json says it all
        # `--quantization` says the precision, and shortlists are for our own search alone.
        decoding = replace(loaded.config.decoding, precision="float32", shortlist=False)
        if form == "ctranslate2":
            decoding = ctranslate2.without_unknown(decoding)
        save_config(without_data(replace(loaded.config, decoding=decoding)), folder / "config.toml")


def without_data(config: Config) -> Config:
    """A config that says nothing of the machine and the files that a run was trained on."""
    languages = DataConfig(
        source_language=config.data.source_language,
        target_language=config.data.target_language,
        max_length=config.data.max_length,
    )
    tokenizer = replace(config.tokenizer, path="")
    training = replace(
        config.training, initialise_from="", freeze=(), lora_rank=0, lora_embedding_rank=0, r_drop=0.0
    )
    return replace(
        config,
        data=languages,
        tokenizer=tokenizer,
        training=training,
        **NO_STAGES,
    )
