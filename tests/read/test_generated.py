from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, T5Config, T5ForConditionalGeneration

from pointsman.errors import ConfigError, ModelError
from pointsman.protocols import Likelihood
from pointsman.read.generated import GeneratedLikelihood
from pointsman.types import Passage
from tiny import VOCABULARY, write_causal, write_classifier, write_tiny

ONE, TWO = Passage("1", "alpha is red"), Passage("2", "beta is blue")
END = "[SEP]"


def ended(folder: Path) -> Path:
    """The same tokenizer, which knows how a text ends."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"eos_token": END})
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ended(write_causal(tmp_path_factory.mktemp("causal")))


@pytest.fixture(scope="module")
def seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny(tmp_path_factory.mktemp("seq2seq"))
    torch.manual_seed(2)
    config = T5Config(
        vocab_size=len(VOCABULARY),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        decoder_start_token_id=0,
        eos_token_id=3,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return ended(folder)


def test_the_likelihood_is_the_product_of_the_answers_tokens(causal: Path) -> None:
    likelihood: Likelihood = GeneratedLikelihood.load(str(causal), device="cpu", dtype="fp32")
    found = likelihood.log_likelihood("what is beta?", [ONE, TWO], ["blue"])
    model = AutoModelForCausalLM.from_pretrained(causal).eval()
    tokenizer = AutoTokenizer.from_pretrained(causal)
    asked = "alpha is red\nbeta is blue\n\nQuestion: what is beta?\nAnswer:"
    ids = tokenizer(asked)["input_ids"]
    total = 0.0
    for token in tokenizer.convert_tokens_to_ids(["blue", END]):
        with torch.no_grad():
            total += float(model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token])
        ids.append(token)
    assert found == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_order_answers_and_batches(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    likelihood = GeneratedLikelihood.load(str(folder), device="cpu", dtype="fp32")
    asked = "what is beta?"
    one, other, none = likelihood.log_likelihoods(asked, [[ONE, TWO], [TWO, ONE], []], ["blue"])
    assert all(math.isfinite(each) and each < 0 for each in (one, other, none))
    assert abs(one - other) > 1e-5
    assert likelihood.log_likelihood(asked, [TWO, ONE], ["blue"]) == pytest.approx(other, abs=1e-4)
    red = likelihood.log_likelihood(asked, [TWO, ONE], ["red"])
    both = likelihood.log_likelihood(asked, [TWO, ONE], ["blue", "red", " blue "])
    assert math.exp(both) == pytest.approx(math.exp(other) + math.exp(red), rel=1e-3)
    assert likelihood.log_likelihood(asked, [ONE], []) == -math.inf
    assert likelihood.log_likelihood(asked, [ONE], [" "]) == -math.inf


def test_an_encoder_decoders_likelihood_by_hand(seq2seq: Path) -> None:
    """Token after token behind the decoder's start, the end included."""
    likelihood = GeneratedLikelihood.load(str(seq2seq), device="cpu", dtype="fp32")
    found = likelihood.log_likelihood("what is beta?", [ONE, TWO], ["red blue"])
    model = T5ForConditionalGeneration.from_pretrained(seq2seq).eval()
    tokenizer = AutoTokenizer.from_pretrained(seq2seq)
    asked = "alpha is red\nbeta is blue\n\nQuestion: what is beta?\nAnswer:"
    ids = torch.tensor([tokenizer(asked)["input_ids"]])
    written, total = [0], 0.0
    for token in tokenizer.convert_tokens_to_ids(["red", "blue", END]):
        with torch.no_grad():
            logits = model(input_ids=ids, decoder_input_ids=torch.tensor([written])).logits[0, -1]
        total += float(logits.log_softmax(-1)[token])
        written.append(token)
    assert found == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_answers_of_the_same_tokens_count_once(kind: str, request: pytest.FixtureRequest) -> None:
    """This tokenizer knows no capitals."""
    folder = request.getfixturevalue(kind)
    likelihood = GeneratedLikelihood.load(str(folder), device="cpu", dtype="fp32")
    once = likelihood.log_likelihood("what?", [ONE], ["red"])
    assert likelihood.log_likelihood("what?", [ONE], ["red", "Red", "RED"]) == pytest.approx(once)


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_a_model_that_gives_no_number_gives_no_chance(
    kind: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    likelihood = GeneratedLikelihood.load(str(folder), device="cpu", dtype="fp32")
    with torch.no_grad():
        for parameter in likelihood._model.parameters():
            parameter.fill_(math.nan)
    assert likelihood.log_likelihoods("what?", [[ONE], []], ["red"]) == [-math.inf, -math.inf]


def test_passages_lose_their_end_and_the_question_stays(causal: Path) -> None:
    likelihood = GeneratedLikelihood.load(str(causal), device="cpu", dtype="fp32")
    long = Passage("l", "red " * 300)
    longer = Passage("l", "red " * 400)
    cut, cut_more = likelihood.log_likelihoods("what is beta?", [[long], [longer]], ["blue"])
    assert cut == pytest.approx(cut_more, abs=1e-4)
    with pytest.raises(ConfigError, match="do not fit into 128 tokens"):
        likelihood.log_likelihood("beta " * 200, [ONE], ["blue"])


def test_what_generates_nothing_is_refused(tmp_path: Path, causal: Path) -> None:
    folder = write_classifier(tmp_path / "classifier", 1)
    said = "a causal language model or a sequence-to-sequence model is needed, not Bert"
    with pytest.raises(ModelError, match=said):
        GeneratedLikelihood.load(str(folder))
    endless = write_causal(tmp_path / "endless")
    with pytest.raises(ConfigError, match="no token for the end"):
        GeneratedLikelihood.load(str(endless), device="cpu")
