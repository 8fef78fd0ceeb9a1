import json
import math
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from strict_html import Page, text_of

from seq2seq.config import Config, ModelConfig, TrainingConfig
from seq2seq.reporting.curves import best_validation, curves, facts
from seq2seq.reporting.runs import Run

RECORDS = [
    {"step": 10.0, "perplexity": math.e, "learning_rate": 0.1, "training_seconds": 60.0, "target_tokens_seen": 600.0},
    {"step": 10.0, "training_seconds": 60.0, "validation_bleu": 8.5, "validation_loss": 2.0, "validation_chrf": 30.0},
    {"step": 20.0, "perplexity": 1.0, "learning_rate": 0.0, "training_seconds": 120.0, "target_tokens_seen": 1200.0},
    {"step": 20.0, "training_seconds": 120.0, "validation_bleu": 7.5, "validation_loss": 1.0, "validation_chrf": 29.0},
]
CONFIG = Config(model=ModelConfig())
RUN = Run("<one>", Path("one"), Path("one"), CONFIG, RECORDS, 1234567, 0)


def drawn(html: str) -> list[list[list[float]]]:
    return [json.loads(unescape(values)) for values in re.findall(r'data-values="([^"]+)"', html)]


def test_each_chart_has_the_values_of_the_records() -> None:
    bleu = [[1, 8.5], [2, 7.5]]
    by_step = [[[10, a], [20, b]] for a, b in ((8.5, 7.5), (30, 29), (1, 0), (2, 1), (0.1, 0))]
    assert drawn(curves([RUN])) == [bleu, *by_step]


def test_every_run_has_its_line_and_its_numbers() -> None:
    html = curves([RUN, RUN._replace(name="two", slot=1), RUN._replace(name="three", records=[])])
    assert len(drawn(html)) == 12
    assert Page(html).count("figure", "chart") == 6
    assert "without curves: three" in text_of(html)
    assert text_of(html).count("8.50") == 2


def test_without_records_there_is_nothing() -> None:
    assert curves([RUN._replace(records=[])]) == curves([]) == ""


def test_facts_are_those_of_the_last_report_and_the_best_validation() -> None:
    text = Page(facts([RUN])).text
    assert text[text.index("<one>") :] == [
        "<one>", "1,234,567", "20", "2.0", "1,200", "10", "8.50", "at step 10", "30.00", "2.000",
    ]  # fmt: skip
    assert Page(facts([RUN._replace(records=[], parameters=None)])).count("td") == 9
    # Training that time ended is validated later than its last report.
    ended = [*RECORDS, {"step": 25.0, "training_seconds": 150.0, "validation_bleu": 7.0}]
    text = Page(facts([RUN._replace(records=ended)])).text
    assert text[text.index("<one>") + 2 :][:4] == ["25", "2.5", "1,200", "10"]


@pytest.mark.parametrize(("metric", "step"), [("bleu", 10), ("chrf", 10), ("loss", 20)])
def test_the_best_validation_is_that_of_the_metric_of_the_run(metric: str, step: int) -> None:
    config = replace(CONFIG, training=TrainingConfig(validation_metric=metric))
    found = best_validation(RUN._replace(config=config))
    assert found is not None and found["step"] == step
    assert best_validation(RUN._replace(records=[])) is None
