"""PairGrader: how relevant a passage is to a question, in ordered grades with probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.pair_features import feature_width
from pointsman.backbone.pair_reading import PairReading, read_pairs
from pointsman.backbone.specialist import Specialist, load_specialist
from pointsman.deadline import Deadline
from pointsman.errors import SpecialistError
from pointsman.grade.head import GradeHead, HeadKind
from pointsman.grade.pairwise import Judged, PairTexts, PairwiseGrader
from pointsman.grade.scaling import Identity, Scaling
from pointsman.grade.scaling import of as scaling_of
from pointsman.types import FloatArray
from pointsman.wording import FEATURES, wording

KIND = "grader"
UNSCALED = Identity()


@dataclass(frozen=True, slots=True)
class GraderSettings:
    """The names of the grades, lowest first; the head's kind; how many tokens are read together;
    whether the head sees the repeated wording too (`pointsman.wording`).
    """

    grades: tuple[str, ...]
    head: HeadKind = "plain"
    max_length: int = 384
    scaling: Scaling = UNSCALED
    wording: bool = False

    @classmethod
    def of(cls, settings: Any) -> GraderSettings:
        """From a specialist's recorded settings."""
        try:
            given = dict(settings)
            grades, scaling = tuple(given.pop("grades")), scaling_of(given.pop("scaling"))
            return cls(grades=grades, scaling=scaling, **given)
        except (KeyError, TypeError, ValueError) as error:
            raise SpecialistError(f"the grader's settings are incomplete ({error!r})") from error

    @property
    def overlap(self) -> int:
        """How many tokens the windows of a longer passage share."""
        return self.max_length // 4

    def record(self) -> dict[str, Any]:
        """As plain values for the specialist's file."""
        return {
            "grades": list(self.grades),
            "head": self.head,
            "max_length": self.max_length,
            "scaling": self.scaling.record(),
            "wording": self.wording,
        }

    def feature_width(self, width: int) -> int:
        """How many features a pair has on a backbone of width d."""
        return feature_width(width) + (len(FEATURES) if self.wording else 0)


class PairGrader(PairwiseGrader):
    """A grader specialist on a backbone (protocol `Grader`)."""

    def __init__(
        self, backbone: Backbone, head: GradeHead, adapter: str | None, settings: GraderSettings
    ) -> None:
        if head.grades != len(settings.grades):
            raise SpecialistError(
                f"the grader's head knows {head.grades} grades, its settings name "
                f"{len(settings.grades)}"
            )
        self.backbone = backbone
        self.settings = settings
        self._head = head
        self._adapter = adapter

    @classmethod
    def load(cls, backbone: Backbone, folder: Path) -> PairGrader:
        """Put the grader of a folder onto a backbone. Raises SpecialistError, BackboneMismatchError."""
        return cls.of(backbone, load_specialist(folder, KIND))

    @classmethod
    def of(cls, backbone: Backbone, specialist: Specialist) -> PairGrader:
        """Put a loaded specialist onto a backbone."""
        name = f"{KIND}:{specialist.name}"
        backbone.add_adapter(name, specialist.adapter, specialist.base_sha256)
        settings = GraderSettings.of(specialist.settings)
        return cls(backbone, GradeHead(settings.head, specialist.head), name, settings)

    @property
    def grades(self) -> tuple[str, ...]:
        """The names of the grades, lowest first."""
        return self.settings.grades

    def scaled(self, scaling: Scaling) -> PairGrader:
        """The same grader with another calibration."""
        settings = replace(self.settings, scaling=scaling)
        return PairGrader(self.backbone, self._head, self._adapter, settings)

    def judged(self, pairs: Sequence[PairTexts], deadline: Deadline | None = None) -> Judged:
        """Calibrated probabilities [n pairs, grades] and GFLOPs [n pairs].

        A passage of several windows gets the probabilities of the window that promises most.
        """
        read = self._read(pairs, deadline)
        given = read.features
        if self.settings.wording:
            given = np.concatenate([given, wording(pairs)[read.owner]], axis=1)
        with torch.inference_mode():
            found = self._head.log_probabilities(torch.from_numpy(given)).exp().numpy()
        scaled = self.settings.scaling.apply(found)
        expected = scaled @ np.arange(found.shape[1])
        chosen = _most_promising(expected, read.owner, len(pairs))
        return np.asarray(scaled[chosen], dtype=np.float32), read.gflops

    def features(self, pairs: Sequence[PairTexts], deadline: Deadline | None = None) -> FloatArray:
        """What the head looks at [n pairs, width]; of a passage of several windows the first one's."""
        found = self._read(pairs, deadline).of_first_windows()
        return np.concatenate([found, wording(pairs)], axis=1) if self.settings.wording else found

    def _read(self, pairs: Sequence[PairTexts], deadline: Deadline | None) -> PairReading:
        settings = self.settings
        return read_pairs(
            self.backbone, pairs, self._adapter, settings.max_length, settings.overlap, deadline
        )


def _most_promising(
    expected: npt.NDArray[np.floating], owner: npt.NDArray[np.int64], pairs: int
) -> npt.NDArray[np.int64]:
    """For every pair its window of the highest expected grade, the first of equal ones."""
    order = np.lexsort((np.arange(len(owner)), -expected, owner))
    return order[np.searchsorted(owner[order], np.arange(pairs))]
