"""A report on runs, from run directories and files of text to one page of HTML."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import islice
from pathlib import Path

from seq2seq.checkpoint import resolve
from seq2seq.config import Config
from seq2seq.data.tags import tagged_language, without_tags
from seq2seq.decoding.engine import TorchEngine
from seq2seq.decoding.ensemble import EnsembleEngine
from seq2seq.decoding.loading import load_ensemble, load_reverse
from seq2seq.decoding.translator import Translation, Translator
from seq2seq.errors import DataError, DecodingError
from seq2seq.evaluation import Scores, looks_tokenised, read_parallel
from seq2seq.files import atomic_write, check_writable
from seq2seq.reporting.attention_pictures import Picture, attention_figures, pictures
from seq2seq.reporting.curves import best_validation, curves, facts
from seq2seq.reporting.page import Section, note, page
from seq2seq.reporting.runs import Run, read_runs, training_sources
from seq2seq.reporting.scores import compare_with_first, score_all, score_tables
from seq2seq.reporting.sentences import Translated, examples
from seq2seq.reporting.settings_tables import settings_tables
from seq2seq.reporting.slices import Frequencies, count_words, slices, slices_table, words_in
from seq2seq.reporting.systems import MOST_SYSTEMS, System

_LOG = logging.getLogger(__name__)

_PAGE = b"<!doctype html>"  # how it begins
_MOST_PAIRS = 1_000_000  # of a training text that are read to count words


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The files of a test set, each of them optional.

    Attributes:
        source: what runs translate.
        reference: what translations are scored against.
        systems: names and files of ready-made translations.
        target_language: chooses sacreBLEU's tokenizer; by default, that of a tag, or of the first run.
    """

    source: Path | None = None
    reference: Path | None = None
    systems: Sequence[tuple[str, Path]] = ()
    target_language: str = ""


@dataclass(frozen=True, kw_only=True)
class Translating:
    """How each run translates the source.

    Attributes:
        beam_size: by default, as the run's settings say.
        ensemble: runs or checkpoints that join it.
        rerank_by: a run that translates back, to choose among what they find.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """

    beam_size: int | None = None
    ensemble: Sequence[Path] = ()
    rerank_by: Path | None = None
    device: str = "auto"


