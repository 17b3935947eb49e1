"""Verifiers and cascades on agents that are made up, so that what is right is known; and abstaining."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pointsman.defer.abstain import NEVER, threshold
from pointsman.defer.candidates import Said, features, first_of_each, question_kind, said
from pointsman.defer.cascade import Cascade, Planned
from pointsman.defer.lift import ItemResponse, Lift
from pointsman.defer.logistic import Logistic
from pointsman.defer.network import Fit, fit
from pointsman.defer.stations import stations
from pointsman.defer.verifier import Logit, Verifier, best, worthiest
from pointsman.errors import ConfigError, InputError
from pointsman.evaluate.calibration import ece

UNITS = np.array([0.01, 0.02, 0.05, 1.0])
GOOD = (0.55, 0.6, 0.65, 0.85)


def world(n: int, seed: int) -> tuple[Said, np.ndarray, np.ndarray]:
    """Four agents, wrong in their own ways and more often on hard questions; n questions, rightness [n, 4]."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=n)
    rows, right = [], []
    for i in range(n):
        chance = 1 / (1 + np.exp(-(np.log(np.array(GOOD) / (1 - np.array(GOOD))) - hard[i])))
        good = rng.random(4) < chance
        # A wrong answer is shared now and then.
        wrong = rng.integers(0, 5, size=4)
        rows.append([f"gold {i}" if g else f"tin {w}" for g, w in zip(good, wrong, strict=True)])
        right.append(good)
    contexts = [f"here stands gold {i} beside tin" for i in range(n)]
    before = np.stack([hard + rng.normal(scale=0.7, size=n), rng.normal(size=n)], axis=1)
    questions = [f"what is {i}" for i in range(n)]
    return said(questions, contexts, rows), np.array(right, dtype=float), before


TRAIN, TEST = world(1_500, seed=0), world(1_500, seed=1)
EVERYONE = np.ones(4, dtype=bool)


# --- what was said ----------------------------------------------------------------------------------


