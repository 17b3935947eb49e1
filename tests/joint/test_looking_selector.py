"""A selector that looks through a reader: what it chooses is what the reader answers from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import load_specialist, save_specialist
from pointsman.errors import ConfigError, SpecialistError
from pointsman.joint.asked import Asked, ungraded
from pointsman.joint.looking import LookingSelector, LookSettings, load_selector
from pointsman.joint.make_look import fit, see
from pointsman.protocols import Selector
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.select.selector import ListSelector
from pointsman.types import Passage
from spaces import NOTES, write_looking_selector, write_selector
from tiny import write_tiny

QUESTION = "who designed the bridge"
PASSAGES = tuple(Passage(name, text) for name, text in NOTES.items())


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


@pytest.fixture
def folder(tmp_path: Path, backbone: Backbone) -> Path:
    return write_looking_selector(tmp_path / "looks", backbone)


def reader(folder: Path, backbone: Backbone) -> SpanReader:
    return SpanReader.load(backbone, folder.with_name("looker"))


def test_by_the_best_span_alone_it_answers_as_if_all_were_read(
    backbone: Backbone, folder: Path
) -> None:
    selector = load_selector(backbone, folder)
    assert isinstance(selector, LookingSelector)
    assert isinstance(selector, Selector)
    (chosen,) = selector.select([QUESTION], [PASSAGES], [ungraded(PASSAGES)])
    reads = reader(folder, backbone)
    (everything,) = reads.read([QUESTION], [PASSAGES])
    (some,) = reads.read([QUESTION], [chosen.of(PASSAGES)])
    assert everything.spans[0].passage == chosen.order[0]
    assert some.spans[0].text == everything.spans[0].text
    assert some.spans[0].passage == 0
    assert chosen.gflops == pytest.approx(everything.gflops)
    (one,) = selector.at_most(1).select([QUESTION], [PASSAGES], [ungraded(PASSAGES)])
    assert one.order.tolist() == chosen.order[:1].tolist()
    assert selector.at_most(9) is selector


def test_a_question_without_candidates(backbone: Backbone, folder: Path) -> None:
    (chosen,) = load_selector(backbone, folder).select([QUESTION], [[]], [ungraded([])])
    assert chosen.of([]) == []


def test_what_is_seen_is_worth_its_f1(backbone: Backbone, folder: Path) -> None:
    reads = reader(folder, backbone)
    (said,) = reads.read([QUESTION], [PASSAGES[:1]])
    asked = Asked("1", QUESTION, (said.spans[0].text,), PASSAGES, ungraded(PASSAGES))
    (seen,) = see(reads, [asked])
    assert seen.worth[0] == 1.0
    choice = fit([seen])
    scores = choice.scores(seen.features)
    assert seen.worth[scores.argmax()] == 1.0
    # Ungraded candidates are all alike.
    assert choice.weights[1] == 0


def test_whichever_policy_a_folder_is_of(tmp_path: Path, backbone: Backbone) -> None:
    chosen = load_selector(backbone, write_selector(tmp_path / "lists", backbone))
    assert isinstance(chosen, ListSelector)


def test_what_cannot_be_used(tmp_path: Path, backbone: Backbone, folder: Path) -> None:
    specialist = load_specialist(folder)
    other = replace(specialist, head={k: v for k, v in specialist.head.items() if "span" in k})
    save_specialist(other, tmp_path / "no-choice")
    with pytest.raises(SpecialistError, match=r"has no choice\.weight"):
        load_selector(backbone, tmp_path / "no-choice")
    short = {**specialist.head, "choice.weight": specialist.head["choice.weight"][:3]}
    save_specialist(replace(specialist, head=short), tmp_path / "short")
    with pytest.raises(SpecialistError, match="features, not"):
        load_selector(backbone, tmp_path / "short")
    save_specialist(replace(specialist, settings={"policy": "look"}), tmp_path / "bare")
    with pytest.raises(SpecialistError, match="settings are incomplete"):
        load_selector(backbone, tmp_path / "bare")
    with pytest.raises(ConfigError, match="cannot look at each by itself"):
        LookSettings(5, ReaderSettings(joined=True))
    with pytest.raises(ConfigError, match="at least 1 passage"):
        LookSettings(0)
