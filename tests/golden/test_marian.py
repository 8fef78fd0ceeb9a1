"""Our post-norm model against Hugging Face's MarianMTModel with the same weights: same logits, same output.

The first part, which puts the weights there by itself, is what fixes the layout of positions, the scale of embeddings
and the start token for all exports. The second compares what our export writes, in the hands of `generate`.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seq2seq.checkpoint import LoadedRun
from seq2seq.config import Config, DataConfig, DecodingConfig, ModelConfig, TokenizerConfig
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.decoding.engine import Task, TorchEngine
from seq2seq.decoding.scoring import score_tokens, token_log_probs
from seq2seq.decoding.translator import Translator
from seq2seq.export import huggingface
from seq2seq.export.huggingface import HuggingFaceModel
from seq2seq.model.transformer import Transformer

transformers = pytest.importorskip("transformers")

VOCAB, PAD, START, END = 40, 0, 2, 3


def marian_like(ours: Transformer) -> nn.Module:
    config = ours.config
    theirs = transformers.MarianMTModel(
        transformers.MarianConfig(
            vocab_size=VOCAB, d_model=config.d_model, encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers, encoder_attention_heads=config.num_heads,
            decoder_attention_heads=config.num_heads, encoder_ffn_dim=config.d_ff, decoder_ffn_dim=config.d_ff,
            activation_function=config.activation, max_position_embeddings=config.max_length, scale_embedding=True,
            pad_token_id=PAD, eos_token_id=END, decoder_start_token_id=START, forced_eos_token_id=None,
        )
    ).eval()  # fmt: skip
    inner = theirs.model
    inner.shared.weight.data = ours.target_embedding.weight.data
    for part in (inner.encoder.embed_tokens, inner.decoder.embed_tokens, theirs.lm_head):
        part.weight = inner.shared.weight
    for their_layers, our_layers in ((inner.encoder.layers, ours.encoder), (inner.decoder.layers, ours.decoder)):
        for layer, mine in zip(their_layers, our_layers, strict=True):
            split_into(mine.self_attention.query_key_value, layer.self_attn, ("q_proj", "k_proj", "v_proj"))
            copy(mine.self_attention.output, layer.self_attn.out_proj)
            copy(mine.self_attention_residual.norm, layer.self_attn_layer_norm)
            if hasattr(mine, "cross_attention"):
                copy(mine.cross_attention.query, layer.encoder_attn.q_proj)
                split_into(mine.cross_attention.key_value, layer.encoder_attn, ("k_proj", "v_proj"))
                copy(mine.cross_attention.output, layer.encoder_attn.out_proj)
                copy(mine.cross_attention_residual.norm, layer.encoder_attn_layer_norm)
            copy(mine.feed_forward.inner, layer.fc1)
            copy(mine.feed_forward.output, layer.fc2)
            copy(mine.feed_forward_residual.norm, layer.final_layer_norm)
    return theirs


def copy(mine: nn.Module, theirs: nn.Module) -> None:
    theirs.load_state_dict(mine.state_dict())


def split_into(mine: nn.Linear, owner: nn.Module, names: tuple[str, ...]) -> None:
    size = mine.in_features
    for name, weight, bias in zip(names, mine.weight.split(size), mine.bias.split(size), strict=True):
        getattr(owner, name).load_state_dict({"weight": weight, "bias": bias})


@pytest.fixture(params=["relu", "gelu"])
def ours(request) -> Transformer:
    torch.manual_seed(1)
    model = Transformer(
        ModelConfig(
            encoder_layers=2, decoder_layers=3, d_model=32, d_ff=48, num_heads=4, max_length=60, norm="post",
            activation=request.param, tied_embeddings="all", source_vocab_size=VOCAB, target_vocab_size=VOCAB,
        )
    ).eval()  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    source = torch.randint(4, VOCAB, (6, 11))
    mask = torch.arange(11) < torch.tensor([11, 3, 8, 1, 10, 6])[:, None]
    return source.masked_fill(~mask, PAD), mask


@torch.no_grad()
def test_logits_equal(ours: Transformer, batch) -> None:
    source, mask = batch
    target = torch.randint(4, VOCAB, (6, 9))
    theirs = marian_like(ours)(input_ids=source, attention_mask=mask.long(), decoder_input_ids=target).logits
    torch.testing.assert_close(ours(source, mask, target), theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_greedy_output_equals_generate(ours: Transformer, batch) -> None:
    from seq2seq.decoding.beam import beam_search
    from seq2seq.decoding.search import Bounds
    from seq2seq.model.inference import InferenceModel

    source, mask = batch
    generated = marian_like(ours).generate(
        input_ids=source, attention_mask=mask.long(), num_beams=1, do_sample=False, max_new_tokens=20
    )
    expected = []
    for row in generated[:, 1:].tolist():
        expected.append(tuple(row[: row.index(END)] if END in row else row)[:19])
    model = InferenceModel(ours)
    cache = model.start(source, mask, 1)
    bounds = Bounds(START, END, torch.full((6,), 20), torch.device("cpu"))
    step = lambda tokens, cache: model.output(model.step(tokens, cache)).log_softmax(-1)  # noqa: E731
    found = beam_search(step, cache, bounds, DecodingConfig(beam_size=1))
    assert [hypotheses[0].tokens for hypotheses in found] == expected


WORDS = [f"{first}{second}{third}" for first in "abcdefg" for second in "hijk" for third in "lmnop"]
SENTENCES, LIMIT = 50, 24  # the greatest length is low, for translations that go in circles are full of near ties
KINDS = [
    {"activation": "relu", "tied_embeddings": "all"},
    {"activation": "relu", "tied_embeddings": "none", "output_bias": True},
    {"activation": "gelu", "tied_embeddings": "decoder"},
    {"activation": "gelu", "tied_embeddings": "inputs", "scale_embeddings": False},
    {"activation": "silu", "tied_embeddings": "all", "output_bias": True},
    {"activation": "silu", "tied_embeddings": "decoder", "scale_embeddings": False},
]


def make_tokenizer(folder: Path, **settings: Any) -> Tokenizer:
    config = TokenizerConfig(**{"vocab_size": 80, "byte_fallback": False, "algorithm": "bpe", **settings})
    return train_tokenizer(config, WORDS, [word.upper() for word in WORDS], folder)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {name: make_tokenizer(folder / name, joint=name == "joint") for name in ("joint", "separate")}


def texts(number: int = SENTENCES) -> list[str]:
    generator = torch.Generator().manual_seed(7)
    places = torch.randint(len(WORDS), (number, 6), generator=generator).tolist()
    return [" ".join(WORDS[i] for i in row[: 1 + number % 6]) for number, row in enumerate(places)]


def random_sources() -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(1, 16, (SENTENCES,), generator=generator).tolist()
    return [[*torch.randint(4, 80, (length,), generator=generator).tolist(), END] for length in lengths]


def post_norm_model(seed: int, pull: float, **kind: Any) -> Transformer:
    """A random model whose states all have a part along one direction; special tokens lie against it, the end along it.

    `pull` says how far along.
    """
    torch.manual_seed(seed)
    sizes = {
        "encoder_layers": 2, "decoder_layers": 2, "d_model": 32, "d_ff": 48, "num_heads": 4, "max_length": 80,
        "source_vocab_size": 80, "target_vocab_size": 80,
    }  # fmt: skip
    model = Transformer(ModelConfig(norm="post", **{**sizes, **kind})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(0.3 * noise if parameter.dim() > 1 else parameter + 0.2 * noise)
        direction = nn.functional.normalize(torch.randn(32), dim=0)
        model.decoder[-1].feed_forward_residual.norm.bias.add_(4 * direction)
        output = model.output.weight
        output -= (output @ direction)[:, None] * direction
        output[:END] = -5 * direction
        output[END] += pull * direction
    return model


def lively_model(tokenizer: Tokenizer, **kind: Any) -> Transformer:
    """The first random model that ends some translations, and in many ways; most say the same for ever."""
    tasks = [Task(source, 1, LIMIT, ()) for source in random_sources()]
    for seed, pull in itertools.product(range(20), (0.6, 0.8, 1.0, 1.2)):
        model = post_norm_model(seed, pull, **kind)
        found = TorchEngine(model, tokenizer).search(tasks, DecodingConfig(beam_size=5))
        lengths = {len(best.tokens) + 1 for best, *_ in found}
        if len(lengths) > 5 and len({best.tokens for best, *_ in found}) > 10:
            return model
    raise AssertionError("all random models are dull")


def exported(
    tokenizer: Tokenizer, folder: Path, kind: dict[str, Any], **decoding: Any
) -> tuple[LoadedRun, HuggingFaceModel]:
    model = lively_model(tokenizer, **kind)
    config = Config(model=model.config, data=DataConfig(max_length=60), decoding=DecodingConfig(**decoding),
                    tokenizer=TokenizerConfig(joint=tokenizer.joint))  # fmt: skip
    run = LoadedRun(model, config, tokenizer, folder)
    huggingface.write(run, folder)
    return run, HuggingFaceModel.load(folder)


def compare(run: LoadedRun, theirs: HuggingFaceModel, config: DecodingConfig) -> int:
    """Assert that both find the same, but for one near tie at most; return how many translations are different ones."""
    sources = random_sources()
    tasks = [Task(source, 1, LIMIT, ()) for source in sources]
    ours = TorchEngine(run.model, run.tokenizer).search(tasks, config)
    found = list(zip(sources, ours, theirs.search(sources, config, LIMIT), strict=True))
    for source, (mine, *_), (other, *_) in found:
        assert other.score == pytest.approx(mine.score, abs=1e-3 if mine.tokens == other.tokens else 1e-2)
        (log_prob,) = score_tokens(run.model, run.tokenizer, [source], [[*other.tokens, END]])
        assert other.log_prob == pytest.approx(log_prob, abs=1e-3)
    assert sum(mine.tokens != other.tokens for _, (mine, *_), (other, *_) in found) <= 1
    return len({mine.tokens for _, (mine, *_), _ in found})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_exported_models_find_the_same(
    kind: dict[str, Any], tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    run, theirs = exported(tokenizers["joint"], tmp_path, kind)
    assert compare(run, theirs, DecodingConfig(beam_size=5)) > 10


@pytest.mark.parametrize("change", [
    {"beam_size": 1}, {"length_penalty": 0.0}, {"length_penalty": 2.0}, {"no_repeat_ngram": 2},
], ids=str)  # fmt: skip
def test_settings_mean_the_same(change: dict[str, Any], tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    run, theirs = exported(tokenizers["joint"], tmp_path, {"tied_embeddings": "decoder"})
    assert compare(run, theirs, replace(DecodingConfig(beam_size=4), **change)) > 5


@pytest.mark.parametrize("tied", ["none", "decoder"])
def test_separate_vocabularies(tied: str, tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    run, theirs = exported(tokenizers["separate"], tmp_path, {"tied_embeddings": tied, "activation": "gelu"})
    assert theirs.encode(texts()) == run.tokenizer.encode_source(texts())
    upper = [text.upper() for text in texts()]
    assert [theirs.decode(ids) for ids in run.tokenizer.encode_target(upper)] == upper
    assert compare(run, theirs, DecodingConfig(beam_size=5)) > 5


def test_n_best_and_log_probabilities(tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    run, theirs = exported(tokenizers["joint"], tmp_path, {"tied_embeddings": "decoder"})
    sources = run.tokenizer.encode_source(texts())
    found = theirs.search(sources, DecodingConfig(beam_size=4, n_best=3), LIMIT)
    for source, hypotheses in zip(sources, found, strict=True):
        assert len(hypotheses) == 3
        for each in hypotheses:
            (log_prob,) = score_tokens(run.model, run.tokenizer, [source], [[*each.tokens, END]])
            assert each.log_prob == pytest.approx(log_prob, abs=1e-3)
            assert each.score == pytest.approx(log_prob / (len(each.tokens) + 1), abs=1e-3)
    targets = sources[::-1]
    expected = token_log_probs(run.model, run.tokenizer, sources, targets)
    for mine, other in zip(expected, theirs.log_probs(sources, targets), strict=True):
        assert mine.tolist() == pytest.approx(other, abs=1e-4)


def test_generate_needs_no_settings(tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    """The four lines that everybody writes give our translations: generation_config.json says how to search."""
    search = {"beam_size": 3, "length_penalty": 0.6, "no_repeat_ngram": 3}
    run, _ = exported(tokenizers["joint"], tmp_path, {"tied_embeddings": "decoder"}, **search)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    out = model.generate(**tokenizer(texts(), return_tensors="pt", padding=True))
    translations = tokenizer.batch_decode(out, skip_special_tokens=True)
    ours = Translator(run.model, run.tokenizer, replace(run.config.decoding, max_length_offset=60)).translate(texts())
    ended = [(mine.text, other) for mine, other in zip(ours, translations, strict=True)
             if len(mine.hypotheses[0].tokens) < 55]  # fmt: skip
    assert len(set(ended)) > 5
    assert all(mine == other for mine, other in ended)


def test_bytes_and_user_symbols_survive(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(
        tmp_path / "t", vocab_size=340, byte_fallback=True, user_symbols=("<2de>", "New York"), algorithm="unigram"
    )
    model = post_norm_model(1, 1.0, source_vocab_size=340, target_vocab_size=340)
    config = Config(model=model.config, data=DataConfig(max_length=60))
    (tmp_path / "out").mkdir()
    huggingface.write(LoadedRun(model, config, tokenizer, tmp_path), tmp_path / "out")
    theirs = HuggingFaceModel.load(tmp_path / "out")
    odd = ["<2de> ahl in New York", "漢字 ahl ﬁ ➀", "a  b", "<s> ahl", "ahl <2de>"]
    assert theirs.encode(odd) == tokenizer.encode_source(odd)
    for ids in tokenizer.encode_target(odd):
        assert theirs.decode(ids) == tokenizer.decode_target(ids).strip()