def test_who_agrees_with_whom() -> None:
    found = said(
        ["Who is it?"],
        ["It is the Big Cat, not a dog."],
        [["the Big Cat", "big cat.", "a dog", None, ""]],
    )
    assert found.given.tolist() == [[True, True, True, False, False]]
    assert found.same[0, 0].tolist() == [True, True, False, False, False]
    assert not found.same[0, 3].any()
    assert found.overlap[0, 0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    partly = said(["?"], [""], [["big black cat", "big cat"]])
    assert partly.overlap[0, 0, 1] == pytest.approx(0.8)  # 2 shared of 3 and 2
    assert not partly.same[0, 0, 1]
    everyone = np.ones((1, 5), dtype=bool)
    assert first_of_each(found, everyone).tolist() == [[True, False, True, False, False]]
    # Where the first was not asked the second stands for the answer.
    without = np.array([[False, True, True, True, True]])
    assert first_of_each(found, without).tolist() == [[False, True, True, False, False]]
    assert features(found, everyone).shape[:2] == (1, 5)


def test_where_answers_begin_and_end() -> None:
    """Within another's, holding it, begun alike, ended alike; nothing where an answer is missing."""
    rows = [["the big black cat", "black cat", "Big", "cats", None]]
    bounds = said(["?"], ["See the big black cat of all cats."], rows).bounds[0]
    # What is no span of the context begins nowhere.
    assert not said(["?"], ["a dog"], rows).bounds.any()
    assert bounds[0, 1].tolist() == [0, 1, 0, 1]
    assert bounds[1, 0].tolist() == [1, 0, 0, 1]
    assert bounds[0, 2].tolist() == [0, 1, 1, 0]
    assert bounds[1, 1].tolist() == [0, 0, 1, 1]
    # Words, not letters: no cat is in cats.
    assert not bounds[1, 3].any()
    assert not bounds[4].any()
    assert not bounds[:, 4].any()


def test_what_nobody_was_asked_is_not_seen() -> None:
    """Features of the asked do not change with what the others would have said."""
    rows = [["red", "red", "blue"], ["red", "red", "green"]]
    found = said(["?", "?"], ["red blue", "red blue"], rows)
    asked = np.array([[True, True, False]] * 2)
    one, other = features(found, asked)[:, :2]
    np.testing.assert_array_equal(one, other)


def test_how_sure_agents_are_of_themselves() -> None:
    """Two agents of which nothing but their own word tells who is right: that word is listened to."""
    rng = np.random.default_rng(0)
    n = 2_000
    first = rng.random(n) < 0.5
    rows = [["red", "blue"] if one else ["blue", "red"] for one in rng.random(n) < 0.5]
    right = np.stack([first, ~first], axis=1).astype(float)
    # Who is right says 0.8, who is wrong 0.4; a third of the time it is the other way round.
    told = np.where(rng.random((n, 1)) < 2 / 3, right, 1 - right)
    chances = np.where(told > 0, 0.8, 0.4)
    questions, contexts = ["?"] * n, [""] * n
    deaf = said(questions, contexts, rows)
    heard = said(questions, contexts, rows, chances.tolist())
    assert not deaf.own.any()
    assert heard.own[0].max() == pytest.approx(np.log(4), abs=1e-4)
    asked = np.ones(2, dtype=bool)
    found = []
    for given in (deaf, heard):
        choice, _ = best(Verifier.learn(given, right, asked)(given))
        found.append(right[np.arange(n), choice].mean())
    assert found[0] == pytest.approx(0.5, abs=0.05)
    assert found[1] == pytest.approx(2 / 3, abs=0.05)
    # Nobody is surer than can be, and who says nothing of it is in the middle.
    none = said(["?"], [""], [["red", "blue", None]], [[1.0, None, 0.9]])
    assert np.isfinite(none.own).all()
    assert none.own[0, 1:].tolist() == [0.0, 0.0]
    with pytest.raises(InputError, match="every answer needs a chance"):
        said(["?"], [""], [["red", "blue"]], [[0.5]])


def test_what_a_reader_that_looked_thinks() -> None:
    """Two agents nobody can tell apart, and a reader that finds the right answer likelier, mostly."""
    rng = np.random.default_rng(0)
    n = 2_000
    first = rng.random(n) < 0.5
    rows = [["red", "blue"] if one else ["blue", "red"] for one in rng.random(n) < 0.5]
    right = np.stack([first, ~first], axis=1).astype(float)
    liked = np.where(rng.random((n, 1)) < 0.75, right, 1 - right)
    looked = np.log(np.where(liked > 0, 0.6, 0.2)).astype(np.float32)
    seen = said(["?"] * n, [""] * n, rows, looked=looked)
    asked = np.ones(2, dtype=bool)
    choice, chance = best(Verifier.learn(seen, right, asked)(seen))
    assert right[np.arange(n), choice].mean() == pytest.approx(0.75, abs=0.04)
    assert chance.mean() == pytest.approx(0.75, abs=0.04)
    # Nobody looked at what was not said.
    none = said(["?"], [""], [["red", None]], looked=np.array([[-1.0, -2.0]], dtype=np.float32))
    assert none.looked.tolist() == [[-1.0, 0.0]]
    with pytest.raises(InputError, match="log-probabilities"):
        said(["?"], [""], [["red", "blue"]], looked=np.zeros((1, 3), dtype=np.float32))


def test_kinds_of_questions() -> None:
    kinds = [
        question_kind(q) for q in ("How many are there?", "How so?", "Somewho", "In what year?")
    ]
    assert kinds == [0, 1, 8, 3]
    assert question_kind("When was it?") == 3


def test_answers_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="1 questions, 2 contexts and 1 rows"):
        said(["?"], ["", ""], [["a"]])
    with pytest.raises(InputError, match="one answer an agent"):
        said(["?", "?"], ["", ""], [["a"], ["a", "b"]])


# --- verifiers --------------------------------------------------------------------------------------


