"""The card of a trained reader: what a person should know before using it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def reader_card(
    name: str,
    base: str,
    training: Mapping[str, Any],
    numbers: Mapping[str, Any],
    licences: Mapping[str, str],
) -> str:
    """Markdown: what it is, what it was trained on and under which licences, how it did on dev."""
    recipe, plan = training["recipe"], training["recipe"]["plan"]
    dev, calibration = numbers["dev"], numbers["calibration"]
    rows = [
        f"| {part} | {count:,} | {licences.get(part, 'given by the user')} |"
        for part, count in training["train"].items()
    ]
    return "\n".join(
        [
            f"# {name}: a span reader",
            "",
            f"Finds the answer to a question as a span of the passages, or that there is none. A LoRA "
            f"adapter (rank {recipe['rank']}, all linear layers) and a linear head on {base}.",
            "",
            "## Trained on",
            "",
            "| train part | questions | licence |",
            "|---|---|---|",
            *rows,
            "",
            f"A share of {recipe['unanswerable']:.0%} of the questions came a second time an epoch with "
            "a paragraph that retrieval finds near but that holds none of the answers; the reader "
            "learns to stay silent there.",
            "",
            *_practice(recipe),
            f"{training['steps']:,} steps of {recipe['batch_size']} windows, learning rate "
            f"{plan['learning_rate']:g}, seed {plan['seed']}, {training['seconds'] / 60:.0f} minutes:",
            "",
            f"    {training['command']}",
            "",
            "## On dev",
            "",
            f"Best {dev['measure']} {dev['best']:.1f} at step {dev['step']:,} (dev questions with their "
            "own paragraph; the weights were chosen by this number, so it flatters them).",
            f"Expected calibration error of its confidence {calibration['ece_cross_fitted']:.3f} "
            f"(cross-fitted over {calibration['questions']:.0f} readings with 1 to 10 passages), "
            f"{calibration['ece_uncalibrated']:.3f} before calibration.",
            "",
            "## Limits",
            "",
            "English; short answers that stand in the text; a small encoder whose pre-training was for "
            "sentence similarity. It does not reason over several passages, count or compare.",
            "",
        ]
    )


def _practice(recipe: Mapping[str, Any]) -> list[str]:
    """What came before and beside the questions that people asked."""
    lines = []
    if recipe["clozes"]:
        lines.append(
            f"Before that it practised on questions made from the sentences of the same training "
            f"passages, {recipe['clozes']} a passage (learning rate "
            f"{recipe['pretraining']['learning_rate']:g})."
        )
    if recipe["start"]:
        lines.append(f"It began as the reader {recipe['start']}.")
    if recipe["teachers"]:
        lines.append(
            f"Half of its target are the distributions of {', '.join(recipe['teachers'])}, "
            "readers trained on the same parts."
        )
    return [line for text in lines for line in (text, "")]
