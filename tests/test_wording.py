from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.wording import FEATURES, wording


def features(question: str, passage: str) -> dict[str, float]:
    return dict(zip(FEATURES, wording([(question, passage)])[0].tolist(), strict=True))


def test_by_hand() -> None:
    found = features("led bulbs 60 watt", "LED Light Bulb, 60-Watt (4 pack)")
    assert found["words found"] == pytest.approx(3 / 4)
    assert found["words found as parts of words"] == 1
    # ^bulbs$ has ^bu bul ulb lbs bs$, ^bulb$ has ^bu bul ulb lb$: three shared of six.
    assert found["likeness of words, mean"] == pytest.approx((1 + 1 / 2 + 1 + 1) / 4)
    assert found["likeness of words, least"] == pytest.approx(1 / 2)
    assert (found["likeness of the first word"], found["likeness of the last word"]) == (1, 1)
    assert (found["numbers found"], found["has numbers"]) == (1, 1)
    # Of "led bulbs", "bulbs 60" and "60 watt" only the last.
    assert found["neighbours found as neighbours"] == pytest.approx(1 / 3)
    assert found["whole phrase found"] == 0
    assert found["length of the question"] == pytest.approx(np.log(5) / 5)
    assert features("60 WATT", "a 60-watt bulb")["whole phrase found"] == 1


def test_a_wrong_number_is_seen() -> None:
    assert features("3/4 plywood", "plywood 1/4 in.")["numbers found"] == pytest.approx(1 / 2)
    assert features("plywood", "plywood 1/4 in.")["has numbers"] == 0


def test_short_parts_do_not_count() -> None:
    assert features("ac", "tractor")["words found as parts of words"] == 0


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=4))
def test_any_text_has_features(pairs: list[tuple[str, str]]) -> None:
    found = wording(pairs)
    assert found.shape == (len(pairs), len(FEATURES))
    assert np.isfinite(found).all()
    shares = found[:, :-2]
    assert ((shares >= 0) & (shares <= 1)).all()


@given(st.text(alphabet="ab1 ", min_size=1, max_size=12).filter(str.strip))
def test_a_text_repeats_itself_whole(text: str) -> None:
    found = features(text, text)
    assert found["words found"] == found["whole phrase found"] == 1