def test_a_verifier_beats_the_best_agent_and_knows_how_sure_it_is() -> None:
    verifier = Verifier.learn(TRAIN[0], TRAIN[1], EVERYONE)
    chances = verifier(TEST[0])
    choice, chance = best(chances)
    got = TEST[1][np.arange(len(choice)), choice]
    assert got.mean() > TEST[1][:, 3].mean() + 0.01
    assert ece(chance, got.astype(bool)) < 0.04
    assert ((chances >= 0) & (chances <= 1)).all()
    # One answer, one chance.
    same = TEST[0].same[:, 0, 1]
    np.testing.assert_array_equal(chances[same, 0], chances[same, 1])


def test_who_was_not_asked_has_no_chance() -> None:
    asked = np.array([True, False, True, False])
    chances = Verifier.learn(TRAIN[0], TRAIN[1], asked)(TEST[0])
    assert not chances[:, ~asked].any()
    assert chances[:, asked].max(axis=1).min() > 0


def test_the_conditional_logit_by_hand() -> None:
    """One feature: of two answers the one that has it is right three times in four."""
    given = np.tile(np.array([[[1.0], [0.0]]], dtype=np.float32), (4, 1, 1))
    there = np.ones((4, 2), dtype=bool)
    right = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    logit = Logit.learn(given, there, right, penalty=0.0)
    assert logit.shares(given, there)[0].tolist() == pytest.approx([0.75, 0.25], abs=1e-3)
    nothing = logit.shares(given, np.zeros_like(there))
    assert not nothing.any()
    # Where all are right nothing can be told apart.
    untold = Logit.learn(given, there, np.ones((4, 2), dtype=np.float32))
    assert not untold.weights.any()


def test_nobody_said_anything() -> None:
    silent = said(["?"] * 3, [""] * 3, [[None, ""]] * 3)
    assert not Verifier.learn(silent, np.zeros((3, 2)), np.ones(2, dtype=bool))(silent).any()


def test_logistic_regression_is_sklearns() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = (rng.random(300) < 1 / (1 + np.exp(-(x @ [1.0, -2.0, 0.0, 0.5] + 0.3)))).astype(float)
    ours = Logistic.learn(x, y[:, None], penalty=0.01)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    # sklearn: C · Σ loss + ½ |w|², ours: mean loss + penalty / 2 |w|².
    theirs = linear.LogisticRegression(C=1 / (0.01 * 300), tol=1e-8, max_iter=1_000).fit(
        standard, y
    )
    np.testing.assert_allclose(ours(x)[:, 0], theirs.predict_proba(standard)[:, 1], atol=2e-3)


@pytest.mark.parametrize(
    "learn",
    [
        lambda given: Logistic.learn(given, np.zeros((len(given), 1))),
        lambda given: fit(given, 1, lambda out, rows: out.sum(), Fit(epochs=1)),
    ],
)
def test_features_that_are_none(learn: Callable[[np.ndarray], object]) -> None:
    bad = np.array([[1.0, np.nan]])
    empty = np.zeros((0, 2))
    for given, words in ((bad, "not a number"), (empty, "nothing to learn from")):
        with pytest.raises(InputError, match=words):
            learn(given)


# --- cascades ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    folds = np.arange(len(TRAIN[0])) % 3
    return Cascade.learn(TRAIN[0], TRAIN[2], TRAIN[1], folds, stations(UNITS.tolist()))


def test_stations() -> None:
    few = stations([1.0, 2.0, 3.0])
    assert few.shape == (8, 3)  # all sets of three
    many = stations([0.2, 3, 4, 5, 8, 12, 25, 160, 200, 2380])
    sets = {tuple(np.flatnonzero(row)) for row in many}
    assert () in sets
    assert tuple(range(10)) in sets
    assert {(j,) for j in range(10)} <= sets
    assert tuple(range(7)) in sets  # the eighth takes more than they all
    assert (*range(7), 9) in sets
    assert tuple(range(4)) not in sets
    assert len(sets) == len(many) < 25


