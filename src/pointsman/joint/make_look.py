"""The whole way to a selector that looks first: look, fit, measure, describe, save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.errors import InputError
from pointsman.evaluate.reading import f1
from pointsman.joint.asked import Asked
from pointsman.joint.card import look_card
from pointsman.joint.looking import LookingSelector, LookPart, LookSettings
from pointsman.joint.make import Data, Made, save_chooser
from pointsman.joint.measures import measure
from pointsman.protocols import Selector
from pointsman.read.look import look
from pointsman.read.marginal import reader_of
from pointsman.read.reader import SpanReader
from pointsman.read.task import Part as ReaderPart
from pointsman.select.looked import FEATURES, Choice, features
from pointsman.select.plain import TopK

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a reader saw in one question's candidates: `features` [n, F], the `best` spans' log-odds [n], and
    what each of those is `worth` [n]: its F1 with the answers.
    """

    features: Floats
    best: Floats
    worth: Floats


def see(reader: SpanReader, asked: Sequence[Asked]) -> list[Seen]:
    """One for each question."""
    looks = look(reader, [each.question for each in asked], [each.passages for each in asked])
    return [
        Seen(
            features(seen, each.question, [p.content for p in each.passages], each.relevance),
            seen.best,
            np.array([f1(text, each.answers) if text else 0.0 for text in seen.texts]),
        )
        for each, seen in zip(asked, looks, strict=True)
    ]


def fit(seen: Sequence[Seen]) -> Choice:
    """How what was seen is weighed. Raises InputError where no candidate holds an answer."""
    return Choice.fit([each.features for each in seen], [each.worth for each in seen])


def make_look(
    backbone: Backbone,
    data: Data,
    reader: ReaderPart,
    settings: LookSettings,
    folder: Path,
    *,
    command: str,
) -> Made:
    """A selector that looks through this reader, saved to `folder`.

    Raises InputError where there is no question, or none that the reader answers.
    """
    if not data.train:
        raise InputError("there is no question to fit a selector to")
    looking = reader_of(backbone, reader, settings.reader)
    choice = fit(see(looking, data.train))
    ways: list[Selector] = [
        TopK(settings.passages),
        LookingSelector(looking, choice, settings),
    ]
    history = [measure(data.dev, way, looking).means() for way in ways]
    training: dict[str, Any] = {
        "command": command,
        "data": data.record(),
        "weights": dict(zip(FEATURES, choice.weights.tolist(), strict=True)),
    }
    part = LookPart(reader, choice)
    save_chooser(
        backbone,
        reader.adapter,
        part.head(),
        settings.record(),
        training,
        history,
        1,
        look_card,
        folder,
    )
    return Made((folder,), history, 1, {})
