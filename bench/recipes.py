"""The eleven architectures of the zoo, full-size and small, from torch and `transformers` configurations.

In: whether the small one is wanted. Out: a module with its default initial weights (`zoo.py` draws better
ones), and descriptions of its inputs. Never downloads anything. Attention is left at `sdpa`: it is
transformers' default, and what users' files hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import transformers as hf
from torch import nn

from .models import MODELS


@dataclass(frozen=True)
class Input:
    """An input of a model to be; `shape` holds ints and names of symbolic dimensions."""

    name: str
    shape: tuple[int | str, ...]
    below: int | None = None  # for integer inputs: the values are 0 <= x < below

    @property
    def type(self) -> str:
        return "tensor(float)" if self.below is None else "tensor(int64)"


Source = tuple[nn.Module, list[Input]]

# What the small ones share: two layers of 32, ten classes, 200 tokens.
_NARROW: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_TEXT: dict[str, Any] = {"vocab_size": 200, "max_position_embeddings": 64}
_TEN: dict[str, Any] = {"num_labels": 10}
_THOUSAND: dict[str, Any] = {"num_labels": 1000}
_SCENES: dict[str, Any] = {"num_labels": 150}


def mlp(small: bool) -> Source:
    wide = 32 if small else 256
    layers = [nn.Linear(64, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, 10)]
    return nn.Sequential(*layers), [Input("input", ("batch", 64))]


def lstm(small: bool) -> Source:
    features, hidden, steps = (8, 16, 10) if small else (64, 128, 100)
    cell = nn.LSTM(features, hidden, num_layers=2, bidirectional=True, batch_first=True)
    return cell, [Input("input", ("batch", steps, features))]


def resnet50(small: bool) -> Source:
    if small:
        config = hf.ResNetConfig(embedding_size=16, hidden_sizes=[32, 48], depths=[2, 1], **_TEN)
    else:
        config = hf.ResNetConfig(**_THOUSAND)
    return hf.ResNetForImageClassification(config), [_pixels(64 if small else 224)]


def mobilenetv2(small: bool) -> Source:
    if small:
        config = hf.MobileNetV2Config(depth_multiplier=0.1, finegrained_output=False, **_TEN)
    else:
        config = hf.MobileNetV2Config(**_THOUSAND)
    return hf.MobileNetV2ForImageClassification(config), [_pixels(64 if small else 224)]


def convnext(small: bool) -> Source:
    if small:
        config = hf.ConvNextConfig(hidden_sizes=[16, 32], depths=[1, 2], num_stages=2, **_TEN)
    else:
        config = hf.ConvNextConfig(**_THOUSAND)
    return hf.ConvNextForImageClassification(config), [_pixels(64 if small else 224)]


def vit(small: bool) -> Source:
    config = hf.ViTConfig(image_size=64, **_TEN, **_NARROW) if small else hf.ViTConfig(**_THOUSAND)
    return hf.ViTForImageClassification(config), [_pixels(64 if small else 224)]


def segformer(small: bool) -> Source:
    if small:
        widths, heads = [8, 16, 24, 32], [1, 2, 3, 4]
        config = hf.SegformerConfig(
            depths=[1] * 4, hidden_sizes=widths, num_attention_heads=heads, decoder_hidden_size=32, **_TEN
        )
    else:
        config = hf.SegformerConfig(**_SCENES)
    return hf.SegformerForSemanticSegmentation(config), [_pixels(64 if small else 512)]


def whisper(small: bool) -> Source:
    wide, layers, heads, positions = (32, 2, 4, 20) if small else (384, 4, 6, 1500)
    config = hf.WhisperConfig(
        d_model=wide,
        encoder_layers=layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=2 * wide if small else 4 * wide,
        max_source_positions=positions,
        # The decoder is thrown away.
        decoder_layers=1,
        decoder_attention_heads=heads,
        decoder_ffn_dim=8,
        vocab_size=64,
        pad_token_id=0,
    )
    return hf.WhisperModel(config).encoder, [Input("input_features", ("batch", 80, 2 * positions))]


def bert(small: bool) -> Source:
    config = hf.BertConfig(**_NARROW, **_TEXT) if small else hf.BertConfig()
    inputs = [_tokens(config.vocab_size), Input("attention_mask", ("batch", "sequence"), below=2)]
    return hf.BertModel(config, add_pooling_layer=False), inputs


def gpt2(small: bool) -> Source:
    narrow: dict[str, Any] = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 200, "n_positions": 64}
    config = hf.GPT2Config(**(narrow if small else {}), use_cache=False)
    return hf.GPT2LMHeadModel(config), [_tokens(config.vocab_size)]


def llama(small: bool) -> Source:
    full: dict[str, Any] = {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "vocab_size": 32000,
        "max_position_embeddings": 1024,
    }
    narrow = {**_NARROW, **_TEXT, "num_key_value_heads": 2}  # two query heads for each key head
    config = hf.LlamaConfig(**(narrow if small else full), tie_word_embeddings=True, use_cache=False)
    return hf.LlamaForCausalLM(config), [_tokens(config.vocab_size)]


RECIPES: dict[str, Callable[[bool], Source]] = {
    f.__name__: f for f in (mlp, lstm, resnet50, mobilenetv2, convnext, vit, segformer, whisper, bert, gpt2, llama)
}
assert RECIPES.keys() == MODELS.keys()


def _pixels(size: int) -> Input:
    return Input("pixel_values", ("batch", 3, size, size))


def _tokens(vocabulary: int) -> Input:
    return Input("input_ids", ("batch", "sequence"), below=vocabulary)
