"""The cards of a selector and of a reader that learned with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_POLICIES = {
    "pointer": "one passage after the other, each by what was chosen before, until it stops",
    "sets": "a set of passages as a whole; how many belongs to the choice",
}
_SHOWN = {
    "f1": "F1",
    "em": "exact match",
    "recall@1": "answer in the first",
    "recall@3": "in the first 3",
    "recall@5": "in the first 5",
    "passages": "passages read",
    "entropy": "selector's entropy before, nats",
    "unanswered": "questions that taught nothing",
}
_LOOKS = {"drawn": "selections drawn", "likeliest": "likeliest selections"}


def selector_card(
    name: str, base: str, training: Mapping[str, Any], numbers: Mapping[str, Any]
) -> str:
    """Markdown for people. `training` and `numbers` are the specialist's own records."""
    settings = training["recipe"]["selector"]
    lines = [
        f"# {name}: a selector",
        "",
        f"Chooses which of a question's candidates the reader sees, {settings['passages']} at most: "
        f"{_POLICIES[settings['policy']]}. A LoRA adapter on {base} reads the question with each "
        "candidate, and in the head the candidates see one another, their rank, their relevance and "
        "how much of the question's wording they repeat"
        + (", and which of them name one another." if training.get("linked") else "."),
        "",
        *_origin(training),
        *_dev(training, numbers),
    ]
    return "\n".join(lines)


def look_card(name: str, base: str, training: Mapping[str, Any], numbers: Mapping[str, Any]) -> str:
    """The same of a selector that looks first."""
    weights = [f"| {what} | {weight:.3g} |" for what, weight in training["weights"].items()]
    lines = [
        f"# {name}: a selector",
        "",
        "Chooses which of a question's candidates the reader answers from, after a first look: a span "
        f"reader, a LoRA adapter and a linear head on {base}, reads the question with every candidate, "
        "and what it saw is weighed beside the candidate's rank and relevance.",
        "",
        "| of a candidate | weight |",
        "|---|--:|",
        *weights,
        "",
        *_origin(training),
        *_dev(training, numbers),
    ]
    return "\n".join(lines)


def joint_reader_card(
    name: str, selector: str, base: str, training: Mapping[str, Any], numbers: Mapping[str, Any]
) -> str:
    """The same of a reader that learned beside a selector."""
    errors = numbers["calibration"]
    lines = [
        f"# {name}: a span reader",
        "",
        f"Finds the answer to a question as a span of the passages that the selector {selector} chose, "
        f"with which it was trained. A LoRA adapter and a linear head on {base}.",
        "",
        *_origin(training),
        *_dev(training, numbers),
        f"Expected calibration error of its confidence {errors['ece_cross_fitted']:.3f} (cross-fitted), "
        f"{errors['ece_uncalibrated']:.3f} before calibration.",
        "",
    ]
    return "\n".join(lines)


def _origin(training: Mapping[str, Any]) -> list[str]:
    data = training["data"]
    if "weights" in training:
        taught = (
            "The weights climb the expected F1 of the answer that is chosen, over all choices at once: "
            "few numbers, fitted to the end, so that no seed counts."
        )
    elif "plan" in training:
        plan = training["plan"]
        taught = (
            "Taught by passages that are known to support the answer: "
            f"{plan['epochs']} epochs, learning rate {plan['learning_rate']:g}, seed {plan['seed']}."
        )
    else:
        recipe = training["recipe"]
        estimate = (
            "every set of candidates counted exactly"
            if recipe["selector"]["policy"] == "sets"
            else f"{recipe['samples']} {_LOOKS[recipe['looks']]} of each question"
        )
        taught = (
            f"Selector and reader trained together by EM (DRO, arXiv 2505.03075), {estimate}: "
            f"{recipe['iterations']} iterations, learning rates "
            f"{recipe['selector_plan']['learning_rate']:g} and "
            f"{recipe['reader_plan']['learning_rate']:g}, seed {recipe['seed']}."
        )
    return [
        "## Where it comes from",
        "",
        f"{data['name']}: {data['train']:,} training questions, {data['dev']:,} dev questions, "
        f"{data['candidates']} candidates at most. Licence of the data: "
        f"{data['licence'] or 'not stated'}.",
        "",
        taught,
        "",
        f"    {training['command']}",
        "",
    ]


def _dev(training: Mapping[str, Any], numbers: Mapping[str, Any]) -> list[str]:
    history: Sequence[Mapping[str, float]] = numbers["dev"]["history"]
    kept = numbers["dev"]["step"]
    shown = {name: said for name, said in _SHOWN.items() if name in history[-1]}
    rows = [
        f"| {'start' if i == 0 else i}{' (kept)' if i == kept else ''} | "
        + " | ".join(_number(each.get(name)) for name in shown)
        + " |"
        for i, each in enumerate(history)
    ]
    return [
        "## On dev",
        "",
        f"| iteration | {' | '.join(shown.values())} |",
        "|---" * (1 + len(shown)) + "|",
        *rows,
        "",
        "Start: the first candidates as they came."
        if "weights" in training
        else "The iteration was chosen by F1 here, so these numbers flatter it.",
        "",
    ]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.1f}"