def test_a_price_decides_how_much_is_asked(cascade: Cascade) -> None:
    rows = np.arange(len(TEST[0]))
    costs, got = [], []
    for price in (0.0, 0.1, 0.3, 3.0):
        asked = cascade.ask(TEST[0], TEST[2], UNITS, price)
        assert asked.seen.any(axis=1).all()
        assert asked.seen[rows, asked.choice].all()  # nobody's answer is given who was not asked
        costs.append(float(asked.cost(UNITS).mean()))
        got.append(float(TEST[1][rows, asked.choice].mean()))
    assert costs == sorted(costs, reverse=True)
    alone = TEST[1].mean(axis=0)
    assert got[0] > alone[3]
    # At a tenth of an answer for the dearest: nearly as good as that one, for a good part of its cost.
    assert got[1] > alone[3] - 0.02
    assert costs[1] < 0.75
    # At every price at least the utility of the best single agent, within chance.
    for price, cost, share in zip((0.0, 0.1, 0.3, 3.0), costs, got, strict=True):
        assert share - price * cost > (alone - price * UNITS).max() - 0.012


def test_a_long_question_is_a_dear_one(cascade: Cascade) -> None:
    """What takes ten times as much is decided as at ten times the price, whatever it is asked together with."""
    long = np.arange(len(TEST[0])) % 3 == 0
    times = np.where(long, 10.0, 1.0)[:, None].repeat(4, axis=1)
    both = cascade.ask(TEST[0], TEST[2], UNITS, 0.1, times=times)
    for rows, price in ((long, 1.0), (~long, 0.1)):
        mine = np.flatnonzero(rows)
        alone = cascade.ask(TEST[0].take(mine), TEST[2][mine], UNITS, price)
        agree = (alone.seen == both.seen[mine]).all(axis=1).mean()
        # Ten is 1.1 to the power of 24.2, and is taken for that of 24.
        assert agree == 1 if price == 0.1 else agree > 0.98
    assert both.seen[long, 3].mean() < both.seen[~long, 3].mean()


def test_who_may_not_be_asked_is_not(cascade: Cascade) -> None:
    allowed = np.array([True, True, True, False])
    asked = cascade.ask(TEST[0], TEST[2], UNITS, 0.0, allowed=allowed)
    assert not asked.seen[:, 3].any()
    with pytest.raises(ConfigError, match="nobody may be asked"):
        cascade.ask(TEST[0], TEST[2], UNITS, 0.0, allowed=np.zeros(4, dtype=bool))
    with pytest.raises(ConfigError, match="a price must be 0 or more, not -1"):
        cascade.ask(TEST[0], TEST[2], UNITS, -1)


def test_an_answer_does_not_depend_on_what_was_not_asked(cascade: Cascade) -> None:
    """What the dearest would have said changes nothing where it was not asked."""
    asked = cascade.ask(TEST[0], TEST[2], UNITS, 0.3)
    without = ~asked.seen[:, 3]
    assert without.any()
    other, _, _ = world(1_500, seed=5)
    same = TEST[0].same.copy()
    overlap, shape, given = TEST[0].overlap.copy(), TEST[0].shape.copy(), TEST[0].given.copy()
    same[:, 3, :], same[:, :, 3], overlap[:, 3, :], overlap[:, :, 3] = False, False, 0, 0
    same[:, 3, 3] = True
    shape[:, 3] = other.shape[:, 3]
    bounds = TEST[0].bounds.copy()
    bounds[:, 3, :], bounds[:, :, 3] = 0, 0
    heard = replace(TEST[0], given=given, same=same, overlap=overlap, bounds=bounds, shape=shape)
    changed = cascade.ask(heard, TEST[2], UNITS, 0.3)
    np.testing.assert_array_equal(changed.seen[without], asked.seen[without])
    np.testing.assert_array_equal(changed.choice[without], asked.choice[without])


