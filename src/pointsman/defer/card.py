"""The card of an allocator: among whom it chooses, what it learned from, and what it is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml


def allocator_card(name: str, agents: Sequence[str], record: Mapping[str, Any]) -> str:
    """Markdown for people, of an allocator's own record."""
    training, numbers = record["training"], record["numbers"]
    lines = [
        *_begun(
            name,
            f"Decides who answers: {', '.join(agents)}. It asks one, looks at what was said, and asks "
            "another only where that is worth its price; then it gives the answer that is likeliest "
            "right, with its chance.",
            training,
        ),
        f"{_MEASURES[numbers['measure']]}, five-fold by passage. A price is how many right answers one gives "
        f"up for one answer of the dearest agent; cost, in {numbers['unit']}, counts all that were asked, the "
        f"dearest agent alone 1.{_weighed(numbers['alpha'])}",
        "",
        *_worth(agents, numbers),
    ]
    if any(each["promises"] for each in numbers["at"]):
        lines += _promises(numbers["at"])
    return "\n".join([*lines, *_ended(numbers)])


def foreseeing_card(
    name: str,
    agents: Sequence[str],
    at: float | None,
    training: Mapping[str, Any],
    numbers: Mapping[str, Any],
) -> str:
    """The same of one that decides before anybody is asked, at the price `at` alone, or at any."""
    which = "at any price" if at is None else f"at the price {at:g} alone"
    lines = [
        *_begun(
            name,
            f"Decides who answers, {which}: {', '.join(agents)}. It reads question and passages, which "
            f"takes {numbers['gflops']:.2f} GFLOPs a question, and asks one agent; another only where "
            "that one fails.",
            training,
        ),
        f"{numbers['taught']:,} of the questions taught it, {numbers['weighed']:,} said what that is "
        f"worth, and {numbers['reported']:,} about other passages report here, each agent's own share too. "
        "A price is how many right answers one gives up for one answer of the dearest agent, which costs "
        f"1, in {numbers['unit']}; what it takes to read is not in the cost. Right is "
        f"{_MEASURES[numbers['measure']].lower()}.{_weighed(numbers['alpha'])}",
        "",
        *_worth(agents, numbers),
        "",
        _foreseen(numbers["evidence"], at),
    ]
    if at is not None:
        advice = advised(name, at, numbers["unit"])
        lines += ["", "To use it, set in `pointsman.yaml`", "", *(f"    {line}" for line in advice)]
    return "\n".join([*lines, *_ended(numbers)])


def advised(name: str, price: float, unit: str) -> list[str]:
    """The lines of settings that use an allocator at the one price, in the one unit, that it serves."""
    settings = {"price": price, "defer": {"allocator": name, "unit": unit}}
    return yaml.safe_dump(settings, sort_keys=False).splitlines()


_MEASURES = {"em": "Exact match", "f1": "F1"}


def _weighed(alpha: Mapping[str, float]) -> str:
    """What an error weighs, where that is not 1 for all."""
    other = ", ".join(f"{agent} {weight:g}" for agent, weight in alpha.items() if weight != 1)
    return f" An error weighs 1, but of {other}." if other else ""


def _foreseen(evidence: Mapping[str, bool], at: float | None) -> str:
    """Of which agents anything could be foreseen."""
    blind = [agent for agent, sure in evidence.items() if not sure]
    if not blind:
        return "What it reads tells each agent's easy questions from its hard ones."
    if at is not None:
        return "Nothing shows that it is worth more than the best single agent, which it names everywhere."
    return (
        f"Of {', '.join(blind)} it could not tell easy questions from hard ones: taken to be as good "
        "everywhere."
    )


def _begun(name: str, what: str, training: Mapping[str, Any]) -> list[str]:
    return [
        f"# {name}: an allocator",
        "",
        what,
        "",
        "## Where it comes from",
        "",
        f"{training['questions']:,} questions of {training['data']}, each asked of every agent.",
        "",
        f"    {training['command']}",
        "",
        "## What it is worth",
        "",
    ]


def _worth(agents: Sequence[str], numbers: Mapping[str, Any]) -> list[str]:
    """Each agent alone, and what came of each price."""
    lines = [
        "| | right, % | cost | worth more than the best one alone | "
        f"{' | '.join(f'{agent} asked, %' for agent in agents)} |",
        f"|---|--:|--:|--:|{'--:|' * len(agents)}",
    ]
    for agent in agents:
        dashes = " | ".join("" for _ in agents)
        lines.append(f"| {agent} alone | {100 * numbers['right'][agent]:.1f} | | | {dashes} |")
    for each in numbers["at"]:
        asked = " | ".join(f"{100 * share:.0f}" for share in each["asked"])
        right, cost = 100 * each["right"], each["cost"]
        gain = _gain(each["gain"])
        lines.append(f"| price {each['price']:g} | {right:.1f} | {cost:.3f} | {gain} | {asked} |")
    return [
        *lines,
        "",
        "Worth: percent right less price times cost; in brackets 95 % intervals, whole passages or articles "
        "drawn anew. The best one alone is taken from these very questions.",
    ]


def _gain(gain: Mapping[str, Any]) -> str:
    mean, low, high = (100 * gain[name] for name in ("mean", "low", "high"))
    return f"{mean:+.1f} [{low:.1f}, {high:.1f}]"


def _ended(numbers: Mapping[str, Any]) -> list[str]:
    """What failed, and what it does not know."""
    failed = {agent: count for agent, count in numbers["failures"].items() if count}
    lines = []
    if failed:
        counts = ", ".join(f"{agent} {count:,}" for agent, count in failed.items())
        lines += ["", f"Failures while the record was made, which count as wrong: {counts}."]
    return [
        *lines,
        "",
        "## Limits",
        "",
        "It knows these agents as they were, on these questions and passages. An agent that changes, "
        "another encoder or other documents want it trained again.",
        "",
    ]


def _promises(at: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where to set the least chance of an answer, for so many errors among those that are given."""
    errors = [promise["error"] for promise in at[0]["promises"]]
    lines = [
        "",
        "## What can be promised",
        "",
        "The least chance at which an answer should be given (`read.min_confidence` in the settings) so that "
        "no more of the given ones are wrong, with nine chances in ten; in brackets the share of questions "
        "that then has an answer. New questions about other passages of the same kind are meant.",
        "",
        f"| at most wrong | {' | '.join(f'{100 * error:.0f} %' for error in errors)} |",
        f"|---|{'--:|' * len(errors)}",
    ]
    for each in at:
        cells = [
            f"{_at_least(promise['least'])} ({100 * promise['answered']:.0f} %)"
            if promise["least"] is not None
            else "–"
            for promise in each["promises"]
        ]
        lines.append(f"| price {each['price']:g} | {' | '.join(cells)} |")
    return lines


def _at_least(chance: float) -> str:
    """Never below what was tested, and never 1 where that was not."""
    rounded = math.ceil(chance * 10_000) / 10_000
    return f"{rounded:.4f}" if rounded < 1 or chance >= 1 else str(chance)