def write_report(
    runs: Sequence[Path],
    output: Path,
    texts: Texts | None = None,
    translating: Translating | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write a report on runs, and on translations of a test set, as one HTML file that needs no other.

    Args:
        runs: run directories, or checkpoints in them; with a source, each translates it.
        output: the file.
        texts: the test set.
        translating: how runs translate.
        progress: is called with the number of sentences translated since the last call.

    Raises:
        CheckpointError, DataError: if a run or a file is missing or damaged, or files do not belong together.
        DecodingError: if runs that are to translate together cannot.
    """
    texts, translating = texts or Texts(), translating or Translating()
    found = read_runs(runs, need_metrics=texts.source is None)
    source, reference, given = _read(texts)
    _check_systems([*(run.name for run in found if source is not None), *(name for name, _ in texts.systems)])
    if reference is not None and source is None and not given:
        raise DataError(f"{texts.reference}: nothing to score against it; give --source FILE or --system NAME=FILE too")
    if texts.source is None or not found:
        _refuse_idle(translating, "--source" if texts.source is None else "a RUN")
    if output.is_file() or not output.exists():  # resolved, a pipe would seem to be a file that is not there
        output = output.resolve()  # a link stays one
    _check_page(output)
    check_writable(output)  # before hours of translating
    systems: list[System] = []
    drawn: list[Picture] = []
    # All are loaded and checked before the first translates, so that what does not fit is found before.
    translators = [_translator(run, translating) for run in found if source is not None]
    for run, (translator, origin) in zip(found, translators, strict=False):
        translations = translator.translate(source or [], progress=progress)
        if not systems:
            drawn = _drawn(translator, translations)
        systems.append(System(run.name, [translation.text for translation in translations], run.slot, origin))
    for slot, ((name, path), lines) in enumerate(zip(texts.systems, given, strict=True), len(found)):
        systems.append(System(name, lines, slot, path.name))
    test = Translated(source, reference, systems) if systems else None
    config = found[0].config if found else Config()
    asked_for = texts.target_language or tagged_language(source or [], config.decoding.tag)
    language = asked_for or config.data.target_language
    with atomic_write(output) as file:
        file.write(report(found, test, drawn, language))


def report(runs: Sequence[Run], test: Translated | None, drawn: Sequence[Picture], language: str) -> str:
    """The page.

    Args:
        runs: any number of them.
        test: translations, with or without source and reference.
        drawn: attention of the first run.
        language: code of the target language.
    """
    scores = score_all(test.systems, test.reference, language) if test and test.reference else []
    sections = [Section("glance", "At a glance", _tiles(runs, test, scores) + (facts(runs) if runs else ""))]
    sections.append(Section("curves", "Training", curves(runs)))
    if runs:
        heading = "Settings" if len(runs) == 1 else "Settings that differ"
        sections.append(Section("settings", heading, settings_tables(runs)))
    if test:
        sections += _of_test(runs, test, scores, language)
        if test.source is not None and runs:
            sections.append(Section("attention", "Attention", attention_figures(drawn, runs[0].name)))
    names = dict.fromkeys([*(run.name for run in runs), *(system.name for system in (test.systems if test else ()))])
    return page(f"Report: {', '.join(names)}", _about(runs, test), sections)


def _read(texts: Texts) -> tuple[list[str] | None, list[str] | None, list[list[str]]]:
    """The lines of source, reference and ready-made translations, which must be of one number."""
    paths = [path for path in (texts.source, texts.reference, *(path for _, path in texts.systems)) if path is not None]
    files = read_parallel(*paths) if paths else []
    for path, lines in zip(paths, files, strict=True):
        if path != texts.source and looks_tokenised(lines):
            _LOG.warning("%s: looks tokenised; give raw text, or the scores cannot be compared with others", path)
    rest = iter(files)
    source = next(rest) if texts.source is not None else None
    reference = next(rest) if texts.reference is not None else None
    return source, reference, list(rest)


def _refuse_idle(translating: Translating, needed: str) -> None:
    """Refuse what says how to translate where nothing is translated."""
    beam_size, partners, reverse = translating.beam_size, translating.ensemble, translating.rerank_by
    options = {"--beam-size": beam_size, "--ensemble": partners[0] if partners else None, "--rerank-by": reverse}
    for name, value in options.items():
        if value is not None:
            raise DataError(f"{name} {value}: nothing is translated without {needed}; add it, or leave this out")


def _check_page(output: Path) -> None:
    """Refuse to replace what is no page: maybe one of the files that the report is made of."""
    if output.is_file() and output.stat().st_size:
        with output.open("rb") as file:
            if not file.read(len(_PAGE)).lower() == _PAGE:
                raise DataError(f"{output}: is there already, and no page; choose another --output, or delete it")


def _check_systems(names: Sequence[str]) -> None:
    if len(names) > MOST_SYSTEMS:
        raise DataError(
            f"{len(names)} systems ({', '.join(names)}): a report compares up to {MOST_SYSTEMS}; leave some out (with "
            "--source, each run is one)"
        )
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"system {name!r}: is named {count} times; give each a name of its own")


def _translator(run: Run, how: Translating) -> tuple[Translator, str]:
    """What translates for a run, and what to say of it."""
    checkpoint = resolve(run.path)[1]
    loaded = load_ensemble([checkpoint, *how.ensemble], how.device)
    config = replace(loaded.config.decoding, n_best=1)
    if how.beam_size is not None:
        if config.sample:
            raise DecodingError(f"--beam-size {how.beam_size}: does nothing for {run.path}, which samples; omit it")
        config = replace(config, beam_size=how.beam_size)
    reverse, chosen = None, ""
    if how.rerank_by:
        reverse = load_reverse(how.rerank_by, loaded.config, how.device)
        config = replace(config, mbr="off")  # which a run may have for itself
        chosen = f", chosen by {how.rerank_by} among {config.candidates}"
    elif config.mbr != "off":
        chosen = f", MBR by {config.mbr} among {config.candidates}"
    elif config.length_reward:
        chosen = f", chosen by length among {config.candidates}"
    width = max(config.beam_size, config.candidates) if chosen else config.beam_size
    translator = Translator.of(loaded, config, reverse)
    translator.check()
    together = f", together with {', '.join(str(path) for path in how.ensemble)}" if how.ensemble else ""
    searched = "sampled" if config.sample else f"beam {width}"
    return translator, f"{checkpoint.name}, {searched}{together}{chosen}"


def _drawn(translator: Translator, translations: Sequence[Translation]) -> list[Picture]:
    """Pictures of the attention of what translated: of several runs, the first."""
    engine = translator.engine.members[0] if isinstance(translator.engine, EnsembleEngine) else translator.engine
    assert isinstance(engine, TorchEngine)
    return pictures(engine.model, translator.tokenizer, translations, translator.config.tag)


def _of_test(runs: Sequence[Run], test: Translated, scores: Sequence[Scores], language: str) -> list[Section]:
    """What there is to say of translations; without a reference, they are only shown."""
    found = []
    if test.reference is not None:
        comparisons = compare_with_first(test.systems, test.reference, language)
        tables = score_tables(test.systems, scores, comparisons)
        found.append(Section("scores", "Scores on the test set", tables))
        found.append(Section("slices", "Scores by kind of sentence", _slices(runs, test, language)))
    else:
        told = "No reference was given (--reference FILE): there is nothing to score translations against."
        found.append(Section("scores", "Scores on the test set", note(told)))
    return [*found, Section("sentences", "Sentences", examples(test))]


def _slices(runs: Sequence[Run], test: Translated, language: str) -> str:
    assert test.reference is not None
    texts, side = (test.source, "source") if test.source is not None else (test.reference, "reference")
    texts = without_tags(texts)
    frequencies = _frequencies(runs, texts, is_source=test.source is not None)
    told = (
        f"Kinds are told by the {side}. Rare words are counted in {frequencies.where}, in lower case. Grey rows are of "
        "fewer than a hundred sentences: their scores say little."
    )
    return note(told) + slices_table(slices(texts, frequencies), test.systems, test.reference, language)


def _frequencies(runs: Sequence[Run], texts: Sequence[str], is_source: bool) -> Frequencies:
    """Counted in the first run's training text if that can be had, else in the test set itself."""
    wanted: set[str] = set().union(*map(words_in, texts))
    try:
        lines = training_sources(runs[0].config) if runs and is_source else None
        if lines is not None:
            rest = iter(lines)
            counts = count_words(wanted, islice(rest, _MOST_PAIRS))
            part = f"the first {_MOST_PAIRS:,} pairs of " if next(rest, None) is not None else ""
            return Frequencies(counts, f"{part}the training text of {runs[0].name}", True)
    except (DataError, OSError) as error:
        _LOG.warning("%s; rare words are counted in the test set", error)
    return Frequencies(count_words(wanted, texts), "this test set, for want of the training text", False)


def _tiles(runs: Sequence[Run], test: Translated | None, scores: Sequence[Scores]) -> str:
    """The one figure of each run or system: BLEU on the test set, else on validation text."""
    tiles = []
    if test and scores:
        for system, found in zip(test.systems, scores, strict=True):
            bleu = found.bleu
            interval = f"95% interval {bleu.low:.1f} to {bleu.high:.1f}; " if bleu.low is not None else ""
            about = f"BLEU on the test set; {interval}chrF {found.chrf.score:.1f}"
            tiles.append(_tile(system.name, system.slot, f"{bleu.score:.1f}", about))
    else:
        for run in runs:
            best = best_validation(run) or {}
            if "validation_bleu" in best:
                about = f"BLEU on validation text, at step {best['step']:,.0f}"
                tiles.append(_tile(run.name, run.slot, f"{best['validation_bleu']:.1f}", about))
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _tile(name: str, slot: int, figure: str, about: str) -> str:
    return (
        f'<div class="tile s{slot % 6 + 1}"><b>{escape(name)}</b><span class="big">{figure}</span>'
        f'<span class="faint">{escape(about)}</span></div>'
    )


def _about(runs: Sequence[Run], test: Translated | None) -> str:
    """What is compared, in a line."""
    languages = {(run.config.data.source_language or "?", run.config.data.target_language or "?") for run in runs}
    told = [_count(len(runs), "run")] if runs else []
    if test:
        told.append(f"{_count(len(test.systems), 'system')} on {_count(len(test), 'sentence')}")
    told += [f"{source} to {target}" for source, target in sorted(languages)]
    return ", ".join(told)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
