from __future__ import annotations

import pytest
import torch

from pointsman.errors import ConfigError, SpecialistError
from pointsman.select.permutation import END, all_selections, best, log_prob, sample
from pointsman.select.pointer import PointerHead


def head(features: int = 6, width: int = 16, seed: int = 0) -> PointerHead:
    """A head whose every part has a say."""
    made = PointerHead.fresh(features, width, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    drawn = {
        name: tensor + torch.randn(tensor.shape, generator=generator)
        if name.startswith(("score", "query", "stop"))
        else tensor
        for name, tensor in made.tensors.items()
    }
    return PointerHead(drawn)


def some(questions: int, candidates: int, seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.randn(questions, candidates, 6, generator=torch.Generator().manual_seed(seed))
    return features, torch.ones(questions, candidates, dtype=torch.bool)


def test_a_fresh_head_finds_all_alike_and_rarely_stops() -> None:
    fresh = PointerHead.fresh(6, 16, torch.Generator().manual_seed(0))
    seen = fresh.candidates(*some(2, 5))
    scores = fresh.scores(seen, torch.tensor([[[0, 1, 2]], [[3, 2, 1]]]))
    assert scores.shape == (2, 1, 3, 6)
    assert scores[:, :, 0, :5].std() < 0.5
    assert (scores.softmax(-1)[..., -1] < 0.05).all()


def test_loth_to_stop_is_every_step_s_odds_and_nothing_else() -> None:
    pointer = head()
    seen, chosen = pointer.candidates(*some(2, 5)), torch.tensor([[[0, 1, 2]], [[3, 2, 1]]])
    before, after = (each.scores(seen, chosen) for each in (pointer, pointer.loth_to_stop(6.0)))
    torch.testing.assert_close(after[..., -1], before[..., -1] - 6.0)
    torch.testing.assert_close(after[..., :-1], before[..., :-1])


def test_every_selection_together_is_certain_and_order_matters() -> None:
    pointer = head()
    seen = pointer.candidates(*some(1, 4))
    every = all_selections(4, 3, stopping=True)
    chances = log_prob(pointer.scores(seen, every[None])[0], every).exp()
    assert chances.sum().item() == pytest.approx(1, abs=1e-5)
    by_row = {tuple(row): p for row, p in zip(every.tolist(), chances.tolist(), strict=True)}
    assert by_row[0, 1, 2] != pytest.approx(by_row[2, 1, 0], rel=1e-3)


def test_scores_of_a_step_follow_from_what_was_chosen_before_it_alone() -> None:
    pointer = head()
    seen = pointer.candidates(*some(1, 5))
    one = pointer.scores(seen, torch.tensor([[[3, 1, 4]]]))
    other = pointer.scores(seen, torch.tensor([[[3, 1, 0]]]))
    torch.testing.assert_close(one, other)
    prefix = pointer.scores(seen, torch.tensor([[[3, 1]]]))
    torch.testing.assert_close(one[:, :, :2], prefix)
    changed = pointer.scores(seen, torch.tensor([[[2, 1, 4]]]))
    torch.testing.assert_close(one[:, :, 0], changed[:, :, 0])
    assert not torch.allclose(one[:, :, 1], changed[:, :, 1])


def test_the_order_in_which_candidates_come_means_nothing() -> None:
    pointer = head()
    features, there = some(1, 5)
    order = torch.tensor([4, 2, 0, 1, 3])
    straight = pointer.scores(pointer.candidates(features, there), torch.tensor([[[0, 3]]]))
    turned = pointer.scores(pointer.candidates(features[:, order], there), torch.tensor([[[2, 4]]]))
    torch.testing.assert_close(turned[..., :5], straight[..., order])
    torch.testing.assert_close(turned[..., 5], straight[..., 5])


def test_padding_changes_nothing_and_is_never_chosen() -> None:
    pointer = head()
    features, there = some(2, 4)
    padded = torch.cat([features, torch.full((2, 3, 6), 9.0)], dim=1)
    real = torch.cat([there, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    real[1, 2:] = False
    selections = torch.tensor([[[0, 3]], [[1, END]]])
    alone = pointer.scores(pointer.candidates(features, there), selections)
    among = pointer.candidates(padded, real)
    together = pointer.scores(among, selections)
    torch.testing.assert_close(together[0, ..., :4], alone[0, ..., :4])
    torch.testing.assert_close(together[0, ..., -1], alone[0, ..., -1])
    # The second question has two candidates: after both there is nothing but the end.
    one = pointer.candidates(padded[1:], real[1:])

    def step(prefix: torch.Tensor) -> torch.Tensor:
        asked = torch.cat([prefix, torch.full((len(prefix), 1), END)], dim=1)
        return pointer.scores(one, asked[None], stopping=False)[0, :, -1]

    drawn = sample(step, 7, 4, 200, torch.Generator().manual_seed(0))
    assert set(map(tuple, drawn.tolist())) == {(0, 1, END, END), (1, 0, END, END)}
    assert best(step, 7, 4)[0, 2:].tolist() == [END, END]
    chances = log_prob(pointer.scores(one, drawn[None], stopping=False)[0], drawn)
    assert set(drawn[:, 0].tolist()) == {0, 1}
    assert chances.exp().unique().sum().item() == pytest.approx(1, abs=1e-4)


def test_a_selection_can_be_learned_and_gradients_are_finite() -> None:
    """Take the two candidates whose first feature is high, the higher one first, and stop."""
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(64, 5, 6, generator=generator)
    order = features[:, :, 0].argsort(dim=1, descending=True)
    target = torch.cat([order[:, :2], torch.full((64, 1), END)], dim=1).unsqueeze(1)
    there = torch.ones(64, 5, dtype=torch.bool)
    there[0, int(order[0, 4])] = False
    pointer = PointerHead.fresh(6, 32, generator)
    weights = [tensor.requires_grad_() for tensor in pointer.tensors.values()]
    optimiser = torch.optim.Adam(weights, lr=3e-3)
    for _ in range(150):
        scores = pointer.scores(pointer.candidates(features, there), target)
        loss = -log_prob(scores.flatten(0, 1), target.flatten(0, 1)).mean()
        optimiser.zero_grad()
        loss.backward()
        assert all(w.grad is not None and torch.isfinite(w.grad).all() for w in weights)
        optimiser.step()
    assert loss.item() < 0.2


def test_a_question_without_candidates_gives_no_nan() -> None:
    pointer = head()
    features, there = some(2, 3)
    there[1] = False
    seen = pointer.candidates(features, there)
    assert torch.isfinite(seen.states).all()
    assert torch.isneginf(seen.first[1]).all()


def test_weights_that_are_no_pointer_are_refused() -> None:
    whole = head().tensors
    with pytest.raises(SpecialistError, match=r"input.weight \[h, f\], score \[h\]"):
        PointerHead({name: tensor for name, tensor in whole.items() if name != "stop.all"})
    with pytest.raises(SpecialistError, match="found none"):
        PointerHead({})
    with pytest.raises(ConfigError, match="a multiple of 4, not 6 and 10"):
        PointerHead.fresh(6, 10)
