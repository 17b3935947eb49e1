"""What a question's way through the stages cost and which way it was, for programs and for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# Of many options a person wants to see the best few; the JSON has them all.
_SHOWN = 5
_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer cost, or is expected to. `usd` is money in US dollars."""

    gflops: float = 0.0
    seconds: float = 0.0
    usd: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.gflops + other.gflops, self.seconds + other.seconds, self.usd + other.usd)


@dataclass(frozen=True, slots=True)
class Step:
    """One stage's decision: what it could have chosen, how it scored that, what it chose.

    `scores` stand beside `options`, best option first where the stage ranks them; `seconds` are
    this question's share of a batch.
    """

    stage: str
    options: tuple[str, ...]
    scores: tuple[float, ...]
    choice: tuple[str, ...]
    seconds: float
    cost: Cost = Cost()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """The way that a question took, stage by stage. `str()` of it is a tree to read."""

    steps: tuple[Step, ...] = ()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds over all stages."""
        return sum(step.seconds for step in self.steps)

    @property
    def cost(self) -> Cost:
        """Cost over all stages."""
        return sum((step.cost for step in self.steps), Cost())

    def as_dict(self) -> dict[str, Any]:
        """Every stage with all its options, as plain values for JSON."""
        return asdict(self) | {"seconds": self.seconds, "cost": asdict(self.cost)}

    def __str__(self) -> str:
        lines = [f"{self.seconds * 1000:.0f} ms, {self.cost.gflops:.2f} GFLOPs"]
        for i, step in enumerate(self.steps):
            last = i == len(self.steps) - 1
            note = f"  ({step.note})" if step.note else ""
            lines.append(
                f"{'└─' if last else '├─'} {step.stage}  {step.seconds * 1000:.1f} ms{note}"
            )
            lines += [f"{'   ' if last else '│  '}{line}" for line in _options(step)]
        return "\n".join(lines)


def _options(step: Step) -> list[str]:
    lines = []
    for i, option in enumerate(step.options[:_SHOWN]):
        mark = "●" if option in step.choice else "○"
        score = f"{step.scores[i]:7.3f} " if i < len(step.scores) else ""
        lines.append(f"{mark} {score} {shorten(option)}")
    if len(step.options) > _SHOWN:
        lines.append(f"… {len(step.options) - _SHOWN} more")
    return lines


def shorten(text: str, width: int = _WIDTH) -> str:
    """One line of at most `width` characters, with an ellipsis where something was left out."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"