def test_without_evidence_the_best_agent_answers_alone() -> None:
    """Agents that are right at random, and never disagree otherwise: nothing can be gained."""
    rng = np.random.default_rng(0)
    rows = [["a b c"] * 4 for _ in range(400)]
    right = np.repeat((rng.random((400, 1)) < 0.7).astype(float), 4, axis=1)
    given = said(["?"] * 400, [""] * 400, rows)
    before = rng.normal(size=(400, 3))
    made = Cascade.learn(given, before, right, np.arange(400) % 3, stations(UNITS.tolist()))
    asked = made.ask(given, before, UNITS, 0.2)
    assert asked.seen.sum(axis=1).tolist() == [1] * 400
    assert asked.seen[:, 0].all()  # the cheapest of equally good ones


def test_what_is_known_of_sources_alone_is_no_evidence() -> None:
    """Of two agents each is right on six of twelve sources, which what is known before tells apart: of
    questions about these that is all there is to know, and of a thirteenth source nothing. (Twelve sources
    are few: of some draws chance makes a promise.)
    """
    rng = np.random.default_rng(1)
    sources = np.repeat(np.arange(12), 25)
    wins = rng.permutation(12)[sources] % 2
    right = np.stack([1 - wins, wins], axis=1).astype(float)
    given = said(["?"] * 300, [""] * 300, [[f"one {i}", f"two {i}"] for i in range(300)])
    before = rng.normal(size=(12, 16))[sources] + rng.normal(scale=0.1, size=(300, 16))
    sets, units, everyone = stations([1.0, 1.0]), np.ones(2), np.ones(2, dtype=bool)
    torn = Cascade.learn(given, before, right, np.arange(300) % 3, sets)
    whole = Cascade.learn(given, before, right, sources % 3, sets)
    found = [each.plan(units, 0.6, everyone) for each in (torn, whole)]
    assert [bool(each.ways[torn.start].sum() > 1) for each in found] == [True, False]
    assert found[1].blind
    asked = [each.ask(given, before, units, 0.6) for each in (torn, whole)]
    shares = [float(right[np.arange(300), each.choice].mean()) for each in asked]
    assert shares[0] > 0.6
    assert shares[1] == pytest.approx(0.5)


def test_several_are_asked_at_once_where_nothing_is_to_be_seen_between() -> None:
    """Three that are right at random, each as often, and wrong in their own ways. Whoever is wrong says so."""
    rng = np.random.default_rng(0)
    right = (rng.random((600, 3)) < 0.6).astype(float)
    rows = [
        [f"gold {i}" if r else f"tin {j}" for j, r in enumerate(row)] for i, row in enumerate(right)
    ]
    given = said(["?"] * 600, [""] * 600, rows, np.where(right > 0, 0.8, 0.3).tolist())
    before, units, may = rng.normal(size=(600, 3)), np.ones(3), np.ones(3, dtype=bool)
    made = Cascade.learn(given, before, right, np.arange(600) % 3, stations([1.0, 1.0, 1.0]))
    free = made.ask(given, before, units, 0.0)
    got = right[np.arange(600), free.choice].mean()
    assert got == pytest.approx(1 - 0.4**3, abs=0.03)
    # Where asking is not free, whether one is right is seen before all were asked.
    assert not made.plan(units, 0.1, may).blind
    seen = made.ask(given, before, units, 0.1).seen
    assert 1.2 < seen.sum(axis=1).mean() < 2


def test_those_that_were_chosen_at_once_are_asked_whatever_they_say(cascade: Cascade) -> None:
    """Whichever of them is asked first, the others follow, and nobody else."""
    everyone = np.ones(4, dtype=bool)
    planned = Planned(cascade, UNITS, 0.1, everyone)
    chosen = int(np.flatnonzero((cascade.stations == [False, True, False, True]).all(axis=1))[0])
    only = np.arange(len(cascade.stations)) == chosen
    worth, planned._plan = cascade._at_once(
        cascade.worth() - 0.1 * (cascade.stations @ UNITS), only
    )
    assert planned.blind
    hints = cascade.foresight(TEST[2][:9])
    # Of one plan nothing is chosen: it is worth what its answers were, less what they took.
    assert worth == pytest.approx(cascade.worth()[:, chosen].mean() - 0.1 * (0.02 + 1.0), abs=1e-6)
    for k, station in enumerate(cascade.stations):
        onward = planned.look(k, TEST[0].take(np.arange(9)), hints).looks.argmax(axis=1)
        within = bool((station <= cascade.stations[chosen]).all())
        assert onward.tolist() == [chosen if within else k] * 9


