"""Small worlds in SQuAD's form: numbered letters have colours, and numbers keep parts apart."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from graded import COLOURS, GREEK


def article(number: int, rng: random.Random, paragraphs: int) -> dict[str, Any]:
    """One article of as many paragraphs, each with a question after the colour that it names."""
    made = []
    for letter in rng.sample(GREEK, paragraphs):
        colour = rng.choice(COLOURS)
        context = f"after {letter} {number} comes {colour}"
        question = {
            "id": f"{letter}-{number}",
            "question": f"what follows {letter} {number}",
            "answers": [{"text": colour, "answer_start": context.index(colour)}],
        }
        made.append({"context": context, "qas": [question]})
    return {"title": f"number {number}", "paragraphs": made}


def write_articles(path: Path, articles: Iterable[dict[str, Any]]) -> Path:
    """As a SQuAD file."""
    path.write_text(json.dumps({"version": "1.1", "data": list(articles)}), "utf-8")
    return path
