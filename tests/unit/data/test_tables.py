from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from seq2seq.config import CorpusConfig
from seq2seq.data import tables
from seq2seq.data.corpus import SentencePair, read_corpus
from seq2seq.errors import DataError

LANGUAGES = ("de", "en")
NUMBER = 2 * tables._BATCH_ROWS + 1
EXPECTED = [SentencePair(f"Hund {i}", f"dog {i}") for i in range(NUMBER)]
# The shapes of data sets on the Hub: a `translation` column, or two columns of text among others.
SHAPES = {
    "translation": [{"translation": {"en": en, "de": de}} for de, en in EXPECTED],
    "columns": [{"id": i, "en": en, "de": de} for i, (de, en) in enumerate(EXPECTED)],
}
COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40


@pytest.fixture(params=list(SHAPES))
def dataset(request: pytest.FixtureRequest) -> datasets.Dataset:
    return datasets.Dataset.from_list(SHAPES[request.param])


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_why_unreachable", lambda: "")


def read(counts: Counter[str] | None = None, **corpus: Any) -> list[SentencePair]:
    return list(read_corpus(CorpusConfig(**corpus), LANGUAGES, counts))


def test_parquet_is_read_in_order_and_its_path_is_no_pattern(dataset: datasets.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "a [b]*"
    folder.mkdir()
    path = folder / "x?.parquet"
    dataset.to_parquet(path)
    (folder / "xy.parquet").write_bytes(b"another file, which the name would match")
    counts: Counter[str] = Counter()
    assert read(counts, path=str(path)) == EXPECTED
    assert counts == {"read": NUMBER}


def test_saved_data_sets_with_and_without_splits(dataset: datasets.Dataset, tmp_path: Path) -> None:
    dataset.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": dataset, "test": dataset.select([3])}).save_to_disk(tmp_path / "several")
    assert read(path=str(tmp_path / "one")) == EXPECTED
    assert read(path=str(tmp_path / "several")) == EXPECTED
    assert read(path=str(tmp_path / "several"), split="test") == [EXPECTED[3]]
    with pytest.raises(DataError, match=r"several: no split 'dev' \(it has train, test\); set `split`"):
        read(path=str(tmp_path / "several"), split="dev")


def test_a_folder_of_data_files_is_read_as_on_the_hub(dataset: datasets.Dataset, tmp_path: Path) -> None:
    dataset.to_parquet(tmp_path / "train.parquet")
    dataset.select([5]).to_parquet(tmp_path / "validation.parquet")
    assert read(path=str(tmp_path)) == EXPECTED
    assert read(path=str(tmp_path), split="validation") == [EXPECTED[5]]
    with pytest.raises(DataError, match=r"Bad split: dev.*; set `split`"):
        read(path=str(tmp_path), split="dev")


def test_absent_and_broken_text_in_a_table(tmp_path: Path) -> None:
    rows = [{"de": "a", "en": "b"}, {"de": None, "en": "b"}, {"de": "a\nb", "en": "c"}]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    counts: Counter[str] = Counter()
    assert read(counts, path=str(tmp_path / "a.parquet")) == [("a", "b"), ("a b", "c")]
    assert counts == {"read": 3, "empty_source": 1, "line_breaks_replaced": 1}
    with pytest.raises(DataError, match=r"a\.parquet: row 2: the source side is empty"):
        read(path=str(tmp_path / "a.parquet"), drop_empty=False)


def test_a_table_without_text(tmp_path: Path) -> None:
    datasets.Dataset.from_list([{"de": 1, "en": "b"}]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: row 1: the source side is not text but int: 1"):
        read(path=str(tmp_path / "a.parquet"))
    with pytest.raises(DataError, match=r"a\.parquet: no two columns for 'de' and 'x' \(it has de, en\)"):
        read(path=str(tmp_path / "a.parquet"), target_column="x")


@pytest.mark.parametrize("data", [b"", b"PAR1 this is no table PAR1", b"PAR1"])
def test_damaged_parquet_is_one_line_that_names_it(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read: .*; ") as caught:
        read(path=str(tmp_path / "a.parquet"))
    assert "\n" not in str(caught.value)


def test_a_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read: .*; "):
        read(path=str(tmp_path))
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"cannot be read: .*; "):
        read(path=str(tmp_path))


def hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Put `answer`, a data set or an error, in place of the Hub; what was asked is collected in the list returned."""
    asked = []

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_the_hub_is_asked_for_exactly_what_the_corpus_names(
    dataset: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hub(monkeypatch, dataset)
    assert read(dataset="some/texts") == EXPECTED
    assert read(dataset="some/texts", subset="de-en", split="test[:10]", revision=COMMIT) == EXPECTED
    assert asked == [
        (("some/texts",), {"name": None, "split": "train", "revision": None}),
        (("some/texts",), {"name": "de-en", "split": "test[:10]", "revision": COMMIT}),
    ]


@pytest.mark.parametrize(("subset", "expected"), [("de-en", "Hund"), ("de-fr", "chien"), ("", "default")])
def test_a_parquet_export_is_read_by_folder(
    subset: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The branch has no list of configurations: `datasets` itself reads a folder of the same layout here."""
    for folder, text in {"de-en": "Hund", "de-fr": "chien", "default": "default"}.items():
        for split in ("train", "validation"):
            (tmp_path / folder / split).mkdir(parents=True)
            table = datasets.Dataset.from_list([{"translation": {"de": text, "en": split}}])
            table.to_parquet(tmp_path / folder / split / "0000.parquet")
    real = datasets.load_dataset

    def load_dataset(_: str, *, revision: str, **kwargs: Any) -> Any:
        assert revision == "refs/convert/parquet"
        return real(str(tmp_path), streaming=True, **kwargs)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = read(dataset="some/texts", subset=subset, split="validation", revision="refs/convert/parquet")
    assert found == [(expected, "validation")]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("Couldn't reach it"), r"Hub cannot be reached \(Couldn't reach it\); .*--data DIR"),
        (datasets.exceptions.DatasetNotFoundError("'x' doesn't exist on the Hub"), "doesn't exist.*check `dataset`"),
        (RuntimeError("Dataset scripts are no longer supported: x.py"), '`revision` = "refs/convert/parquet"'),
        (ValueError("Unknown split \"dev\". Should be one of ['train']."), r"Unknown split \"dev\".*; set `split`"),
        (ValueError("Config name is missing.\nPlease pick one:\n['a', 'b']"), r"pick one: \['a', 'b'\]; set `subset`"),
        (KeyError(), "Hub data set some/texts: KeyError; "),
    ],
)
def test_errors_of_the_hub_are_one_line_with_a_remedy(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(monkeypatch, error)
    with pytest.raises(DataError, match=message) as caught:
        read(dataset="some/texts")
    assert str(caught.value).startswith("Hub data set some/texts: ") and "\n" not in str(caught.value)


def test_offline_the_cache_is_used_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_why_unreachable", lambda: "no route")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    seen = []

    def load_dataset(*_: Any, **__: Any) -> Any:
        seen.append(datasets.config.HF_HUB_OFFLINE)
        if len(seen) > 1:
            raise ConnectionError("and not in the cache either")
        return datasets.Dataset.from_list([{"de": "Hund", "en": "dog"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read(dataset="some/texts") == [("Hund", "dog")]
    with pytest.raises(DataError, match=r"not in the local cache, .* \(no route\); connect to the internet, or use"):
        read(dataset="some/texts")
    assert seen == [True, True] and datasets.config.HF_HUB_OFFLINE is False


def test_nobody_waits_for_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real question
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    assert "refused" in tables._why_unreachable()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert "offline mode" in tables._why_unreachable()


@pytest.mark.parametrize(("revision", "accepted"), [(COMMIT, True), ("main", True), ("", True), (OTHER_COMMIT, False)])
def test_a_cached_copy_of_another_commit_is_refused(
    revision: str, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = SimpleNamespace(cache_files=[{"filename": f"cache/default/0.0.0/{COMMIT}/texts-train.arrow"}])
    hub(monkeypatch, cached)
    corpus = CorpusConfig(dataset="some/texts", revision=revision)
    if accepted:
        tables.open_table(corpus)
    else:
        with pytest.raises(DataError, match=f"`revision` = '{OTHER_COMMIT}' cannot be fetched, .* has commit {COMMIT}"):
            tables.open_table(corpus)