def test_whose_answer_costs_least() -> None:
    """By hand: α (1 - p) is 0.4, 0.9 · 0.5 = 0.45 and 2 · 0.1 = 0.2; without the third 0.4 is least. Where
    nobody of those that were asked said anything it is that of the least α.
    """
    alpha, everyone = np.array([1.0, 0.9, 2.0]), np.ones(3, dtype=bool)
    chances = np.array(
        [[0.6, 0.5, 0.9], [0.6, 0.5, 0.0], [0, 0, 0], [0, 0.01, 0]], dtype=np.float32
    )
    assert worthiest(chances, everyone, alpha).tolist() == [2, 0, 1, 1]
    assert worthiest(chances[2:3], np.array([True, False, True]), alpha).tolist() == [0]
    assert worthiest(chances, everyone, 1.0).tolist() == [2, 0, 0, 1]


def test_an_agent_whose_errors_weigh_more_is_believed_less(cascade: Cascade) -> None:
    """What a station was worth is 1 - α · error of whose answer is given; at α = 1 whether it was right."""
    sizes = cascade.stations.sum(axis=1)
    np.testing.assert_array_equal(
        cascade.worth()[:, sizes == 1] @ cascade.stations[sizes == 1], cascade.right
    )
    alpha = np.array([1.0, 1.0, 1.0, 3.0])
    alone = int(np.flatnonzero((cascade.stations == [False, False, False, True]).all(axis=1))[0])
    np.testing.assert_allclose(
        cascade.worth(alpha)[:, alone], 1 - 3 * (1 - cascade.right[:, 3]), atol=1e-6
    )
    usual, wary = (cascade.ask(TEST[0], TEST[2], UNITS, 0.0, alpha=each) for each in (1.0, alpha))
    assert (usual.choice == 3).mean() > (wary.choice == 3).mean()
    got = TEST[1][np.arange(len(TEST[1])), wary.choice]
    other = TEST[1][np.arange(len(TEST[1])), usual.choice]
    # For those who pay so much for its errors that is better, and for others it is not.
    assert (1 - alpha[wary.choice] * (1 - got)).mean() > (
        1 - alpha[usual.choice] * (1 - other)
    ).mean()
    assert got.mean() <= other.mean()


def test_where_there_is_no_answer_silence_is_right() -> None:
    """Half of the questions have none, which shows before: there the agent that can be silent is asked, and
    elsewhere the one that always speaks and knows more.
    """
    rng = np.random.default_rng(0)
    n = 900
    none, hard = rng.random(n) < 0.5, rng.random((n, 2)) < [0.5, 0.1]
    rows: list[list[str | None]] = [
        [
            None if none[i] else ("tin" if hard[i, 0] else f"gold {i}"),
            "tin" if hard[i, 1] or none[i] else f"gold {i}",
        ]
        for i in range(n)
    ]
    right = np.stack([np.where(none, 1.0, ~hard[:, 0]), np.where(none, 0.0, ~hard[:, 1])], axis=1)
    before = np.stack([none + 0.1 * rng.normal(size=n), rng.normal(size=n)], axis=1)
    given = said(["?"] * n, [""] * n, rows)
    made = Cascade.learn(given, before, right, np.arange(n) % 3, stations([1.0, 1.0]))
    asked = made.ask(given, before, np.ones(2), 0.3)
    assert asked.seen[none, 0].mean() > 0.95
    assert asked.seen[none, 1].mean() < 0.05
    assert (asked.chance[none] == 0).mean() > 0.95
    assert asked.seen[~none, 1].mean() > 0.85


