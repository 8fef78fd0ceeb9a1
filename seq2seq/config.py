"""Every setting of a translation run, declared once: one `Config` value is the whole run.

From these classes come the TOML files, `--set`, `seq2seq settings` and the `config.toml` in every run directory.
Relative paths in a file are meant from the folder of that file, so a run with its data inside can be moved.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from seq2seq.errors import ConfigError
from seq2seq.settings import declared, from_dict, to_dict, with_overrides

Norm = Literal["pre", "post"]
Activation = Literal["relu", "gelu", "silu", "reglu", "geglu", "swiglu"]
Initialisation = Literal["glorot", "depth_scaled"]
TiedEmbeddings = Literal["none", "inputs", "decoder", "all"]
Schedule = Literal["inverse_sqrt", "cosine", "linear", "constant"]
Precision = Literal["float32", "bfloat16", "float16", "auto"]
WeightPrecision = Literal["float32", "int8", "bfloat16"]
Part = Literal["embeddings", "encoder", "decoder"]
Metric = Literal["bleu", "chrf", "loss"]


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Where sentence pairs come from: two text files, one file with both sides, or a data set of the Hub or on disk."""

    source: Annotated[str, "text file of the source side, one sentence a line (.gz, .zst too); goes with `target`"] = ""
    target: Annotated[str, "text file of the target side"] = ""
    path: Annotated[str, "a .tsv, .csv, .jsonl, .parquet, .tmx, .po, .xliff, OPUS .zip file, or a saved data set"] = ""
    dataset: Annotated[str, "name of a data set on the Hugging Face Hub, such as bentrevett/multi30k"] = ""
    subset: Annotated[str, "configuration name of the Hub data set"] = ""
    split: Annotated[str, "split of the data set"] = "train"
    revision: Annotated[str, "commit, tag or branch of the Hub data set; pin a commit to repeat a result"] = ""
    source_column: Annotated[str, "column of the source side; of .tsv its name in line 1, or a number from 0"] = ""
    target_column: Annotated[str, "column of the target side"] = ""
    weight: Annotated[
        float,
        "how often a training pair is seen in an epoch: 0.5: a half of them, drawn anew; 2: twice. Old data mixed into "
        "new keeps a fine-tuned model from forgetting",
    ] = 1.0
    tag: Annotated[str, "put before each source text, as one piece of the vocabulary: <2de>, <bt>"] = ""
    drop_empty: Annotated[bool, "drop (and count) pairs with an empty side instead of refusing the corpus"] = True
    prepare: Annotated[
        PrepareConfig | None, "of a training corpus: settings that differ from [prepare], such as { max_ratio = 2.0 }"
    ] = None

    def __post_init__(self) -> None:
        """Check that exactly one kind of place is named."""
        if bool(self.source) != bool(self.target):
            raise ConfigError("a corpus of text files needs both `source` and `target`")
        kinds = [name for name in ("source", "path", "dataset") if getattr(self, name)]
        if len(kinds) != 1:
            got = f"{len(kinds)} ({', '.join(kinds)})" if kinds else "none"
            raise ConfigError(f"a corpus is named by `source` and `target`, by `path` or by `dataset`: got {got}")
        _within("weight", self.weight, 0, 1000)
        _check_tag("tag", self.tag)


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """One stage of a curriculum (Bengio et al. 2009): for some epochs, the corpora come with weights of its own."""

    epochs: Annotated[int, "epochs until the next stage; the last stage goes on to the end"] = 1
    weights: Annotated[tuple[float, ...], "for each of `data.train`, in order, what else its `weight` says"] = ()

    def __post_init__(self) -> None:
        """Check the bounds."""
        _at_least("data.curriculum.epochs", self.epochs, 1)
        for weight in self.weights:
            _within("data.curriculum.weights", weight, 0, 1000)
        if not any(self.weights):
            raise ConfigError(f"`data.curriculum.weights` = {list(self.weights)}: name a weight over 0")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The languages and the corpora of a run."""

    source_language: Annotated[str, "language code of the source side, such as de"] = ""
    target_language: Annotated[str, "language code of the target side, such as en"] = ""
    train: Annotated[tuple[CorpusConfig, ...], "training corpora, read one after another"] = ()
    validation: Annotated[CorpusConfig | None, "held-out corpus that chooses the best checkpoint"] = None
    test: Annotated[CorpusConfig | None, "held-out corpus that is scored at the end, and only then"] = None
    max_length: Annotated[int, "longest side of a training pair in tokens; longer pairs are dropped"] = 256
    temperature: Annotated[
        float,
        "draw from corpora in proportion to their size to the power of 1/temperature (Arivazhagan et al. 2019): 1: as "
        "large as they are, 5: small ones more often. An epoch has as many pairs as all of them",
    ] = 1.0
    curriculum: Annotated[tuple[CurriculumConfig, ...], "stages with other weights, one after another"] = ()

    def __post_init__(self) -> None:
        """Check the bounds, and that one thing decides how often a corpus comes."""
        _at_least("data.max_length", self.max_length, 2)
        _at_least("data.temperature", self.temperature, 1)
        if self.temperature != 1 and (self.curriculum or any(corpus.weight != 1 for corpus in self.train)):
            raise ConfigError(
                f"`data.temperature` = {self.temperature}: takes the place of weights; leave it out, or them"
            )
        for stage in self.curriculum:
            if len(stage.weights) != len(self.train):
                raise ConfigError(
                    f"`data.curriculum.weights` = {list(stage.weights)}: one for each of the {len(self.train)} corpora "
                    "of `data.train`"
                )
        for name, corpus in (("validation", self.validation), ("test", self.test)):
            if corpus is not None and corpus.weight != 1:
                raise ConfigError(f"`data.{name}.weight` = {corpus.weight}: is for training corpora; leave it out")
            if corpus is not None and corpus.prepare is not None:
                raise ConfigError(f"`data.{name}.prepare`: is for training corpora, other text stays as it is")


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How training pairs are cleaned, in this order; validation and test text is never changed."""

    unicode_form: Annotated[
        Literal["none", "nfc", "nfkc"], "Unicode normalisation before all else; nfc: each accented letter one character"
    ] = "nfc"
    drop_mojibake: Annotated[bool, "drop pairs with wrongly decoded text, such as Ã¤ for ä"] = True
    max_characters: Annotated[int, "longest side of a pair in characters"] = 1000
    max_words: Annotated[int, "longest side of a pair in words, between spaces; 0 for no bound"] = 0
    max_ratio: Annotated[float, "longest allowed ratio of the sides' lengths in characters, for pairs over 20"] = 4.0
    max_repetition: Annotated[int, "most times that a letter or a word may come in a row; 0 for no bound"] = 0
    drop_copies: Annotated[bool, "drop pairs whose sides are the same, but for case, from four words on"] = False
    min_letters: Annotated[float, "least share of letters among a side's characters, from 0 to 1"] = 0.0
    source_scripts: Annotated[
        tuple[str, ...], "scripts that most letters of the source are of, by their Unicode names, such as LATIN"
    ] = ()
    target_scripts: Annotated[tuple[str, ...], "scripts of the target"] = ()
    match_numbers: Annotated[bool, "drop pairs whose sides hold different numbers, from 10 on"] = False
    drop_swapped: Annotated[
        bool, "drop pairs whose sides are swapped, by the words that most of the corpus has on each side"
    ] = False
    identify_language: Annotated[bool, "drop pairs with a side that is surely in another language; an extra"] = False
    remove_overlap: Annotated[bool, "remove training pairs with a side that occurs in validation or test text"] = True
    deduplicate: Annotated[bool, "keep the first of identical pairs only"] = True
    deduplicate_by: Annotated[
        Literal["exact", "normalised"], "what is identical; normalised: but for case, punctuation, space and numbers"
    ] = "exact"
    deduplicate_sides: Annotated[
        Literal["pair", "source", "target", "both"], "what must not have come before: the pair, a side, or either side"
    ] = "pair"

    def __post_init__(self) -> None:
        """Check the bounds."""
        _at_least("prepare.max_characters", self.max_characters, 1)
        _at_least("prepare.max_words", self.max_words, 0)
        _at_least("prepare.max_ratio", self.max_ratio, 1)
        _at_least("prepare.max_repetition", self.max_repetition, 0)
        _within("prepare.min_letters", self.min_letters, 0, 1)
        for name in ("source_scripts", "target_scripts"):
            for script in getattr(self, name):
                if not script.isupper():
                    raise ConfigError(f"`prepare.{name}`: {script!r}: write the script in capitals, such as LATIN")


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Noise put into training pairs, new in each epoch, so that a model learns to bear it; rates are from 0 to 1.

    Placeholders, names of files and the like keep their form.
    """

    typos: Annotated[float, "share of source words with a letter swapped, dropped, doubled or mistyped"] = 0.0
    upper_case: Annotated[float, "share of pairs in CAPITALS, on both sides"] = 0.0
    title_case: Annotated[float, "share of pairs With Capitals Like This in the source; the target stays"] = 0.0
    lower_case: Annotated[float, "share of pairs without capitals in the source; the target stays"] = 0.0
    no_final_punctuation: Annotated[float, "share of pairs without punctuation at the end, on both sides"] = 0.0
    no_punctuation: Annotated[float, "share of pairs without any punctuation in the source; the target stays"] = 0.0
    emoji: Annotated[float, "share of pairs with the same emoji in front or at the end of both sides"] = 0.0

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in declared(NoiseConfig):
            _within(f"noise.{name}", getattr(self, name), 0, 1)
        if self.upper_case + self.title_case + self.lower_case > 1:
            raise ConfigError("`noise.upper_case`, `title_case` and `lower_case`: are over 1 together; lower them")


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The SentencePiece tokenizer (Kudo and Richardson 2018)."""

    path: Annotated[str, "folder of an existing tokenizer; empty: train one on the training corpora"] = ""
    algorithm: Annotated[Literal["unigram", "bpe"], "unigram (Kudo 2018) or bpe (Sennrich et al. 2016)"] = "unigram"
    vocab_size: Annotated[int, "pieces in a vocabulary, special ones included"] = 8000
    joint: Annotated[bool, "one vocabulary for both sides; false: one for each side"] = True
    byte_fallback: Annotated[bool, "spell unknown characters in bytes, so that nothing is unknown"] = True
    character_coverage: Annotated[float, "share of the characters to cover; 0.9995 suits Chinese and Japanese"] = 1.0
    user_symbols: Annotated[tuple[str, ...], "strings that are always one piece, such as tags"] = ()
    normalization: Annotated[Literal["nfkc", "identity"], "Unicode normalisation of all text"] = "nfkc"
    max_sentences: Annotated[int, "lines sampled for training the tokenizer, 0 for all"] = 2_000_000
    seed: Annotated[int, "seed of that sample"] = 1

    def __post_init__(self) -> None:
        """Check the bounds."""
        _at_least("tokenizer.vocab_size", self.vocab_size, 8)
        _at_least("tokenizer.max_sentences", self.max_sentences, 0)
        _within("tokenizer.character_coverage", self.character_coverage, 0.5, 1)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The Transformer (Vaswani et al. 2017)."""

    preset: Annotated[Literal["custom", "tiny", "base", "big"], "sizes to start from; other settings go on top"] = (
        "custom"
    )
    encoder_layers: Annotated[int, "layers of the encoder"] = 6
    decoder_layers: Annotated[int, "layers of the decoder"] = 6
    d_model: Annotated[int, "width of the model"] = 512
    d_ff: Annotated[int, "inner width of the feed-forward layers"] = 2048
    num_heads: Annotated[int, "attention heads; must divide d_model"] = 8
    dropout: Annotated[float, "dropout on embeddings and on the output of every sub-layer"] = 0.1
    attention_dropout: Annotated[float, "dropout on attention weights"] = 0.0
    activation_dropout: Annotated[float, "dropout inside the feed-forward layers"] = 0.0
    norm: Annotated[Norm, "layer norm before each sub-layer, or after it as in the paper"] = "pre"
    initialisation: Annotated[
        Initialisation,
        "of the layers' matrices: Glorot's, or, for deep models, that of layer l divided by the square root of l "
        "(DS-Init, Zhang et al. 2019); matters when training begins only",
    ] = "glorot"
    activation: Annotated[Activation, "of the feed-forward layers; *glu are gated (Shazeer 2020)"] = "relu"
    tied_embeddings: Annotated[
        TiedEmbeddings,
        "matrices shared: none, decoder (its input and output), inputs (of source and target), or all three; the last "
        "two need a joint tokenizer",
    ] = "all"
    scale_embeddings: Annotated[bool, "multiply embeddings by the square root of d_model, as in the paper"] = True
    output_bias: Annotated[bool, "add a bias to the logits, as Marian does"] = False
    max_length: Annotated[int, "longest sequence in tokens that the model takes"] = 1024
    source_vocab_size: Annotated[int, "pieces of the source vocabulary; 0: taken from the tokenizer"] = 0
    target_vocab_size: Annotated[int, "pieces of the target vocabulary; 0: taken from the tokenizer"] = 0

    def __post_init__(self) -> None:
        """Check the bounds and what must fit together."""
        for name in ("encoder_layers", "decoder_layers", "d_model", "d_ff", "num_heads", "max_length"):
            _at_least(f"model.{name}", getattr(self, name), 1)
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            _within(f"model.{name}", getattr(self, name), 0, 0.99)
        if self.preset != "custom":
            raise ConfigError(
                f"`model.preset` = {self.preset!r}: is for config files; here, ModelConfig(**PRESETS[{self.preset!r}])"
            )
        if self.d_model % self.num_heads:
            raise ConfigError(f"`model.num_heads` = {self.num_heads}: must divide `model.d_model` = {self.d_model}")
        if self.d_model % 2:
            raise ConfigError(f"`model.d_model` = {self.d_model}: must be even, half sines and half cosines")
        if self.needs_joint_vocabulary and self.source_vocab_size != self.target_vocab_size:
            raise ConfigError(_needs_joint(self))

    @property
    def needs_joint_vocabulary(self) -> bool:
        """Whether one matrix serves the source and the target."""
        return self.tied_embeddings in ("inputs", "all")


# Vaswani et al. 2017, table 3, and for small corpora the sizes of the Transformer-Tiny of Wu et al. 2021 (arXiv
# 2105.14462), but with norms before the sub-layers (the README says what decided that).
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "custom": {},
    "tiny": {
        "encoder_layers": 4, "decoder_layers": 4, "d_model": 128, "d_ff": 256, "num_heads": 4, "dropout": 0.3,
        "norm": "pre",
    },
    "base": {"dropout": 0.1, "norm": "post"},
    "big": {"d_model": 1024, "d_ff": 4096, "num_heads": 16, "dropout": 0.3, "norm": "post"},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The optimiser, its schedule, and what is written when. A step is one update of the optimiser."""

    steps: Annotated[int, "steps to train"] = 100_000
    max_minutes: Annotated[
        float, "stop after so many minutes of training, 0 for no limit; cosine and linear schedules end by then"
    ] = 0.0
    batch_tokens: Annotated[int, "tokens in a micro-batch: sentences times the longest side, padding included"] = 4096
    accumulate: Annotated[int, "micro-batches whose gradients make one step, on each process"] = 1
    cpu_processes: Annotated[
        int,
        "on a CPU, processes of one thread that share each micro-batch: for small models faster than one process of as "
        "many threads, but each holds a model and its optimiser; 1: one process of all threads; 0: one for each core, "
        "up to four",
    ] = 1
    learning_rate: Annotated[float, "highest learning rate, reached after the warm-up"] = 5e-4
    schedule: Annotated[Schedule, "how the learning rate falls after the warm-up"] = "inverse_sqrt"
    warmup_steps: Annotated[int, "steps in which the learning rate rises from 0"] = 4000
    final_learning_rate: Annotated[float, "learning rate at the end, for cosine and linear"] = 0.0
    adam_betas: Annotated[tuple[float, ...], "the two decay rates of AdamW's moments"] = (0.9, 0.98)
    adam_epsilon: Annotated[float, "epsilon of AdamW"] = 1e-9
    weight_decay: Annotated[float, "decoupled weight decay of the matrices"] = 0.0
    clip_norm: Annotated[float, "largest norm of the gradient, 0 for no clipping"] = 1.0
    label_smoothing: Annotated[float, "probability spread over the vocabulary (Szegedy et al. 2016)"] = 0.1
    r_drop: Annotated[
        float,
        "alpha of R-Drop (Liang et al. 2021; theirs was 5), 0 for none: each pair is computed twice, with different "
        "dropout, and alpha times the divergence of the two distributions is minimised too; a step takes twice as long",
    ] = 0.0
    layer_drop: Annotated[
        float, "probability that a layer is left out of a batch's computation (LayerDrop, Fan et al. 2020)"
    ] = 0.0
    source_word_dropout: Annotated[
        float, "probability that a source token's embedding is zeroed, its position not (Sennrich et al. 2016, WMT)"
    ] = 0.0
    target_word_dropout: Annotated[float, "the same of the tokens that the decoder has seen"] = 0.0
    subword_sampling: Annotated[
        float, "unigram: smoothing of sampled segmentations (Kudo 2018); bpe: merge dropout (Provilkov et al. 2020)"
    ] = 0.0
    initialise_from: Annotated[
        str, "run or checkpoint to fine-tune: training starts from its weights, with its model and its tokenizer"
    ] = ""
    freeze: Annotated[tuple[Part, ...], "parts that keep their weights; embeddings: with the output projection"] = ()
    lora_rank: Annotated[
        int, "train only low-rank matrices beside the frozen weights (LoRA, Hu et al. 2021); 0: all weights"
    ] = 0
    lora_embedding_rank: Annotated[
        int, "the same beside embeddings and output, which a domain with other words needs; 0: these stay as they are"
    ] = 0
    lora_alpha: Annotated[float, "low-rank matrices count lora_alpha / lora_rank"] = 16.0
    lora_dropout: Annotated[float, "dropout before low-rank matrices"] = 0.0
    precision: Annotated[
        Precision,
        "of matrix products; bfloat16, float16: faster where there is support; auto: bfloat16 where the processor or "
        "GPU has it, else float32",
    ] = "float32"
    ema_decay: Annotated[float, "decay of an exponential moving average of the weights, 0 for none"] = 0.0
    seed: Annotated[int, "seed of the initial weights, the data order, dropout and subword sampling"] = 1
    log_every: Annotated[int, "steps between lines on the console and in metrics.jsonl"] = 50
    validate_every: Annotated[int, "steps between validations, 0 for none"] = 1000
    validation_metric: Annotated[Metric, "what chooses the best checkpoint and stops early"] = "bleu"
    validation_beam_size: Annotated[int, "beam size of the translations that validation scores"] = 1
    validation_sentences: Annotated[int, "validation pairs to translate, 0 for all; the loss takes all"] = 0
    checkpoint_every: Annotated[int, "steps between checkpoints, 0: at each validation"] = 0
    keep_checkpoints: Annotated[int, "latest checkpoints to keep, beside the best"] = 5
    patience: Annotated[int, "validations without improvement after which training stops, 0 for no early stopping"] = 0

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in (
            "steps", "batch_tokens", "accumulate", "log_every", "validation_beam_size", "keep_checkpoints",
        ):  # fmt: skip
            _at_least(f"training.{name}", getattr(self, name), 1)
        for name in (
            "max_minutes", "learning_rate", "warmup_steps", "final_learning_rate", "adam_epsilon", "weight_decay",
            "clip_norm", "validate_every", "validation_sentences", "checkpoint_every", "patience", "seed", "lora_rank",
            "lora_embedding_rank", "lora_alpha", "r_drop", "cpu_processes",
        ):  # fmt: skip
            _at_least(f"training.{name}", getattr(self, name), 0)
        for name in (
            "label_smoothing", "subword_sampling", "ema_decay", "lora_dropout", "layer_drop", "source_word_dropout",
            "target_word_dropout",
        ):  # fmt: skip
            _within(f"training.{name}", getattr(self, name), 0, 0.99999)
        if len(self.adam_betas) != 2 or not all(0 <= beta < 1 for beta in self.adam_betas):
            raise ConfigError(f"`training.adam_betas` = {list(self.adam_betas)}: expected two numbers from 0 to 1")
        if self.lora_rank and not self.initialise_from:
            raise ConfigError(f"`training.lora_rank` = {self.lora_rank}: needs a run in `training.initialise_from`")
        if self.lora_embedding_rank and not self.lora_rank:
            rank = self.lora_embedding_rank
            raise ConfigError(f"`training.lora_embedding_rank` = {rank}: set `training.lora_rank` too")
        if set(self.freeze) == set(get_args(Part)):
            raise ConfigError(f"`training.freeze` = {list(self.freeze)}: leaves nothing to train; take a part out")
        if self.lora_rank and self.freeze:
            raise ConfigError("`training.freeze`: LoRA freezes all but its own matrices; leave `freeze` out")


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """Search: beam search, greedy (a beam of 1), or sampling."""

    beam_size: Annotated[int, "hypotheses kept at each step; 1 is greedy"] = 5
    n_best: Annotated[int, "translations to give for each sentence; at most beam_size"] = 1
    length_penalty: Annotated[float, "alpha: scores are log-probability / length penalty; 0 for none"] = 1.0
    length_penalty_form: Annotated[
        Literal["power", "gnmt"], "length^alpha, or ((5 + length) / 6)^alpha (Wu et al. 2016, equation 14)"
    ] = "power"
    patience: Annotated[
        float, "the search ends at patience * beam_size finished hypotheses (Kasai et al. 2022)"
    ] = 1.0
    max_length_ratio: Annotated[float, "longest output in tokens: ratio * source tokens + max_length_offset"] = 2.0
    max_length_offset: Annotated[int, "tokens added to the longest output"] = 20
    min_length_ratio: Annotated[float, "shortest output in tokens: ratio * source tokens"] = 0.0
    no_repeat_ngram: Annotated[int, "n-grams of tokens of this size occur once at most, 0 for no rule"] = 0
    tag: Annotated[str, "put before each text to translate, as in training: <2de>; must be one piece"] = ""
    sample: Annotated[bool, "draw translations from the model instead of searching for the best"] = False
    temperature: Annotated[float, "of sampling; below 1 sharper"] = 1.0
    top_k: Annotated[int, "sample from the k likeliest tokens, 0 for all"] = 0
    top_p: Annotated[float, "sample from the likeliest tokens of this total probability (Holtzman et al. 2020)"] = 1.0
    epsilon: Annotated[float, "sample tokens of at least this probability only (Hewitt et al. 2022), 0 for all"] = 0.0
    seed: Annotated[int, "seed of sampling"] = 1
    mbr: Annotated[
        Literal["off", "chrf", "bleu"],
        "choose the candidate most like all others, by minimum Bayes risk (Eikema and Aziz 2020), and in which measure",
    ] = "off"
    candidates: Annotated[
        int, "found for each sentence, by beam search or sampling, where mbr or another run chooses among them"
    ] = 32
    reverse_weight: Annotated[
        float, "of a run that translates back: candidates get score + weight * score of the source (Yee et al. 2019)"
    ] = 0.5
    batch_size: Annotated[int, "sentences decoded together, at most"] = 64
    batch_tokens: Annotated[int, "source tokens decoded together, padding included, at most"] = 4096
    precision: Annotated[
        WeightPrecision,
        "of matrix products; int8 weights are rounded at loading: faster on a CPU, nearly the same translations",
    ] = "float32"
    shortlist: Annotated[
        bool, "consider only likely translations of the source's tokens, by the run's lexicon: faster, not the same"
    ] = False
    too_long: Annotated[Literal["split", "refuse"], "what becomes of sentences longer than the model takes"] = "split"

    def __post_init__(self) -> None:
        """Check the bounds and what must fit together."""
        for name in ("beam_size", "n_best", "candidates", "batch_size", "batch_tokens"):
            _at_least(f"decoding.{name}", getattr(self, name), 1)
        for name in (
            "length_penalty", "max_length_ratio", "max_length_offset", "min_length_ratio", "no_repeat_ngram", "top_k",
        ):  # fmt: skip
            _at_least(f"decoding.{name}", getattr(self, name), 0)
        _check_tag("decoding.tag", self.tag)
        _within("decoding.patience", self.patience, 0.01, 100)
        _within("decoding.top_p", self.top_p, 1e-6, 1)
        _within("decoding.epsilon", self.epsilon, 0, 1)
        _within("decoding.reverse_weight", self.reverse_weight, 0, 1000)
        _within("decoding.temperature", self.temperature, 1e-3, 100)
        most, name = (self.beam_size, "beam_size") if self.mbr == "off" else (self.candidates, "candidates")
        if self.n_best > most and not (self.sample and self.mbr == "off"):
            raise ConfigError(f"`decoding.n_best` = {self.n_best}: is over `decoding.{name}` = {most}")
        if self.min_length_ratio > self.max_length_ratio:
            raise ConfigError(
                f"`decoding.min_length_ratio` = {self.min_length_ratio}: is over "
                f"`decoding.max_length_ratio` = {self.max_length_ratio}"
            )


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Sequence-level knowledge distillation (Kim and Rush 2016): a recipe trains on a teacher's translations."""

    teacher: Annotated[
        str, "run or checkpoint that translates the source side of the training text; empty: no distillation"
    ] = ""
    beam_size: Annotated[int, "beam size of the teacher; all else is as its `decoding` says"] = 5
    weight: Annotated[float, "how often a distilled pair is seen in an epoch, as `data.train.weight`"] = 1.0
    original_weight: Annotated[
        float,
        "the same of the original pairs; 0: the student sees none of them, as in the paper. With both weights, it "
        "learns from the teacher and from smoothed labels (`training.label_smoothing`) in any proportion",
    ] = 0.0

    def __post_init__(self) -> None:
        """Check the bounds."""
        _at_least("distillation.beam_size", self.beam_size, 1)
        for name in ("weight", "original_weight"):
            _within(f"distillation.{name}", getattr(self, name), 0, 1000)
        if not (self.weight or self.original_weight):
            raise ConfigError("`distillation.weight` = 0: leaves nothing to train on; raise it, or `original_weight`")


