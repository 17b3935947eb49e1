"""The backbone: one frozen transformer encoder that embeds texts and reads pairs, by any adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pointsman.backbone.bank import AdapterBank
from pointsman.backbone.batching import length_buckets, pad, pad_states
from pointsman.backbone.cpu import attention_for, keep_freed_memory, speed_up
from pointsman.backbone.device import INT8, choose_device, choose_dtype
from pointsman.backbone.features import REFERENCE, features, mean_states
from pointsman.backbone.flops import Shape
from pointsman.backbone.int8 import quantise
from pointsman.backbone.kept_pairs import KeptPairs
from pointsman.backbone.layout import Layout, position_limit, read_layout
from pointsman.backbone.lora import LoraAdapter, read_safetensors
from pointsman.backbone.pairs import TokenBatch, Window, collate, make_windows
from pointsman.backbone.pooling import pool
from pointsman.backbone.split import SplitModel
from pointsman.backbone.weights import locate
from pointsman.deadline import Deadline
from pointsman.errors import BackboneMismatchError, ConfigError, ModelError
from pointsman.text import scrub
from pointsman.types import BackboneIdentity, FloatArray

# A batch is this many tokens at most: on a CPU its activations should stay in the cache, on a GPU
# it should be large enough to fill it. And one more batch costs as much as so many tokens.
CPU_BATCH_TOKENS, CPU_BATCH_COST = 4_096, 256
GPU_BATCH_TOKENS, GPU_BATCH_COST = 131_072, 8_192
# Texts tokenised and sorted at once: bounds memory for collections of any size.
CHUNK = 8_192
# sentence-transformers' name of what pooling gives.
_SENTENCE = "sentence_embedding"

Progress = Callable[[int], None]
# What a batch is made of, the token ids or the early states of a text; and what says, for a batch's
# places among the texts, which adapters they go through.
_Row = TypeVar("_Row", bound=Sized)
_Through = Callable[[list[int]], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class EarlyStates:
    """What the first `layers` layers gave for each of n texts: `rows[i]` [length_i, d]."""

    rows: tuple[Tensor, ...]
    layers: int


class Backbone:
    """A frozen encoder and the adapters that were given to it.

    Made by `Backbone.load`. Not safe for use from several threads at once: a server gives it one.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        layout: Layout,
        identity: BackboneIdentity,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        self.dtype = dtype
        self._layout = layout
        self._identity = identity
        self._bank = AdapterBank(model)
        self._split = SplitModel(model)
        self._references: dict[int, Tensor] = {}
        self._kept: KeptPairs | None = None
        self._dense = [_dense(folder).to(device) for folder in layout.dense]
        on_cpu = device.type == "cpu"
        self._batch_tokens = CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS
        self._batch_cost = CPU_BATCH_COST if on_cpu else GPU_BATCH_COST
        config: Any = model.config
        self.shape = Shape.of(config)

    @classmethod
    def load(
        cls,
        name: str | Path | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
        attention: str | None = None,
        to_train: bool = False,
    ) -> Backbone:
        """Load an encoder: None is the default, else a directory or a Hugging Face hub name.

        `device` is auto, cpu, cuda or mps; `dtype` auto, fp32, bf16, fp16, or on a CPU int8: fp32
        whose linear layers multiply in 8-bit integers, for inference. `attention` is transformers'
        name of the implementation, None the fastest one; of an encoder that is `to_train` the one whose
        gradients are fastest. Raises ModelError or ConfigError.
        """
        weights = locate(name)
        layout = read_layout(weights.path)
        chosen_device = choose_device(device)
        chosen_dtype = choose_dtype(chosen_device, "fp32" if dtype == INT8 else dtype)
        on_cpu = chosen_device.type == "cpu"
        if dtype == INT8 and not on_cpu:
            raise ConfigError(f"dtype int8 is for CPUs; {chosen_device} takes fp16, bf16 or fp32")
        if attention is None and on_cpu:
            family = str(_json(weights.path / "config.json").get("model_type", ""))
            attention = attention_for(family, chosen_dtype) or ("eager" if to_train else None)
        model, tokenizer = _load_transformer(weights.path, weights.name, chosen_dtype, attention)
        model.to(chosen_device)
        if on_cpu:
            keep_freed_memory()
            speed_up(model)
        if dtype == INT8:
            quantise(model)
        width = int(model.config.hidden_size) * len(layout.pooling)
        if layout.dense:
            width = int(_json(layout.dense[-1] / "config.json")["out_features"])
        identity = BackboneIdentity(
            sha256=weights.sha256,
            name=weights.name,
            dimension=width,
            pooling="+".join((*layout.pooling, *("dense" for _ in layout.dense))),
            max_length=layout.max_length,
            prompts=dict(layout.prompts),
        )
        return cls(model, tokenizer, layout, identity, chosen_device, chosen_dtype)

    @property
    def identity(self) -> BackboneIdentity:
        """What an index or a specialist must have been made with to be used here."""
        return self._identity

    # ---- adapters

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of the adapters that `encode` and `tokens` may be asked for."""
        return self._bank.names

    def add_adapter(self, name: str, adapter: LoraAdapter, base_sha256: str | None = None) -> None:
        """Give the backbone an adapter; one of the same name is replaced.

        Raises BackboneMismatchError when it was trained on another base, ModelError when it does not fit.
        """
        if base_sha256 is not None:
            self.check_base(name, base_sha256)
        self._bank.add(name, adapter)

    def check_base(self, name: str, base_sha256: str) -> None:
        """Raise BackboneMismatchError where what `name` names was trained on another base."""
        if base_sha256 != self._identity.sha256:
            raise BackboneMismatchError(
                f"{name} was trained on the base {base_sha256[:12]}…, "
                f"this one is {self._identity.name} ({self._identity.sha256[:12]}…)"
            )

    def remove_adapter(self, name: str) -> None:
        """Take an adapter away. Raises ConfigError when there is none of that name."""
        self._bank.remove(name)

    # ---- sentence vectors

    def encode(
        self,
        texts: Sequence[str],
        adapter: str | Sequence[str | None] | None = None,
        *,
        prompt: str | None = None,
        progress: Progress | None = None,
        deadline: Deadline | None = None,
    ) -> FloatArray:
        """Unit vectors [n, d] float32 of n texts, in their order.

        `adapter` is one name for all texts or one a text (None: the frozen base); texts of different
        adapters share batches. `prompt` is the name of one of the model's own prompts ("query",
        "document"); a model without it embeds the text as it is. `progress` is called with the
        number of texts done since the last call.
        """
        names = _one_each(adapter, texts, "texts")
        vectors = np.zeros((len(texts), self._identity.dimension), dtype=np.float32)
        for start in range(0, len(texts), CHUNK):
            chunk = slice(start, start + CHUNK)
            ids = self.token_ids(texts[chunk], prompt)
            through = self._each_its_own(names[chunk])
            self._embed(ids, self._whole, through, deadline, progress, into=vectors[chunk])
        return vectors

    def encode_mixture(
        self,
        texts: Sequence[str],
        adapters: Sequence[str],
        weights: FloatArray,
        *,
        prompt: str | None = None,
        deadline: Deadline | None = None,
    ) -> FloatArray:
        """Unit vectors [n, d] of texts through a mixture of adapters each, all in one pass.

        Text i gets Σ_j weights[i, j] of what adapter j changes in every layer; see
        `AdapterBank.mixtures`. `weights` is [n, adapters]; a row of zeros is the frozen base.
        """
        through = self._mixed(adapters, weights, len(texts))
        return self._embed(self.token_ids(texts, prompt), self._whole, through, deadline)

    def begin(
        self,
        texts: Sequence[str],
        *,
        layers: int | None = None,
        prompt: str | None = None,
        deadline: Deadline | None = None,
    ) -> EarlyStates:
        """Run the texts through the lower layers only, which all adapters leave as they are.

        By default as many as no adapter that is loaded changes. `finish` makes vectors of the states,
        by whatever adapters are then chosen, in the time of the upper layers alone.
        """
        ids = self.token_ids(texts, prompt)
        return self.begin_ids(ids, self.shared_layers if layers is None else layers, deadline)

    def begin_ids(
        self, ids: Sequence[Sequence[int]], layers: int, deadline: Deadline | None = None
    ) -> EarlyStates:
        """The same from token ids, which `token_ids` gives."""
        rows: list[Tensor] = [torch.empty(0)] * len(ids)
        for batch in self.buckets([len(row) for row in ids]):
            if deadline is not None:
                deadline.check("encoding")
            inputs = pad([ids[i] for i in batch], self._pad_id)
            with torch.inference_mode():
                states = self._split.lower(self._moved(inputs), layers)
            for i, state in zip(batch, states, strict=True):
                rows[i] = state[: max(1, len(ids[i]))]
        return EarlyStates(tuple(rows), layers)

    def finish(
        self,
        states: EarlyStates,
        adapter: str | Sequence[str | None] | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> FloatArray:
        """The vectors [n, d] that `encode` gives, from the states that `begin` gave.

        Raises ConfigError for an adapter that changes one of the layers that are done.
        """
        names = _one_each(adapter, states.rows, "texts")
        self._check_above([name for name in dict.fromkeys(names) if name], states.layers)
        upper = partial(self._upper, layers=states.layers)
        return self._embed(states.rows, upper, self._each_its_own(names), deadline)

    def finish_mixture(
        self,
        states: EarlyStates,
        adapters: Sequence[str],
        weights: FloatArray,
        *,
        deadline: Deadline | None = None,
    ) -> FloatArray:
        """The vectors [n, d] that `encode_mixture` gives, from the states that `begin` gave.

        Raises ConfigError for an adapter that changes one of the layers that are done.
        """
        self._check_above(adapters, states.layers)
        through = self._mixed(adapters, weights, len(states.rows))
        upper = partial(self._upper, layers=states.layers)
        return self._embed(states.rows, upper, through, deadline)

    @property
    def routing_layers(self) -> int:
        """How many lower layers no query expert changes, so that routers can look at what they give."""
        return self._split.layers // 2

    def features(self, states: EarlyStates) -> FloatArray:
        """What routers look at [n, d], from states that `begin` gave; see `backbone.features`."""
        if states.layers not in self._references:
            rows = self.begin(REFERENCE, layers=states.layers, prompt="query").rows
            self._references[states.layers] = mean_states(rows).mean(0)
        return features(states.rows, self._references[states.layers])

    def _check_above(self, adapters: Sequence[str], layers: int) -> None:
        for name in adapters:
            _check_above(f"adapter {name!r}", self.lowest_layer(name), layers)

    def lowest_layer(self, name: str) -> int:
        """The lowest transformer layer that an adapter changes, counted from 0. Raises ConfigError."""
        return min(self._split.layer_of(layer) for layer in self._bank.layers(name))

    @property
    def shared_layers(self) -> int:
        """How many lower layers no adapter in the bank changes; all where there is none."""
        lowest = (self.lowest_layer(name) for name in self._bank.names)
        return max(0, min([self._split.layers, *lowest]))

    def token_ids(self, texts: Sequence[str], prompt: str | None = None) -> list[list[int]]:
        """The token ids of texts as `encode` sees them: with the prompt, cut to the model's length."""
        if not texts:
            return []
        prefix = self._layout.prompts.get(prompt or self._layout.default_prompt or "", "")
        safe = [prefix + scrub(text) for text in texts]
        if self._layout.lower_case:
            safe = [text.lower() for text in safe]
        ids: list[list[int]] = self.tokenizer(
            safe,
            truncation=True,
            max_length=self._layout.max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        return ids

    def _embed(
        self,
        rows: Sequence[_Row],
        states: Callable[[list[_Row]], tuple[Tensor, Tensor]],
        through: _Through,
        deadline: Deadline | None,
        progress: Progress | None = None,
        into: FloatArray | None = None,
    ) -> FloatArray:
        """Unit vectors [n, d] of n rows, batch by batch, written to `into` where it is given.

        `states` makes a batch's rows into last hidden states and their mask.
        """
        if into is None:
            into = np.zeros((len(rows), self._identity.dimension), dtype=np.float32)
        for batch in self.buckets([len(row) for row in rows]):
            if deadline is not None:
                deadline.check("encoding")
            with torch.inference_mode(), through(batch):
                into[batch] = self._sentence_vectors(*states([rows[i] for i in batch]))
            if progress is not None:
                progress(len(batch))
        return into

    def _each_its_own(self, names: Sequence[str | None]) -> _Through:
        """Row i through adapter names[i]."""
        return lambda batch: self._bank.rows([names[i] for i in batch])

    def _mixed(self, adapters: Sequence[str], weights: FloatArray, n: int) -> _Through:
        """Row i of n through the adapters in the shares weights[i]."""
        if len(weights) != n:
            raise ConfigError(f"{len(weights)} rows of weights for {n} texts")
        shares = torch.from_numpy(np.asarray(weights, dtype=np.float32))
        return lambda batch: self._bank.mixtures(adapters, shares[batch])

    def _whole(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Last hidden states [n, length, d] of token ids, and their mask [n, length]."""
        inputs = pad(ids, self._pad_id)
        return self.forward(inputs), inputs["attention_mask"]

    def _upper(self, rows: Sequence[Tensor], layers: int) -> tuple[Tensor, Tensor]:
        """The same of what the first `layers` layers gave for each text."""
        padded, mask = pad_states(rows)
        return self.forward_upper(padded, mask, layers), mask

    def _sentence_vectors(self, states: Tensor, mask: Tensor) -> FloatArray:
        found: FloatArray = self._pooled(states, mask).cpu().numpy()
        return found

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        vectors = pool(states, mask.to(self.device), self._layout.pooling)
        for dense in self._dense:
            vectors = dense(vectors)
        return nn.functional.normalize(vectors, dim=-1)

    # ---- token states of pairs

    def windows(
        self, pairs: Sequence[tuple[str, str]], max_length: int = 384, overlap: int = 128
    ) -> list[Window]:
        """(question, passage) pairs as windows of token ids; see `make_windows`."""
        config: Any = self.model.config
        limit = position_limit(config.model_type, getattr(config, "max_position_embeddings", None))
        return make_windows(self.tokenizer, pairs, min(max_length, limit), overlap)

    def tokens(
        self,
        pairs: Sequence[tuple[str, str]],
        adapter: str | Sequence[str | None] | None = None,
        *,
        max_length: int = 384,
        overlap: int = 128,
        layers: int | None = None,
        deadline: Deadline | None = None,
    ) -> Iterator[TokenBatch]:
        """Token states of windows over (question, passage) pairs, in length-bucketed batches.

        `adapter` is one name for all pairs or one a pair; `layers` stops after so many. Every window comes
        exactly once, in no particular order: `Window.pair` says whose it is.
        """
        names = _one_each(adapter, pairs, "pairs")
        if self._kept is not None and layers is None:
            self._check_above([name for name in dict.fromkeys(names) if name], self._kept.layers)
        windows = self.windows(pairs, max_length, overlap)
        for batch in self.buckets([len(window) for window in windows]):
            if deadline is not None:
                deadline.check("reading")
            chosen = tuple(windows[i] for i in batch)
            through = [names[window.pair] for window in chosen]
            with torch.inference_mode(), self._bank.rows(through):
                states, mask = self.pair_states(chosen, layers)
            yield TokenBatch(chosen, states, mask)

    @contextmanager
    def keeping_pairs(self, layers: int) -> Iterator[KeptPairs]:
        """A block in which the first `layers` layers see each pair once, by `tokens` and in training.

        What they gave is kept in memory. Within the block `tokens` and `using` raise ConfigError for
        an adapter that changes one of these layers.
        """
        before, self._kept = (
            self._kept,
            KeptPairs(layers, partial(self._lower_pairs, layers=layers)),
        )
        try:
            yield self._kept
        finally:
            self._kept = before

    def pair_states(
        self, windows: Sequence[Window], layers: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Last hidden states [n, length, d] of windows through whatever adapter is active, and their mask.

        See `forward` for `layers`; with it nothing is kept.
        """
        if self._kept is not None and layers is None:
            states, mask = self._kept.states(windows)
            return self.forward_upper(states, mask, self._kept.layers), mask
        inputs = collate(windows, self._pad_id)
        return self.forward(inputs, layers), inputs["attention_mask"].to(self.device)

    def _lower_pairs(self, windows: Sequence[Window], layers: int) -> Tensor:
        inputs = self._moved(collate(windows, self._pad_id))
        with torch.autocast(self.device.type, enabled=False):
            return self._split.lower(inputs, layers)

    # ---- the forward pass itself, for training

    def using(self, adapter: LoraAdapter | None, dropout: float = 0.0) -> Any:
        """A block in which `forward` goes through an adapter that is being trained, with dropout in it."""
        if self._kept is not None and adapter is not None:
            lowest = min(map(self._split.layer_of, adapter.layers), default=self._split.layers)
            _check_above("the adapter", lowest, self._kept.layers)
        return self._bank.training(adapter, dropout)

    def forward(self, inputs: dict[str, Tensor], layers: int | None = None) -> Tensor:
        """Last hidden states [n, length, d] of padded token ids, through whatever adapter is active.

        With `layers` those after so many of them, and the others are not run. Raises ConfigError where
        there are not so many, ModelError where this model cannot be cut.
        """
        if layers is not None:
            return self._split.lower(self._moved(inputs), layers)
        states: Tensor = self.model(**self._moved(inputs)).last_hidden_state
        return states

    def sentence_vectors(self, inputs: dict[str, Tensor]) -> Tensor:
        """Unit vectors [n, d] float32 of padded token ids, on the device, through what is active.

        The part of `encode` that gradients flow through.
        """
        return self._pooled(self.forward(inputs), inputs["attention_mask"])

    def sentence_vectors_upper(self, rows: Sequence[Tensor], layers: int) -> Tensor:
        """The same from the states that the first `layers` layers gave for each text."""
        return self._pooled(*self._upper(rows, layers))

    def forward_upper(self, states: Tensor, mask: Tensor, layers: int) -> Tensor:
        """The same from the states [n, length, d] that the first `layers` layers gave."""
        return self._split.upper(states, mask, layers)

    def _moved(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        moved = {key: value.to(self.device) for key, value in inputs.items()}
        if "token_type_ids" in moved and not getattr(self.model.config, "type_vocab_size", 0) > 1:
            del moved["token_type_ids"]
        return moved

    def buckets(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """The places of rows of these lengths in batches that pass fastest here; see `length_buckets`."""
        return length_buckets(lengths, self._batch_tokens, batch_cost=self._batch_cost)

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)


def _check_above(what: str, lowest: int, layers: int) -> None:
    if lowest < layers:
        raise ConfigError(
            f"{what} changes layer {lowest}, but {layers} lower layers are done; begin with fewer"
        )


def _one_each(
    adapter: str | Sequence[str | None] | None, items: Sequence[Any], what: str
) -> Sequence[str | None]:
    """An adapter's name for each item. Raises TypeError for one string in place of many."""
    if isinstance(items, str):
        raise TypeError("encode takes a sequence of texts, not one string")
    if adapter is None or isinstance(adapter, str):
        return [adapter] * len(items)
    if len(adapter) != len(items):
        raise ConfigError(
            f"{len(adapter)} adapter names for {len(items)} {what}; give one, or one for each"
        )
    return adapter


def _load_transformer(
    folder: Path, name: str, dtype: torch.dtype, attention: str | None
) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    # The library's bars and notes would land in the middle of our own output.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        # The base is frozen: its dropout would only add noise, and on a CPU it triples a training step.
        for key in (
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "dropout",
            "attention_dropout",
        ):
            if hasattr(config, key):
                setattr(config, key, 0.0)
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
    except (
        Exception
    ) as error:  # a loader of many formats fails in many ways; all mean the same here
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{name}: cannot be loaded as an encoder ({reason})") from error
    # What a file does not hold is left random, silently. Only the pooler's output is never used.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ModelError(f"{name}: its weights are incomplete ({missing[0]} is missing)")
    # Without its files a tokenizer comes up empty, and every word would be the unknown one.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"{name}: its tokenizer has no vocabulary; is tokenizer.json missing?")
    if not tokenizer.is_fast:
        raise ModelError(
            f"{name}: its tokenizer gives no character offsets; one with tokenizer.json does"
        )
    # A tokenizer.json may carry truncation and padding of its own (the default's does, to 128).
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    # Lengths are ours to set on every call; without this a long text draws a warning.
    tokenizer.model_max_length = int(1e30)
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return model.eval().requires_grad_(False), tokenizer


def _dense(folder: Path) -> nn.Module:
    """sentence-transformers' projection after pooling: a linear layer and its activation, in fp32."""
    config = _json(folder / "config.json")
    if config.get("use_residual") or config.get("module_input_name", _SENTENCE) != _SENTENCE:
        raise ModelError(f"{folder}: only a plain projection of the sentence vector is supported")
    tensors = read_safetensors(folder / "model.safetensors")
    linear = nn.Linear(config["in_features"], config["out_features"], bias="linear.bias" in tensors)
    linear.load_state_dict({key.removeprefix("linear."): value for key, value in tensors.items()})
    activation = str(config.get("activation_function", "Tanh"))
    layer = getattr(nn, activation.rsplit(".", 1)[-1], None)
    if layer is None:
        raise ModelError(f"{folder}: unknown activation {activation}")
    return nn.Sequential(linear, layer()).eval().requires_grad_(False)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