def test_whoever_was_right_on_the_nearest_questions_as_a_plan(cascade: Cascade) -> None:
    """Its value on the record by hand, and what it asks about new questions; with weights of errors too."""
    taken = 0.3 * (cascade.stations @ UNITS)
    one = cascade.stations.sum(axis=1) == 1
    for alpha in (np.ones(4), np.array([1.0, 0.5, 1.0, 2.0])):
        worth, plan = cascade._nearest(cascade.worth(alpha) - taken, one, taken, alpha)
        chosen = (1 - alpha * (1 - cascade.hints[:, 1:]) - 0.3 * UNITS).argmax(axis=1)
        rows = np.arange(len(chosen))
        got = 1 - alpha[chosen] * (1 - cascade.right[rows, chosen]) - 0.3 * UNITS[chosen]
        # Shares of two hundred are equal now and then, and floats decide who is the first.
        assert worth == pytest.approx(got.mean(), abs=2e-3)
        planned = Planned(cascade, UNITS, 0.3, np.ones(4, dtype=bool), alpha)
        planned._plan = plan
        hints = cascade.foresight(TEST[2][:50])
        looks = planned.look(cascade.start, TEST[0].take(np.arange(50)), hints).looks
        expected = 1 - alpha * (1 - hints[:, 1:]) - 0.3 * UNITS
        asked = cascade.stations[looks.argmax(axis=1)]
        assert (asked.sum(axis=1) == 1).all()
        np.testing.assert_allclose(expected[asked], expected.max(axis=1), atol=1e-5)


def test_what_each_agent_is_foreseen_to_be_right_at(cascade: Cascade) -> None:
    """On questions that nothing was learned from as often as it is, and by how easy the question looks."""
    planned = Planned(cascade, UNITS, 0.1, np.ones(4, dtype=bool))
    found = planned.look(cascade.start, TEST[0], cascade.foresight(TEST[2])).foreseen
    np.testing.assert_allclose(found.mean(axis=0), TEST[1].mean(axis=0), atol=0.03)
    for j in range(4):
        low, high = np.argsort(found[:, j])[:500], np.argsort(found[:, j])[-500:]
        assert TEST[1][high, j].mean() > TEST[1][low, j].mean() + 0.15


def test_the_kind_of_a_question_says_whom_to_ask_first() -> None:
    """Two agents that take the same, each good at one kind; how easy a question is says nothing of that."""
    rng = np.random.default_rng(0)
    n = 1_000
    kind, hard = rng.integers(0, 2, n), rng.normal(size=n)
    good = np.clip(np.where(kind[:, None] == np.arange(2), 0.85, 0.35) - 0.2 * hard[:, None], 0, 1)
    right = (rng.random((n, 2)) < good).astype(float)
    rows = [
        [f"gold {i}" if r else f"tin {j}" for j, r in enumerate(row)] for i, row in enumerate(right)
    ]
    given = said(["?"] * n, [""] * n, rows)
    before = np.stack([2.0 * kind - 1, hard], axis=1)
    made = Cascade.learn(given, before, right, np.arange(n) % 3, stations([1.0, 1.0]))
    asked = made.ask(given, before, np.ones(2), 0.5)
    assert (asked.seen.sum(axis=1) == 1).mean() > 0.9
    assert asked.seen[np.arange(n), kind].mean() > 0.95


# --- evidence, promises -----------------------------------------------------------------------------


def test_the_lift_leaves_the_best_agent_only_with_evidence() -> None:
    said_, right, before = TRAIN
    lift = Lift.learn(before, right, np.arange(len(said_)), resamples=6)
    assert (lift.allocate(before, np.zeros(4)) == 3).all()
    # At a price the easy questions go to a cheap one.
    choice = lift.allocate(TEST[2], 0.2 * UNITS)
    cheap = choice != 3
    assert 0.1 < cheap.mean() < 0.9
    assert TEST[2][cheap, 0].mean() < TEST[2][~cheap, 0].mean()
    noise = np.random.default_rng(0).normal(size=before.shape)
    # Where questions differ in what they take each is decided by its own.
    betas = np.where(np.arange(len(TEST[2]))[:, None] % 2, 0.2, 0.0) * UNITS
    np.testing.assert_array_equal(
        lift.allocate(TEST[2], betas),
        np.where(betas[:, 3] > 0, choice, lift.allocate(TEST[2], np.zeros(4))),
    )
    blind = Lift.learn(noise, right, np.arange(len(said_)), resamples=6)
    assert len(set(blind.allocate(noise, 0.2 * UNITS).tolist())) == 1