@dataclass(frozen=True, kw_only=True)
class BackTranslationConfig:
    """Back-translation (Sennrich et al. 2016): a recipe trains on monolingual text with translations as its sources."""

    monolingual: Annotated[str, "text file in the target language, one sentence a line (.gz too); empty: none"] = ""
    reverse_model: Annotated[str, "run or checkpoint that translates from the target to the source language"] = ""
    tag: Annotated[
        str, "what stands before each such source (Caswell et al. 2019), as a `tokenizer.user_symbols`; empty: nothing"
    ] = "<bt>"
    beam_size: Annotated[int, "beam size of the reverse model; all else is as its `decoding` says"] = 5
    sample: Annotated[bool, "draw translations instead of searching for the best (Edunov et al. 2018)"] = False
    weight: Annotated[float, "how often such a pair is seen in an epoch, as `data.train.weight`"] = 1.0

    def __post_init__(self) -> None:
        """Check the bounds and what must fit together."""
        _at_least("back_translation.beam_size", self.beam_size, 1)
        _within("back_translation.weight", self.weight, 0, 1000)
        if bool(self.monolingual) != bool(self.reverse_model):
            missing = "monolingual" if self.reverse_model else "reverse_model"
            raise ConfigError(f"`back_translation.{missing}` = '': goes with the other one; set both, or neither")
        if self.tag != "".join(self.tag.split()):
            raise ConfigError(f"`back_translation.tag` = {self.tag!r}: holds space; take one word, such as <bt>")


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """What a recipe does around training."""

    description: Annotated[str, "one line for `seq2seq recipe list`"] = ""
    average: Annotated[int, "latest checkpoints to average after training, 0 for none"] = 0
    ensemble: Annotated[
        int, "models that translate the test text together, trained one after another with other seeds; 1: one model"
    ] = 1
    samples: Annotated[int, "held-out sentences to show with translation and reference at the end"] = 8
    validation_size: Annotated[int, "pairs held out for validation, where the corpus has no split of its own"] = 500
    test_size: Annotated[int, "pairs held out for the test, where the corpus has no split of its own"] = 1000

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in ("average", "samples"):
            _at_least(f"recipe.{name}", getattr(self, name), 0)
        for name in ("ensemble", "validation_size", "test_size"):
            _at_least(f"recipe.{name}", getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole translation run."""

    data: DataConfig = field(default_factory=DataConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    back_translation: BackTranslationConfig = field(default_factory=BackTranslationConfig)

    @property
    def segments_anew(self) -> bool:
        """Whether each epoch makes token ids of the training text anew, since text or segmentation is random."""
        return bool(self.training.subword_sampling) or self.noise != NoiseConfig()

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags that are put before source text, each once; they must be pieces of the vocabulary."""
        corpora = [*self.data.train, *(each for each in (self.data.validation, self.data.test) if each)]
        return tuple(dict.fromkeys(tag for tag in (*(each.tag for each in corpora), self.decoding.tag) if tag))

    @property
    def prepare_each(self) -> tuple[PrepareConfig, ...]:
        """How each training corpus is cleaned."""
        return tuple(corpus.prepare or self.prepare for corpus in self.data.train)

    def __post_init__(self) -> None:
        """Check what must fit together across sections."""
        if self.model.needs_joint_vocabulary and not self.tokenizer.joint:
            raise ConfigError(_needs_joint(self.model))
        if self.training.r_drop and not self._has_dropout:
            raise ConfigError(
                f"`training.r_drop` = {self.training.r_drop}: compares what different dropout makes, and there is "
                "none; set `model.dropout`"
            )
        if self.data.max_length > self.model.max_length:
            raise ConfigError(
                f"`data.max_length` = {self.data.max_length}: is over `model.max_length` = {self.model.max_length}"
            )
        for number, own in enumerate(self.prepare_each):
            for name in ("deduplicate", "deduplicate_by", "deduplicate_sides"):
                if getattr(own, name) != getattr(self.prepare, name):
                    place = f"data.train[{number}].prepare.{name}"
                    raise ConfigError(f"`{place}`: must be the same for all corpora; set `prepare.{name}`")
        if self.recipe.average > self.training.keep_checkpoints:
            raise ConfigError(
                f"`recipe.average` = {self.recipe.average}: is over "
                f"`training.keep_checkpoints` = {self.training.keep_checkpoints}"
            )

    @property
    def _has_dropout(self) -> bool:
        """Whether two computations of a pair differ in training."""
        model, training = self.model, self.training
        of_words = training.source_word_dropout or training.target_word_dropout
        return bool(model.dropout or model.attention_dropout or model.activation_dropout or of_words)


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file, lay `KEY=VALUE` overrides over it, and resolve relative paths from the file's folder.

    Raises:
        ConfigError: if the file is missing, is not TOML or UTF-8, or holds an unknown or ill-typed setting.
    """
    path = Path(path)
    values, folder = _read_toml(path), path.resolve().parent
    try:
        return resolve_paths(config_from_dict(values, overrides, folder), folder)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file; `seq2seq recipe copy NAME DIR` gives one") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the config file is not UTF-8; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def config_from_dict(
    values: Mapping[str, Any], overrides: Sequence[str] = (), folder: Path | None = None
) -> Config:
    """A config from nested plain values; a model preset, or a run to fine-tune, fills in what the values leave open.

    Args:
        values: by section and name.
        overrides: `KEY=VALUE` to lay over them.
        folder: from which the path of the run to fine-tune is meant.
    """
    merged = with_overrides(Config, values, overrides)
    merged = _with_own_prepare(_with_base(merged, folder or Path()))
    model = merged.get("model", {})
    preset = model.get("preset", "custom") if isinstance(model, dict) else "custom"
    if isinstance(model, dict) and isinstance(preset, str) and preset in PRESETS:
        # The sizes are spelled out from here on, so a saved config does not change when a preset does.
        merged["model"] = {**PRESETS[preset], **model, "preset": "custom"}
    return from_dict(Config, merged)


def _with_base(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values, with the model and the tokenizer settings of the run that is to be fine-tuned beneath them.

    A run that is not there any more, as may be when a fine-tuned one is loaded, has left its settings in the values.
    """
    training = values.get("training")
    path = training.get("initialise_from") if isinstance(training, dict) else None
    if not isinstance(path, str) or not path or _says_all(values):
        return values
    run = Path(_absolute(path, folder))
    file = next((place / "config.toml" for place in (run, run.parent.parent) if (place / "config.toml").exists()), None)
    if file is None:
        return values
    base = _read_toml(file)  # as it stands: a run's config spells all out, whatever it was fine-tuned from itself
    sections = {name: values.get(name, {}) for name in ("model", "tokenizer")}
    preset = PRESETS.get(sections["model"].get("preset", "custom"), {}) if isinstance(sections["model"], dict) else {}
    below = {"model": {**base.get("model", {}), **preset}, "tokenizer": {**base.get("tokenizer", {}), "path": ""}}
    beneath = {name: {**below[name], **section} for name, section in sections.items() if isinstance(section, dict)}
    return {**values, **beneath}


def _with_own_prepare(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with [prepare] beneath what a training corpus has of it."""
    data, common = values.get("data"), values.get("prepare", {})
    corpora = data.get("train") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(corpora, list) or not isinstance(common, dict):
        return values  # what is wrong with it is told later

    def whole(corpus: Any) -> Any:
        own = corpus.get("prepare") if isinstance(corpus, dict) else None
        return {**corpus, "prepare": {**common, **own}} if isinstance(own, dict) else corpus

    return {**values, "data": {**data, "train": [whole(corpus) for corpus in corpora]}}


def _says_all(values: Mapping[str, Any]) -> bool:
    """Whether nothing of the model and the tokenizer is open, as in the config.toml of a run: it needs no other run."""
    sections = ((values.get("model"), ModelConfig), (values.get("tokenizer"), TokenizerConfig))
    return all(isinstance(given, dict) and declared(cls).keys() <= given.keys() for given, cls in sections)


def config_to_dict(config: Config) -> dict[str, Any]:
    """Nested plain values from which `config_from_dict` makes the same config."""
    return to_dict(config)


def save_config(config: Config, path: Path) -> None:
    """Write a config as TOML; paths inside the file's folder are written relative to it, others absolute."""
    import tomli_w

    from seq2seq.files import atomic_write

    folder = path.resolve().parent
    relative = _map_paths(config, lambda text: _relative(text, folder))
    with atomic_write(path) as file:
        file.write(tomli_w.dumps(config_to_dict(relative)))


def resolve_paths(config: Config, folder: Path) -> Config:
    """The config with every relative path made absolute, from `folder`."""
    return _map_paths(config, lambda text: _absolute(text, folder))


def _map_paths(config: Config, change: Callable[[str], str]) -> Config:
    def corpus(value: CorpusConfig) -> CorpusConfig:
        source, target, path = (text and change(text) for text in (value.source, value.target, value.path))
        return replace(value, source=source, target=target, path=path)

    data = replace(
        config.data,
        train=tuple(corpus(item) for item in config.data.train),
        validation=config.data.validation and corpus(config.data.validation),
        test=config.data.test and corpus(config.data.test),
    )
    tokenizer = config.tokenizer
    if tokenizer.path:
        tokenizer = replace(tokenizer, path=change(tokenizer.path))
    training = config.training
    if training.initialise_from:
        training = replace(training, initialise_from=change(training.initialise_from))
    distillation, back = config.distillation, config.back_translation
    if distillation.teacher:
        distillation = replace(distillation, teacher=change(distillation.teacher))
    if back.monolingual:
        back = replace(back, monolingual=change(back.monolingual), reverse_model=change(back.reverse_model))
    return replace(
        config, data=data, tokenizer=tokenizer, training=training, distillation=distillation, back_translation=back
    )


def _absolute(text: str, folder: Path) -> str:
    try:
        return os.path.normpath(folder / Path(text).expanduser())
    except RuntimeError:
        raise ConfigError(f"path {text!r}: there is no such user; write the home directory out") from None


def _relative(text: str, folder: Path) -> str:
    """A path within a folder as seen from there; another one as it was given: what it links to may have any name."""
    path = Path(_absolute(text, Path.cwd()))
    within = path.parent.resolve() / path.name
    return within.relative_to(folder).as_posix() if within.is_relative_to(folder) else str(path)


def _needs_joint(model: ModelConfig) -> str:
    return f"`model.tied_embeddings` = {model.tied_embeddings!r}: needs `tokenizer.joint` = true; or use 'decoder'"


def _check_tag(name: str, tag: str) -> None:
    if len(tag.split()) > 1 or tag != tag.strip():
        raise ConfigError(f"`{name}` = {tag!r}: has space in it; write it as one word, such as <2de>")


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"`{name}` = {value}: must be at least {least}")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"`{name}` = {value}: must be from {low} to {high}")
