"""Vectors of texts: a rival's values, and nothing that depends on who travels in the same batch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.weights import locate
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, DeadlineError, ModelError
from pointsman.types import FloatArray
from tiny import WIDTH, WORDS, write_dense, write_json, write_sentence_transformer

TEXTS = [
    "",
    " ",
    "What follows alpha?",
    "naïve café, STRASSE and ﬁgures",
    "日本語のテキスト",
    "שלום עולם",
    "مرحبا بالعالم",
    "🙂 fine 👩‍🚀",
    "line one\nline two\ttabbed",
    "a" * 300,
    "the colour of alpha is red. " * 100,
]


def rival(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def unit(vectors: FloatArray) -> FloatArray:
    norms: FloatArray = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / norms


@contextmanager
def batches_of(backbone: Backbone, tokens: int) -> Iterator[None]:
    before, backbone._batch_tokens = backbone._batch_tokens, tokens
    try:
        yield
    finally:
        backbone._batch_tokens = before


def test_the_default_agrees_with_sentence_transformers(default: Backbone) -> None:
    theirs = rival(locate().path)
    theirs.max_seq_length = 256
    # Its tokenizer.json truncates to 128 by itself; the comparison must be at 256.
    assert theirs.tokenize(["word " * 600])["input_ids"].shape[1] == 256
    vectors = default.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosine = (vectors * unit(theirs.encode(TEXTS))).sum(1)
    assert cosine.min() >= 0.9999


def test_the_default_reads_beyond_its_tokenizers_own_128_tokens(default: Backbone) -> None:
    body = "word " * 126  # with two special tokens: 128
    short, same, longer, cut, far = default.encode(
        [body, body, body + "alphabet " * 70, "word " * 254, "word " * 254 + "alphabet"]
    )
    assert short @ same == pytest.approx(1, abs=1e-5)
    assert short @ longer < 0.999
    assert cut @ far == pytest.approx(1, abs=1e-5)  # 256 is its maximum
    assert default.identity.max_length == 256


MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
OLD = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def agrees(folder: Path, prompt: str | None = None) -> Backbone:
    """Assert that we embed as sentence-transformers does from the same folder."""
    ours = Backbone.load(folder, device="cpu", dtype="fp32")
    theirs = unit(rival(folder).encode(TEXTS, prompt_name=prompt))
    vectors = ours.encode(TEXTS, prompt=prompt)
    assert vectors.shape == theirs.shape == (len(TEXTS), ours.identity.dimension)
    assert (vectors * theirs).sum(1).min() >= 0.9999
    return ours


@pytest.mark.parametrize("mode", MODES)
def test_every_pooling_in_the_new_spelling(tmp_path: Path, mode: str) -> None:
    folder = write_sentence_transformer(tmp_path / "m", {"pooling_mode": mode})
    ours = agrees(folder)
    assert ours.identity.pooling == mode
    assert ours.identity.max_length == 48


@pytest.mark.parametrize("mode", MODES)
def test_every_pooling_in_the_old_spelling(tmp_path: Path, mode: str) -> None:
    flags = {key: key == OLD[mode] for key in OLD.values()}
    folder = write_sentence_transformer(tmp_path / "m", flags)
    assert agrees(folder).identity.pooling == mode


def test_several_poolings_are_concatenated(tmp_path: Path) -> None:
    folder = write_sentence_transformer(
        tmp_path / "m", {OLD["mean"]: True, OLD["cls"]: True, OLD["max"]: True}
    )
    ours = agrees(folder)
    assert ours.identity.dimension == 3 * WIDTH
    assert ours.identity.pooling == "cls+max+mean"
    folder = write_sentence_transformer(tmp_path / "n", {"pooling_mode": ["mean", "cls"]})
    assert agrees(folder).identity.pooling == "mean+cls"


def test_a_projection_and_normalisation(tmp_path: Path) -> None:
    folder = write_sentence_transformer(
        tmp_path / "m", {"pooling_mode": "mean"}, dense=20, extra_modules=["Normalize"]
    )
    ours = agrees(folder)
    assert ours.identity.dimension == 20
    assert ours.identity.pooling == "mean+dense"


@pytest.mark.parametrize(
    "activation", ["torch.nn.modules.linear.Identity", "torch.nn.modules.activation.GELU"]
)
def test_a_projections_activation(tmp_path: Path, activation: str) -> None:
    folder = write_sentence_transformer(tmp_path / "m", {"pooling_mode": "mean"}, dense=20)
    write_dense(folder / "2_Dense", 20, activation_function=activation)
    agrees(folder)


@pytest.mark.parametrize("config", [{"use_residual": True}, {"module_input_name": "tokens"}])
def test_a_projection_of_another_kind_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = write_sentence_transformer(tmp_path / "m", {"pooling_mode": "mean"}, dense=WIDTH)
    write_dense(folder / "2_Dense", WIDTH, **config)
    with pytest.raises(ModelError, match="2_Dense: only a plain projection"):
        Backbone.load(folder)


def test_the_newest_spelling_is_what_sentence_transformers_saves_itself(tmp_path: Path) -> None:
    folder = write_sentence_transformer(
        tmp_path / "old", {OLD["mean"]: True}, prompts={"query": "alpha "}, dense=20
    )
    rival(folder).save_pretrained(str(tmp_path / "new"))
    ours = agrees(tmp_path / "new", "query")
    assert ours.identity.max_length == 48
    assert ours.identity.prompts == {"query": "alpha "}


def test_prompts(tmp_path: Path) -> None:
    folder = write_sentence_transformer(
        tmp_path / "m",
        {"pooling_mode": "mean"},
        prompts={"query": "what is ", "document": ""},
        default_prompt="query",
    )
    ours = agrees(folder)  # the default prompt is on
    agrees(folder, "query")
    assert ours.identity.prompts == {"query": "what is "}
    plain = Backbone.load(
        write_sentence_transformer(tmp_path / "n", {"pooling_mode": "mean"}),
        device="cpu",
        dtype="fp32",
    )
    assert np.array_equal(ours.encode(["alpha"], prompt="query"), plain.encode(["what is alpha"]))
    assert np.array_equal(ours.encode(["alpha"], prompt="document"), plain.encode(["alpha"]))
    assert np.array_equal(plain.encode(["alpha"], prompt="query"), plain.encode(["alpha"]))


def test_lower_casing(tmp_path: Path) -> None:
    folder = write_sentence_transformer(tmp_path / "m", {"pooling_mode": "mean"})
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    write_json(folder / "tokenizer.json", tokenizer)
    cased = Backbone.load(folder, device="cpu", dtype="fp32")
    assert not np.allclose(*cased.encode(["ALPHA beta", "alpha beta"]))
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": True})
    lower = Backbone.load(folder, device="cpu", dtype="fp32")
    assert np.array_equal(*lower.encode(["ALPHA beta", "alpha beta"]))


def test_a_plain_encoder_is_mean_pooled(tiny: Backbone, tmp_path: Path) -> None:
    mean = write_sentence_transformer(tmp_path / "m", {"pooling_mode": "mean"}, max_length=128)
    expected = Backbone.load(mean, device="cpu", dtype="fp32").encode(TEXTS)
    assert np.array_equal(tiny.encode(TEXTS), expected)
    assert (tiny.identity.pooling, tiny.identity.max_length) == ("mean", 128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra_modules": ["LSTM"]}, "its module LSTM is not supported"),
        ({"pooling": {"pooling_mode": "median"}}, "unknown pooling 'median'"),
        (
            {"pooling": {"pooling_mode": "mean", "include_prompt": False}},
            "leaves the prompt out is not supported",
        ),
    ],
)
def test_what_is_not_known_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    arguments = {"pooling": {"pooling_mode": "mean"}, **change}
    with pytest.raises(ModelError, match=message):
        Backbone.load(write_sentence_transformer(tmp_path / "m", **arguments))


def test_modules_that_are_not_json(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "m"))
    (folder / "modules.json").write_text("[")
    with pytest.raises(ModelError, match=r"modules\.json: not valid JSON"):
        Backbone.load(folder)


def test_one_by_one_equals_together(tiny: Backbone) -> None:
    together = tiny.encode(TEXTS)
    apart = np.concatenate([tiny.encode([text]) for text in TEXTS])
    assert np.abs(together - apart).max() < 1e-5


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12), budget=st.integers(1, 300))
def test_order_is_preserved_in_batches_of_any_size(
    tiny: Backbone, lengths: list[int], budget: int
) -> None:
    texts = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(n)) for i, n in enumerate(lengths)]
    expected = tiny.encode(texts)
    done: list[int] = []
    with batches_of(tiny, budget):
        found = tiny.encode(texts, progress=done.append)
    assert np.abs(found - expected).max() < 1e-5
    assert sum(done) == len(texts)


def test_no_texts(tiny: Backbone) -> None:
    assert tiny.encode([]).shape == (0, WIDTH)
    assert tiny.encode([], adapter=[]).shape == (0, WIDTH)


def test_a_single_text_is_a_mistake(tiny: Backbone) -> None:
    with pytest.raises(TypeError, match="sequence of texts"):
        tiny.encode("alpha")


def test_text_from_anywhere(tiny: Backbone) -> None:
    odd = ["\ud800 alpha", "alpha\x00beta\x1b", "\x7f", "\ufffd", "alpha " * 20_000, "é" * 100_000]
    vectors = tiny.encode(odd)
    assert np.isfinite(vectors).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    # A character that means nothing does not move its neighbours (rows of a batch may go through
    # different threads, which sum in different orders).
    one, other = tiny.encode(["\x00 alpha", "\ufffd alpha"])
    assert np.allclose(one, other, atol=1e-6)


def test_a_deadline_that_has_passed(tiny: Backbone) -> None:
    deadline = Deadline()
    deadline.cancel()
    with pytest.raises(DeadlineError, match="encoding"):
        tiny.encode(["alpha"], deadline=deadline)
    assert tiny.encode(["alpha"], deadline=Deadline(60)).shape == (1, WIDTH)


def test_an_adapter_that_is_not_there(tiny: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"no adapter 'expert' is loaded \(loaded: none\)"):
        tiny.encode(["alpha"], adapter="expert")
    with pytest.raises(ConfigError, match="2 adapter names for 1 texts"):
        tiny.encode(["alpha"], adapter=[None, None])


def test_an_encoder_that_has_no_fused_attention_loads_by_itself(
    tiny_folder: Path, tmp_path: Path
) -> None:
    import transformers

    folder = tmp_path / "mpnet"
    shutil.copytree(tiny_folder, folder)
    words = json.loads((folder / "config.json").read_text())["vocab_size"]
    config = transformers.MPNetConfig(
        vocab_size=words,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=130,
    )
    model: Any = transformers.MPNetModel(config)
    model.save_pretrained(folder)
    vectors = Backbone.load(folder, device="cpu").encode(["what colour is alpha", "is it"])
    assert vectors.shape == (2, 32)
    assert np.isfinite(vectors).all()
