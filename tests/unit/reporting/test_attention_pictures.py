from pathlib import Path

import pytest
from strict_html import Page, text_of

from seq2seq.checkpoint import load_model
from seq2seq.decoding.search import Hypothesis
from seq2seq.decoding.translator import Translation
from seq2seq.reporting.attention_pictures import Picture, attention_figures, heat_map, pictures


def test_pictures_have_a_row_for_each_target_token_and_a_column_for_each_source_token(
    corpus: Path, trained_run: Path
) -> None:
    run = load_model(trained_run)
    texts, targets = ((corpus / f"train.{side}").read_text(encoding="utf-8").splitlines() for side in ("de", "en"))
    ids = run.tokenizer.encode_target(targets)
    translations = [
        Translation(text, target, (Hypothesis(tuple(tokens[:-1]), -1.0, -1.0),))
        for text, target, tokens in zip(texts, targets, ids, strict=True)
    ]
    found = pictures(run.model, run.tokenizer, translations)
    assert len(found) == 4
    for picture in found:
        assert picture.text in texts
        assert picture.source == [*run.tokenizer.source_pieces(picture.text), "end"]
        assert "".join(picture.target[:-1]).replace("▁", " ").strip() == picture.text.upper()
        assert len(picture.layers) == run.config.model.decoder_layers
        for weights in picture.layers:
            assert [len(row) for row in weights] == [len(picture.source)] * len(picture.target)
            assert [sum(row) for row in weights] == pytest.approx([1.0] * len(picture.target), abs=1e-5)


def test_what_is_empty_or_too_long_is_not_drawn(trained_run: Path) -> None:
    run = load_model(trained_run)
    long = Translation("abc " * 60, "x", (Hypothesis((5,) * 10, -1.0, -1.0),))
    assert pictures(run.model, run.tokenizer, [Translation("", ""), long]) == []
    assert "No sentence has" in text_of(attention_figures([], "run"))


def test_a_heat_map_has_names_on_both_axes_and_a_cell_for_each_weight_worth_seeing() -> None:
    html = heat_map(["<a>", "b"], ["c", "d", '"e"'], [[0.9, 0.1], [0.5, 0.5], [1.0, 0.001]])
    page = Page(html)
    assert page.count("rect", "cell") == 5
    assert page.count("text") == 5
    assert "c ← <a>: 0.90" in page.text
    shades = [values["fill-opacity"] for _, values in page.tags if "fill-opacity" in values]
    assert shades == ["0.90", "0.10", "0.50", "0.50", "1.00"]


@pytest.mark.parametrize("letter", ["a", "語", "한"])
def test_names_have_room(letter: str) -> None:
    size = {"a": 7.2}.get(letter, 12)
    long = letter * 15
    page = Page(heat_map(["a", long, "end"], [long, "end"], [[1.0] * 3] * 2))
    (picture,) = [values for name, values in page.tags if name == "svg"]
    places = [values for name, values in page.tags if name == "text"]
    rows = [float(values["x"]) for values in places if "text-anchor" in values]
    columns = [(float(values["x"]), float(values["y"])) for values in places if "transform" in values]
    assert all(x >= 15 * size for x in rows)  # right-aligned there
    x, y = columns[1]
    assert y >= 0.8 * 15 * size
    assert x + 0.57 * 15 * size <= float(picture["width"])


def test_the_last_layer_comes_first_and_the_others_are_folded_up() -> None:
    weights = [[1.0]]
    html = attention_figures([Picture("<s>", ["a"], ["b"], [weights] * 3)], "<run>")
    top, _, below = html.partition("<details>")
    assert "Layer 3 of 3" in top and "Layer 1 of 3" in below and "Layer 2 of 3" in below
    assert "<run>" in text_of(html) and "<s>" in text_of(html)
    assert "<details>" not in attention_figures([Picture("s", ["a"], ["b"], [weights])], "run")
