from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, DeadlineError, InputError
from pointsman.protocols import Selector
from pointsman.read.generated import GeneratedLikelihood
from pointsman.select.em import centred, sample_weights, selector_loss
from pointsman.select.generative import GenerativeSelector, among
from pointsman.select.permutation import END, all_selections
from pointsman.types import Passage
from tiny import write_causal

PASSAGES = [Passage(str(i), text) for i, text in enumerate(("red alpha", "gold beta", "blue mu"))]
PROMPT = "{passages} what {question} here:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_causal(tmp_path_factory.mktemp("causal"))


def selector(folder: Path, **settings: Any) -> GenerativeSelector:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["[", "]", ">"])
    tokenizer.add_special_tokens({"eos_token": "[END]"})
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(0)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return GenerativeSelector(model.eval(), tokenizer, **({"k": 3, "prompt": PROMPT} | settings))


def test_all_selections_together_are_certain_and_are_drawn_as_often(folder: Path) -> None:
    writes = selector(folder)
    every = all_selections(3, 3, stopping=True)
    with torch.no_grad():
        chances = writes.log_prob("gold", PASSAGES, every).exp()
    assert chances.sum().item() == pytest.approx(1, abs=1e-5)
    drawn = writes.sample("gold", PASSAGES, 3_000, torch.Generator().manual_seed(0))
    shares = [(drawn == row).all(1).double().mean().item() for row in every]
    assert shares == pytest.approx(chances.tolist(), abs=0.03)
    best = writes.best("gold", PASSAGES)
    assert (every == best).all(1).any()


def test_the_probability_is_that_of_the_tokens_among_the_allowed_ones(folder: Path) -> None:
    """By hand: "[2]" and the end, of two candidates."""
    writes = selector(folder)
    tokenizer = writes._tokenizer
    two = PASSAGES[:2]
    text = "[1] red alpha\n[2] gold beta what gold here:"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]

    def after(written: str, options: list[str]) -> torch.Tensor:
        more = tokenizer(written, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = writes.model(torch.tensor([ids + more])).logits[0, -1]
        places = [tokenizer.convert_tokens_to_ids(each) for each in options]
        return logits[places].softmax(-1)

    # "[" and "]" have no rival; the number has one, and the end has another identifier.
    by_hand = after("[", ["1", "2"])[1] * after("[2]", ["[END]", ">"])[0]
    with torch.no_grad():
        found = writes.log_prob("gold", two, torch.tensor([[1, END, END]])).exp()
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-4)


def test_fewer_candidates_than_choices(folder: Path) -> None:
    writes = selector(folder, k=5)
    drawn = writes.sample("gold", PASSAGES[:2], 50, torch.Generator().manual_seed(1))
    assert {tuple(row[2:]) for row in drawn.tolist()} == {(END, END, END)}
    with torch.no_grad():
        every = torch.tensor([[0, 1], [1, 0], [0, END], [1, END]])
        whole = torch.cat([every, torch.full((4, 3), END)], dim=1)
        assert writes.log_prob("gold", PASSAGES[:2], whole).exp().sum().item() == pytest.approx(1)
    assert writes.sample("gold", [], 2).tolist() == [[END] * 5] * 2


def test_a_narrow_row_ends_where_it_ends_and_a_wide_one_is_refused(folder: Path) -> None:
    writes = selector(folder, k=2)
    with torch.no_grad():
        narrow, whole = (
            writes.log_prob("gold", PASSAGES, torch.tensor(rows))
            for rows in ([[1], [0]], [[1, END, END, END], [0, END, END, END]])
        )
    torch.testing.assert_close(narrow, whole)
    with pytest.raises(InputError, match="at most 2 of 3 candidates"):
        writes.log_prob("gold", PASSAGES, torch.tensor([[0, 1, 2]]))