def test_item_response_keeps_the_agents_order() -> None:
    model = ItemResponse.learn(TRAIN[2], TRAIN[1])
    chances = model(TEST[2])
    assert (np.diff(chances.mean(axis=0)) > 0).all()
    assert chances.mean(axis=0) == pytest.approx(TEST[1].mean(axis=0), abs=0.04)


def test_a_threshold_by_hand() -> None:
    chances = np.linspace(1, 0, 1_000)
    right = chances > 0.5  # all errors lie below one half
    found = threshold(chances, right, error=0.1)
    answered = chances >= found
    assert (
        0.5 < answered.mean() < 0.56
    )  # a tenth of the answered may be wrong, less what chance asks for
    assert threshold(chances, np.zeros(1_000), error=0.1) == NEVER
    assert threshold(chances, np.ones(1_000), error=0.1) == 0.0
    assert threshold([0.9, 0.8], [1, 1], error=0.1) == NEVER  # two right answers promise nothing
    with pytest.raises(ConfigError, match="error lies between 0 and 1"):
        threshold(chances, right, error=1.0)
    with pytest.raises(InputError, match="2 chances, 1 outcomes"):
        threshold([0.5, 0.4], [1], error=0.1)


def test_promises_are_kept() -> None:
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(60):
        chances = rng.random(600)
        least = threshold(chances, rng.random(600) < chances, error=0.2, delta=0.1)
        kept.append((1 - min(least, 1.0)) / 2 <= 0.2)  # what is wrong above a threshold, uniformly
    assert np.mean(kept) >= 0.85


def test_questions_about_one_text_are_wrong_together() -> None:
    """Forty texts, each easier or harder as a whole: the promise is kept where their spread is known."""
    rng = np.random.default_rng(5)

    def drawn(texts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        clusters = np.repeat(np.arange(texts), 25)
        chances = rng.random(len(clusters))
        shift = rng.normal(scale=0.25, size=texts)[clusters]
        return chances, rng.random(len(clusters)) < np.clip(chances + shift, 0, 1), clusters

    many = drawn(20_000)
    kept: dict[bool, list[bool]] = {False: [], True: []}
    for _ in range(300):
        chances, right, clusters = drawn(40)
        for known, found in kept.items():
            least = threshold(chances, right, 0.25, clusters=clusters if known else None)
            on = many[0] >= least
            found.append(not on.any() or 1 - many[1][on].mean() <= 0.25)
    assert np.mean(kept[False]) < 0.85
    assert np.mean(kept[True]) >= 0.86  # 0.9 was promised
    # One text says nothing of others.
    assert threshold(np.ones(500), np.ones(500), 0.1, clusters=np.zeros(500)) == NEVER
    with pytest.raises(InputError, match="2 chances, 2 outcomes and 1 numbers of clusters"):
        threshold([0.5, 0.4], [1, 1], 0.1, clusters=[0])


def test_where_several_take_the_same_any_dearer_one_may_follow() -> None:
    """Three cheap ones, three dear ones: who goes first is not said by the price."""
    found = {tuple(np.flatnonzero(row)) for row in stations([1.0, 1.0, 1.0, 3.0, 3.0, 3.0])}
    assert {(i, j) for i in range(3) for j in range(3, 6)} <= found
    assert (0, 1) not in found
    assert {(), (0,), (5,), tuple(range(6))} <= found
    # Of different prices there are no more than before.
    assert len(stations([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])) < 20
