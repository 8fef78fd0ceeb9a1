"""Settings of the text: corpora, cleaning, noise, and the tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from seq2seq.config.bounds import at_least, check_tag, within
from seq2seq.errors import ConfigError
from seq2seq.settings import declared


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Where sentence pairs come from: two text files, one file with both sides, or a data set of the Hub or on disk."""

    source: Annotated[str, "text file of the source side, one sentence a line (.gz, .zst too); goes with `target`"] = ""
    target: Annotated[str, "text file of the target side"] = ""
    path: Annotated[
        str, "a .tsv, .csv, .jsonl, .tmx (also .gz, .zst), .parquet, .po, .xliff or OPUS .zip file, or a saved data set"
    ] = ""
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
        within("weight", self.weight, 0, 1000)
        check_tag("tag", self.tag)


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """One stage of a curriculum (Bengio et al. 2009): for some epochs, the corpora come with weights of its own."""

    epochs: Annotated[int, "epochs until the next stage; the last stage goes on to the end"] = 1
    weights: Annotated[tuple[float, ...], "for each of `data.train`, in order, what else its `weight` says"] = ()

    def __post_init__(self) -> None:
        """Check the bounds."""
        at_least("data.curriculum.epochs", self.epochs, 1)
        for weight in self.weights:
            within("data.curriculum.weights", weight, 0, 1000)
        if not any(self.weights):
            raise ConfigError(f"`data.curriculum.weights` = {list(self.weights)}: name a weight over 0")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The languages and the corpora of a run."""

    source_language: Annotated[str, "language code of the source side, such as de"] = ""
    target_language: Annotated[str, "language code of the target side, such as en"] = ""
    train: Annotated[tuple[CorpusConfig, ...], "training corpora, read one after another"] = ()
    validation: Annotated[CorpusConfig | None, "held-out corpus that chooses the best checkpoint"] = None
    test: Annotated[CorpusConfig | None, "held-out corpus that a recipe scores at the end, and only then"] = None
    max_length: Annotated[
        int, "longest side of a training pair in tokens; longer pairs are dropped, longer text is translated in parts"
    ] = 256
    temperature: Annotated[
        float,
        "draw from corpora in proportion to their size to the power of 1/temperature (Arivazhagan et al. 2019): 1: as "
        "large as they are, 5: small ones more often. An epoch has as many pairs as all of them",
    ] = 1.0
    curriculum: Annotated[tuple[CurriculumConfig, ...], "stages with other weights, one after another"] = ()
    last_weights: Annotated[
        tuple[float, ...],
        "for each of `train`, in order, its weight in the last part of training, which begins at `training.last_from`",
    ] = ()
    risk_weights: Annotated[
        tuple[float, ...],
        "for each of `train`, in order, its weight while the risk is minimised (`training.minimum_risk`); none: as "
        "before. Recipes leave out what models made",
    ] = ()

    def __post_init__(self) -> None:
        """Check the bounds, and that one thing decides how often a corpus comes."""
        at_least("data.max_length", self.max_length, 2)
        at_least("data.temperature", self.temperature, 1)
        if self.temperature != 1 and (self.curriculum or any(corpus.weight != 1 for corpus in self.train)):
            raise ConfigError(
                f"`data.temperature` = {self.temperature}: takes the place of weights; leave it out, or them"
            )
        if self.train and not self.curriculum and not any(corpus.weight for corpus in self.train):
            raise ConfigError("`data.train`: every `weight` is 0, which leaves nothing to train on; raise one")
        for stage in self.curriculum:
            if len(stage.weights) != len(self.train):
                raise ConfigError(
                    f"`data.curriculum.weights` = {list(stage.weights)}: one for each of the {len(self.train)} corpora "
                    "of `data.train`"
                )
        for name, weights in (("last_weights", self.last_weights), ("risk_weights", self.risk_weights)):
            if weights and (len(weights) != len(self.train) or not any(weights)):
                raise ConfigError(
                    f"`data.{name}` = {list(weights)}: one for each of the {len(self.train)} corpora of `data.train`, "
                    "and one of them over 0"
                )
            for weight in weights:
                within(f"data.{name}", weight, 0, 1000)
        for name, corpus in (("validation", self.validation), ("test", self.test)):
            if corpus is not None and corpus.weight != 1:
                raise ConfigError(f"`data.{name}.weight` = {corpus.weight}: is for training corpora; leave it out")
            if corpus is not None and corpus.prepare is not None:
                raise ConfigError(f"`data.{name}.prepare`: is for training corpora, other text stays as it is")

    @property
    def languages(self) -> tuple[str, str]:
        """The codes of the source and of the target language."""
        return self.source_language, self.target_language


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How training pairs are cleaned, in this order; validation and test text is never changed."""

    unicode_form: Annotated[
        Literal["none", "nfc", "nfkc"], "Unicode normalisation before all else; nfc: each accented letter one character"
    ] = "nfc"
    drop_mojibake: Annotated[bool, "drop pairs with wrongly decoded text, such as Ã¤ for ä"] = True
    max_characters: Annotated[int, "longest side of a pair in characters"] = 1000
    max_words: Annotated[int, "longest side of a pair in words, between spaces; 0 for no bound"] = 0
    max_ratio: Annotated[
        float,
        "longest allowed ratio of the sides' lengths in characters, for pairs over 20; Han counts thrice, Hangul twice",
    ] = 4.0
    max_repetition: Annotated[int, "most times that a letter or a word may come in a row; 0 for no bound"] = 0
    drop_copies: Annotated[bool, "drop pairs whose sides are the same, but for case, from four words on"] = False
    min_letters: Annotated[float, "least share of letters among a side's characters, from 0 to 1"] = 0.0
    source_scripts: Annotated[
        tuple[str, ...], "scripts that most letters of the source are of, by their Unicode names, such as LATIN"
    ] = ()
    target_scripts: Annotated[tuple[str, ...], "scripts of the target"] = ()
    match_numbers: Annotated[bool, "drop pairs whose sides hold different numbers, from 10 on"] = False
    drop_swapped: Annotated[
        bool, "drop pairs whose sides are swapped, by the words that most pairs with the same tag have on each side"
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
        at_least("prepare.max_characters", self.max_characters, 1)
        at_least("prepare.max_words", self.max_words, 0)
        at_least("prepare.max_ratio", self.max_ratio, 1)
        at_least("prepare.max_repetition", self.max_repetition, 0)
        within("prepare.min_letters", self.min_letters, 0, 1)
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
            within(f"noise.{name}", getattr(self, name), 0, 1)
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
    fold_source_case: Annotated[bool, "read source text in lower case, however it is written; needs nfkc"] = False
    max_sentences: Annotated[int, "lines sampled for training the tokenizer, 0 for all"] = 2_000_000
    seed: Annotated[int, "seed of that sample"] = 1

    def __post_init__(self) -> None:
        """Check the bounds."""
        at_least("tokenizer.vocab_size", self.vocab_size, 8)
        at_least("tokenizer.max_sentences", self.max_sentences, 0)
        within("tokenizer.character_coverage", self.character_coverage, 0.5, 1)
        if self.fold_source_case and self.normalization != "nfkc":
            raise ConfigError(
                f"`tokenizer.normalization` = {self.normalization!r}: keeps text as it is, and "
                "`tokenizer.fold_source_case` does not; use 'nfkc', or leave the other out"
            )
