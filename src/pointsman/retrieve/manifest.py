"""What an index says about itself: kept in the metadata of the table's schema, with the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from pointsman.errors import BackboneMismatchError, WorkspaceError
from pointsman.retrieve.fusion import Fusion
from pointsman.types import BackboneIdentity

FORMAT_VERSION = 1
KEY = b"pointsman"


@dataclass(frozen=True, slots=True)
class FullText:
    """How text is cut into terms for BM25 (names and meanings are LanceDB's `FTS`).

    `tokenizer` "simple" cuts at white space and punctuation; "icu" (recent LanceDB) also cuts
    scripts that write no spaces. Fixed when the index is created: queries are cut the same way.
    """

    language: str = "English"
    stem: bool = True
    remove_stop_words: bool = True
    lower_case: bool = True
    ascii_folding: bool = True
    max_token_length: int = 40
    tokenizer: str = "simple"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The encoder that made the vectors, and how text is cut and rankings are fused."""

    identity: BackboneIdentity
    full_text: FullText = field(default_factory=FullText)
    fusion: Fusion = field(default_factory=Fusion)

    def to_metadata(self) -> dict[bytes, bytes]:
        """As Arrow schema metadata."""
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        return {KEY: json.dumps(content).encode()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None, uri: str) -> Manifest:
        """Read it back. Raises WorkspaceError where it is missing, damaged or too new."""
        if not metadata or KEY not in metadata:
            raise WorkspaceError(f"{uri} is a Lance table, but not an index made by Pointsman")
        try:
            content = json.loads(metadata[KEY])
            version = int(content["format_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(f"{uri}: the index's description is damaged: {error!r}") from error
        if version > FORMAT_VERSION:
            raise WorkspaceError(
                f"{uri} has index format {version}, this version of Pointsman reads up to "
                f"{FORMAT_VERSION}; upgrade with `pip install --upgrade pointsman`"
            )
        try:
            return cls(
                identity=BackboneIdentity(**content["identity"]),
                full_text=FullText(**content["full_text"]),
                fusion=Fusion(**content["fusion"]),
            )
        except (KeyError, TypeError) as error:
            raise WorkspaceError(f"{uri}: the index's description is damaged: {error!r}") from error


def check_same_backbone(index: BackboneIdentity, encoder: BackboneIdentity, uri: str) -> None:
    """Raise BackboneMismatchError where vectors of `encoder` mean nothing in this index.

    Weights, dimension, pooling and prompts decide; the name does not (a copy of a model has
    another path), nor does the maximum length (it changes no vector of a text that fits).
    """

    def essence(identity: BackboneIdentity) -> tuple[object, ...]:
        prompts = {name: text for name, text in identity.prompts.items() if text}
        return identity.sha256, identity.dimension, identity.pooling, prompts

    if essence(index) != essence(encoder):
        raise BackboneMismatchError(
            f"{uri} was made with {_describe(index)}, but the encoder is {_describe(encoder)}; "
            "use the index's encoder, or make a new index with this one"
        )


def _describe(identity: BackboneIdentity) -> str:
    prompts = {name: text for name, text in identity.prompts.items() if text}
    described = (
        f"{identity.name} (weights {identity.sha256[:12]}, {identity.dimension} dimensions, "
        f"{identity.pooling} pooling"
    )
    return described + (f", prompts {prompts})" if prompts else ")")
