"""Marian models as Hugging Face has them, small and with random weights, made by transformers' own classes."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import sentencepiece
import torch

SYLLABLES = {
    "source.spm": "ber die gen straß läuf grü über män ner zwölf ha be ge sehen kin der spiel en",
    "target.spm": "the a dog hou se street run s green ov er men twelve ha ve see n chil dren play ing",
}
CODES = (">>fra<<", ">>deu<<")


def sentences(side: str, number: int = 60, seed: int = 1) -> list[str]:
    """Made-up text of one side, `source.spm` or `target.spm`."""
    generator = random.Random(f"{side} {seed}")
    syllables = SYLLABLES[side].split()
    words = ["".join(generator.choices(syllables, k=generator.randint(1, 3))) for _ in range(2000)]
    return [" ".join(generator.choices(words, k=generator.randint(1, 7))) + "." for _ in range(number)]


def write_tokenizer(folder: Path, separate: bool = False, algorithm: str = "unigram") -> dict[str, int]:
    """Write source.spm, target.spm and vocab.json as Marian's have them; return the sizes of both vocabularies."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces: dict[str, list[str]] = {}
    for side in SYLLABLES:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences(side, 300, seed=7)), model_writer=model, vocab_size=80,
            model_type=algorithm, minloglevel=2,
        )  # fmt: skip
        (folder / side).write_bytes(model.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        pieces[side] = [processor.id_to_piece(i) for i in range(3, processor.get_piece_size())]
    both = [pieces["source.spm"], pieces["target.spm"]]
    groups = both if separate else [[*dict.fromkeys([*both[0], *CODES, *both[1]])]]
    for name, group in zip(("vocab.json", "target_vocab.json"), groups, strict=False):
        ids = {piece: token for token, piece in enumerate(["</s>", "<unk>", *group, "<pad>"])}
        (folder / name).write_text(json.dumps(ids), encoding="utf-8")
    sizes = [len(group) + 3 for group in groups]
    return {"vocab_size": sizes[0], "decoder_vocab_size": sizes[-1]}


def write_model(folder: Path, separate: bool = False, bias: bool = True, **settings: object) -> None:
    """Write a `MarianMTModel` with its tokenizer; `settings` are those of `MarianConfig`."""
    import transformers

    sizes = write_tokenizer(folder, separate)
    padding = sizes["decoder_vocab_size"] - 1
    config = {
        **sizes, "d_model": 16, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64,
        "pad_token_id": padding, "decoder_start_token_id": padding, "activation_function": "swish",
        "scale_embedding": True, "share_encoder_decoder_embeddings": not separate,
    }  # fmt: skip
    torch.manual_seed(3)
    model = transformers.MarianMTModel(transformers.MarianConfig(**{**config, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:  # the positions do not
                parameter.normal_(std=0.3)
        if bias:
            model.final_logits_bias.normal_()
    model.generation_config = transformers.GenerationConfig(
        num_beams=4, max_length=64, eos_token_id=0, pad_token_id=padding, decoder_start_token_id=padding,
        bad_words_ids=[[padding]], length_penalty=0.8,
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer = {"tokenizer_class": "MarianTokenizer", "source_lang": "de", "target_lang": "en"}
    if separate:
        tokenizer["separate_vocabs"] = True
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
