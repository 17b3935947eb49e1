"""A query expert as a specialist: its adapter, and the moments of the queries it was trained for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pointsman.backbone.card import ENCODER
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter
from pointsman.backbone.specialist import Specialist, load_specialist, save_specialist
from pointsman.errors import SpecialistError
from pointsman.route.familiarity import Domain
from pointsman.types import BackboneIdentity

_MEAN, _COVARIANCE = "domain_mean", "domain_covariance"


@dataclass(frozen=True, eq=False)
class Expert:
    """A query encoder's adapter. Without a `domain` (one imported from PEFT) no router can choose it."""

    name: str
    adapter: LoraAdapter
    base_sha256: str
    domain: Domain | None


def domain_of(backbone: Backbone, queries: Sequence[str]) -> Domain:
    """The moments of queries as routers see them: their features from the lower layers."""
    states = backbone.begin(queries, layers=backbone.routing_layers, prompt="query")
    return Domain.of(backbone.features(states))


def save_expert(
    expert: Expert,
    base: BackboneIdentity,
    folder: Path,
    *,
    training: Mapping[str, Any],
    numbers: Mapping[str, Any],
    card: str,
) -> None:
    """Write an expert as a specialist; raises as `save_specialist` does."""
    specialist = Specialist(
        kind=ENCODER,
        name=folder.name,
        base_sha256=base.sha256,
        base_name=base.name,
        adapter=expert.adapter,
        training=training,
        numbers=numbers,
        card=card,
    )
    save_specialist(with_domain(specialist, expert.domain), folder)


def with_domain(specialist: Specialist, domain: Domain | None) -> Specialist:
    """The specialist with these moments in its head; None takes them away."""
    if domain is None:
        return replace(specialist, head={}, settings={})
    width = len(domain.mean)
    # Halves hold numbers near 1 best, and the entries of a covariance of unit vectors are near 1/d.
    head: dict[str, Tensor] = {
        _MEAN: torch.from_numpy(domain.mean),
        _COVARIANCE: torch.from_numpy(domain.covariance) * width,
    }
    known: dict[str, Any] = {"queries": domain.queries}
    if domain.dense_weight is not None:
        known["dense_weight"] = domain.dense_weight
    return replace(specialist, head=head, settings={"domain": known})


def load_expert(folder: Path) -> Expert:
    """Read an expert. Raises SpecialistError where it is corrupt or of another kind."""
    return expert_of(load_specialist(folder, ENCODER))


def expert_of(specialist: Specialist) -> Expert:
    """The expert that a specialist of its kind is. Raises SpecialistError for a broken domain."""
    domain = None
    if specialist.head:
        try:
            mean = specialist.head[_MEAN].float().numpy()
            covariance = (specialist.head[_COVARIANCE].float() / len(mean)).numpy()
            known = specialist.settings["domain"]
            queries, weight = int(known["queries"]), known.get("dense_weight")
            if weight is not None and not 0 <= weight <= 1:
                raise ValueError(f"a weight of {weight}")
            if covariance.shape != (len(mean), len(mean)):
                raise ValueError(f"a covariance of shape {covariance.shape}")
        except (KeyError, TypeError, ValueError) as error:
            raise SpecialistError(
                f"{specialist.name}: its domain cannot be read ({error!r}); train it again"
            ) from error
        domain = Domain(mean, covariance, queries, weight)
    return Expert(specialist.name, specialist.adapter, specialist.base_sha256, domain)
