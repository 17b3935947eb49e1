"""The card of a grader: what it was trained on, how well it tells grades apart, how calibrated it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HEADS = {
    "plain": "a softmax over the grades",
    "cumulative": "one score and a threshold between each two grades",
    "corn": "the chance of passing each grade once the one below is passed (CORN)",
}
_SCALINGS = {
    "none": "none; every other one did worse on dev",
    "temperature": "one temperature",
    "vector": "a weight and a bias of each grade",
    "isotonic": "a rising curve of each grade",
}


def grader_card(
    name: str, base: str, training: Mapping[str, Any], numbers: Mapping[str, Any]
) -> str:
    """Markdown for people. `training` and `numbers` are the specialist's own records."""
    data, recipe, found = training["data"], training["recipe"], numbers["calibration"]
    held_out = " (held out of the training queries)" if data["dev_held_out"] else ""
    plan, before, after = recipe["plan"], found["before"], found["after"]
    rows = [
        f"| {grade} | {_meaning(data, i)} | {data['train']['grades'][grade]:,} | "
        f"{data['dev']['grades'][grade]:,} |"
        for i, grade in enumerate(data["grades"])
    ]
    lines = [
        f"# {name}: a grader",
        "",
        "Says how relevant a passage is to a question, as a probability of each of "
        f"{len(data['grades'])} ordered grades. {_form(recipe, base)}",
        "",
        "## Where it comes from",
        "",
        f"{data['name']}: {data['train']['pairs']:,} pairs of {data['train']['queries']:,} training "
        f"queries, {data['dev']['pairs']:,} pairs of {data['dev']['queries']:,} dev "
        f"queries{held_out}. Licence of the data: {data['licence'] or 'not stated'}.",
        "",
        *_labelled(data),
        f"| grade | {'meaning' if data.get('meanings') else 'raw scores'} | training pairs | dev pairs |",
        "|---|---|---|---|",
        *rows,
        "",
        *_practice(training),
        f"{training['steps']:,} steps of {recipe['batch_size']} pairs, learning rate "
        f"{plan['learning_rate']:g}, seed {plan['seed']}, {training['seconds']} seconds:",
        "",
        f"    {training['command']}",
        "",
        "## On dev",
        "",
        "| | NLL | macro-F1 | ECE |",
        "|---|---|---|---|",
        _measured("as trained", before),
        _measured("calibrated", after),
        "",
        f"Calibration: {_SCALINGS[found['chosen']]}. The second row is cross-fitted over five folds of "
        "the dev queries. The weights and the kind of calibration were chosen on dev, so both rows "
        "flatter.",
        "",
        "## Limits",
        "",
        "It knows the judgements of these queries' people. On questions of another kind it may be too "
        "sure, and its grades may mean less.",
        "",
    ]
    return "\n".join(lines)


def _form(recipe: Mapping[str, Any], base: str) -> str:
    """What kind of model it is."""
    if recipe.get("full"):
        return (
            f"A sequence classifier over the two together, all weights of {base} fine-tuned, up to "
            f"{recipe['max_length']} tokens; used as `hf:` and its folder."
        )
    return (
        f"A LoRA adapter of rank {recipe['rank']} on {base}, and a head over the question and the "
        f"passage read together: {_HEADS[recipe['head']]}."
    )


def _meaning(data: Mapping[str, Any], grade: int) -> str:
    """What a grade stands for: what it was mined as, or raw scores."""
    meanings = data.get("meanings")
    return str(meanings[grade]) if meanings else _scores(data["cuts"], grade)


def _scores(cuts: list[float], grade: int) -> str:
    """Which raw scores a grade stands for."""
    if grade == 0:
        return f"below {cuts[0]:g}"
    if grade == len(cuts):
        return f"from {cuts[-1]:g}"
    return f"from {cuts[grade - 1]:g}, below {cuts[grade]:g}"


def _labelled(data: Mapping[str, Any]) -> list[str]:
    """Which of the training pairs were labelled for it."""
    if "labelled" not in data:
        return []
    given = data["labelled"]
    line = (
        f"{given['pairs']:,} of the training pairs, of {given['queries']:,} queries, were picked from "
        f"an unlabelled pool and labelled in {given['sheet']}."
    )
    if given["automatic"]:
        line += f" {given['automatic']:,} of these labels are a grader's, not people's."
    return [line, ""]


def _practice(training: Mapping[str, Any]) -> list[str]:
    """How it was trained, beyond cross-entropy."""
    recipe, said = training["recipe"], []
    if recipe.get("start"):
        said.append(
            f"It began as the specialist {recipe['start']!r}, whose adapter it went on from."
        )
    if recipe.get("wording"):
        said.append("Its head also sees how much of the question's wording a passage repeats.")
    if training.get("taught"):
        said.append(
            f"It was trained twice, the second time on {training['taught']:,} pairs more without a "
            "label, as it had graded them itself."
        )
    objective = recipe["objective"]
    if recipe["probing"]:
        said.append(
            "The head was fitted to the features as they were before both were fine-tuned; of the way "
            f"from there to the end these weights stand at {training['alpha']:g}."
        )
    if training["data"]["levels"]:
        said.append("A pair was shared between the two grades that its raw score lies between.")
    if objective["occ"]:
        said.append(
            f"Against over-confidence: OCC of weight {objective['occ']:g}, ρ {objective['rho']:g}."
        )
    if objective["smoothing"]:
        said.append(f"Against over-confidence: label smoothing {objective['smoothing']:g}.")
    return [" ".join(said), ""] if said else []


def _measured(what: str, found: Mapping[str, float]) -> str:
    return f"| {what} | {found['nll']:.3f} | {100 * found['macro_f1']:.1f} | {found['ece']:.3f} |"
