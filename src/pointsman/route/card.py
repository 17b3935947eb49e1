"""The card of a query expert: what it was trained on, what it gained, where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NEGATIVES = {
    "batch": "the other queries' documents in a batch",
    "mined": "the base's own wrong answers",
    "judged": "all documents that some training query asked for",
    "all": "all documents of the collection",
}


def expert_card(
    name: str, base: str, training: Mapping[str, Any], numbers: Mapping[str, Any]
) -> str:
    """Markdown for people. `training` and `numbers` are the specialist's own records."""
    dev, data, recipe = numbers["dev"], training["data"], training["recipe"]
    held_out = " (held out of the training queries)" if data["dev_held_out"] else ""
    lines = [
        f"# {name}: a query expert",
        "",
        f"A LoRA adapter of rank {recipe['rank']} on {base}, for queries. Documents stay encoded by the "
        "base alone, so that an index serves every expert.",
        "",
        "## Where it comes from",
        "",
        f"{data['train']:,} training queries over {data['documents']:,} documents, {data['dev']:,} dev "
        f"queries{held_out}: {data['name']}. Licence of the data: {data['licence'] or 'not stated'}.",
        "",
        *_made(data),
        f"Recipe “{recipe['name']}”, negatives: {_NEGATIVES[training['negatives']]}; "
        f"{training['steps']:,} steps, seed {recipe['plan']['seed']}, {training['seconds']} seconds:",
        "",
        f"    {training['command']}",
        "",
        "## On dev",
        "",
        f"nDCG@10 {100 * dev['best']:.1f}, the base {100 * dev['base']:.1f}. The weights were chosen by "
        "this number, so it flatters them.",
        "",
        *_weight(numbers.get("dense_weight")),
        "## Limits",
        "",
        "It knows what was asked in training and of which documents. On questions from elsewhere it may "
        "be worse than the base: let a router decide.",
        "",
    ]
    if training["negatives"] == "all":
        lines[-1:-1] = [
            "Documents that no training query asked for were all taken for irrelevant, so it prefers "
            "those that were asked for before.",
        ]
    return "\n".join(lines)


def _weight(dense: float | None) -> list[str]:
    if dense is None:
        return []
    return [
        f"In hybrid search vectors count {dense:g} of 1 on its questions and words the rest, as dev "
        "preferred.",
        "",
    ]


def _made(data: Mapping[str, Any]) -> list[str]:
    if not data.get("made"):
        return []
    return [
        "Nobody asked these queries: they are the documents' own titles and first sentences.",
        "",
    ]