def test_it_selects_as_any_selector(folder: Path) -> None:
    """Also among empty passages and the same one twice, and of nothing nothing."""
    writes: Selector = selector(folder, k=2)
    same = [PASSAGES[0], PASSAGES[0], Passage("empty", ""), PASSAGES[1]]
    given = [PASSAGES, [], same]
    ones = [np.ones(len(each), np.float32) for each in given]
    first, none, third = writes.select(["gold", "gold", "gold"], given, ones)
    best = selector(folder, k=2).best("gold", PASSAGES)
    assert first.order.tolist() == [place for place in best.tolist() if place != END]
    assert none.order.tolist() == []
    assert len(set(third.order.tolist())) == len(third.order) >= 1
    with pytest.raises(DeadlineError, match="selecting passages"):
        writes.select(["gold"], [PASSAGES], ones[:1], deadline=Deadline(1e-9))


def test_it_learns_from_likelihoods_alone(folder: Path) -> None:
    """EM from nothing: the reader answers where it sees the golden passage, best when it is alone."""
    writes = selector(folder, k=2)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(writes.model.parameters(), lr=3e-3)
    orders = [[0, 1, 2], [1, 0, 2], [2, 0, 1], [0, 2, 1], [1, 2, 0], [2, 1, 0]]

    def likelihoods(order: list[int], drawn: torch.Tensor) -> torch.Tensor:
        golden = order.index(1)
        seen = (drawn == golden).any(1)
        return torch.where(seen, -(drawn != END).sum(1).double().log(), -torch.inf)

    for step in range(150):
        order = orders[step % len(orders)]
        shown = [PASSAGES[i] for i in order]
        drawn = writes.sample("gold", shown, 8, generator)
        weights = centred(sample_weights(likelihoods(order, drawn)))
        loss = selector_loss(weights, writes.log_prob("gold", shown, drawn))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    chosen = [writes.best("gold", [PASSAGES[i] for i in order]).tolist() for order in orders]
    assert chosen == [[order.index(1), END] for order in orders]


def test_another_model_says_how_well_a_selection_explains_the_answer(folder: Path) -> None:
    """DRO with two generating models, as docs/selection.md shows it."""
    writes = selector(folder, k=2)
    likelihood = GeneratedLikelihood("causal", writes.model, writes._tokenizer)
    drawn = writes.sample("gold", PASSAGES, 4, torch.Generator().manual_seed(0))
    shown = [[PASSAGES[i] for i in row if i >= 0] for row in drawn.tolist()]
    weights = sample_weights(torch.tensor(likelihood.log_likelihoods("gold", shown, ["beta"])))
    assert weights.sum().item() == pytest.approx(1)
    assert len(set(weights.tolist())) > 1
    selector_loss(weights, writes.log_prob("gold", PASSAGES, drawn)).backward()
    slopes = [p.grad for p in writes.model.parameters() if p.grad is not None]
    assert any(slope.abs().sum() > 0 for slope in slopes)
    assert all(torch.isfinite(slope).all() for slope in slopes)


def test_long_passages_are_cut_alike(folder: Path) -> None:
    writes = selector(folder, k=2)
    long = [Passage("a", "red " * 90), Passage("b", "gold " * 60), Passage("c", "blue")]
    with torch.no_grad():
        found = writes.log_prob("gold", long, torch.tensor([[2, 0]]))
    assert torch.isfinite(found).all()
    with pytest.raises(
        ConfigError, match="40 passages and the question do not fit into 128 tokens"
    ):
        writes.best("gold", PASSAGES * 13 + PASSAGES[:1])


def test_a_model_that_gives_no_numbers_gives_no_nan() -> None:
    logits = torch.tensor([[-torch.inf, -torch.inf, 1.0], [torch.nan, 0.0, 5.0]])
    allowed = torch.tensor([[True, True, False], [True, True, False]])
    found = among(logits, allowed).exp()
    assert found.tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "at least 1 choice"),
        ({"identifier": "[x]"}, "a place for its number"),
        ({"identifier": "{}"}, "begins that of another"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    folder: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        selector(folder, **settings).best("gold", PASSAGES * 4)


@pytest.mark.parametrize("row", [[3, 0], [0, 0], [END, 0], [0, END, 1]])
def test_a_selection_that_cannot_be_written_is_refused(folder: Path, row: list[int]) -> None:
    with pytest.raises(InputError, match="a selection"):
        selector(folder).log_prob("gold", PASSAGES, torch.tensor([row]))
