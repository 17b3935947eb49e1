"""Questions made from text alone, on which a reader practises before it sees questions that people asked.

A sentence loses one phrase, and what is left, with a question word in the gap, asks for it. Where
the phrase stands elsewhere in the passage too, the sentence itself is taken away, and the answer is
every other occurrence (recurring-span selection, Splinter, arXiv 2101.00438); where it does not,
the sentence stays and words of the question go (cloze translation, arXiv 1906.04980).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence

from pointsman.data.chunks import chunk
from pointsman.types import Document, ReadingExample

# A passage's length in characters at most: what one window of a reader holds.
_PASSAGE = 1_400
_LONGEST_PHRASE = 6
# Words of the sentence that stay on either side of the gap.
_KEPT = (4, 14)
_WORD = re.compile(r"\w(?:[\w'’.,/&-]*\w)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
_FUNCTION_WORDS = frozenset(
    """a an the this that these those it its he his him she her hers they their them we our us i my me
    you your who whom whose which what when where why how and or but nor so yet if then than as of in
    on at by for from to into onto over under with without within between among during before after
    about against through above below up down out off near since until while because although though
    is are was were be been being am do does did done has have had having will would shall should can
    could may might must not no there here also both either neither each every all any some such only
    just very more most much many other another same own too however thus therefore one ones""".split()  # noqa: SIM905
)


def phrases(sentence: str) -> list[tuple[int, int]]:
    """Character spans of the sentence's runs of content words, up to six words each."""
    runs: list[list[re.Match[str]]] = [[]]
    for word in _WORD.finditer(sentence):
        gap = sentence[runs[-1][-1].end() : word.start()] if runs[-1] else ""
        if gap.strip(" "):
            runs.append([])
        if word[0].lower() in _FUNCTION_WORDS:
            runs.append([])
        else:
            runs[-1].append(word)
    return [(run[0].start(), run[-1].end()) for run in runs if 0 < len(run) <= _LONGEST_PHRASE]


def cloze_examples(texts: Iterable[str], per_passage: int, seed: int) -> list[ReadingExample]:
    """Up to `per_passage` questions about each passage of the texts, a function of the seed."""
    rng = random.Random(seed)
    examples: list[ReadingExample] = []
    for i, text in enumerate(texts):
        for passage in chunk(Document(id=str(i), text=text), _PASSAGE, 0):
            possible = list(_gaps(passage.text))
            weights = [_weight(passage.text[start:end]) for _, start, end in possible]
            for sentence, start, end in _draw(possible, weights, per_passage, rng):
                examples.append(
                    _example(f"{passage.id}@{start}", passage.text, sentence, (start, end), rng)
                )
    return examples


def _gaps(passage: str) -> Iterator[tuple[tuple[int, int], int, int]]:
    """Every phrase that could be asked for, with its sentence: ((begin, stop), start, end)."""
    ends = [match.end() for match in _SENTENCE_END.finditer(passage)]
    for begin, stop in zip([0, *ends], [*ends, len(passage)], strict=True):
        sentence = passage[begin:stop]
        found = phrases(sentence)
        # A sentence that is all one phrase leaves no question.
        if len(_WORD.findall(sentence)) >= 5:
            yield from (((begin, stop), begin + start, begin + end) for start, end in found)


def _weight(phrase: str) -> float:
    """People ask for names, numbers and dates more than for other phrases."""
    return 3.0 if any(c.isdigit() or c.isupper() for c in phrase) else 1.0


def _draw(
    items: Sequence[tuple[tuple[int, int], int, int]],
    weights: Sequence[float],
    n: int,
    rng: random.Random,
) -> list[tuple[tuple[int, int], int, int]]:
    """n of the items without replacement, by weight (exponential keys, Efraimidis and Spirakis)."""
    keys = [rng.expovariate(weight) for weight in weights]
    return [items[i] for i in sorted(range(len(items)), key=keys.__getitem__)[:n]]


def _example(
    name: str,
    passage: str,
    sentence: tuple[int, int],
    gap: tuple[int, int],
    rng: random.Random,
) -> ReadingExample:
    begin, stop = sentence
    start, end = gap
    phrase = passage[start:end]
    elsewhere = [
        at for at in _occurrences(phrase, passage) if at + len(phrase) <= begin or at >= stop
    ]
    if elsewhere:
        context = passage[:begin] + passage[stop:]
        starts = tuple(at if at < begin else at - (stop - begin) for at in elsewhere)
        dropped = 0.0
    else:
        context, starts, dropped = passage, (start,), 0.3
    question = _question(passage[begin:start], phrase, passage[end:stop], dropped, rng)
    return ReadingExample(
        id=name,
        question=question,
        context=context,
        answers=tuple(context[at : at + len(phrase)] for at in starts),
        starts=starts,
    )


def _occurrences(phrase: str, passage: str) -> list[int]:
    pattern = rf"(?<!\w){re.escape(phrase)}(?!\w)"
    return [match.start() for match in re.finditer(pattern, passage, re.IGNORECASE)]


def _question(left: str, phrase: str, right: str, dropped: float, rng: random.Random) -> str:
    """The words around the gap and a question word, in its place or, half of the time, in front."""
    before = _WORD.findall(left)[-rng.randint(*_KEPT) :]
    after = _WORD.findall(right)[: rng.randint(*_KEPT)]
    before, after = (
        [word for word in words if rng.random() >= dropped] for words in (before, after)
    )
    asked = rng.choice(_question_words(phrase))
    words = [asked, *before, *after] if rng.random() < 0.5 else [*before, asked, *after]
    return " ".join(words) + "?"


def _question_words(phrase: str) -> tuple[str, ...]:
    if re.search(r"\b[12]\d{3}\b", phrase):
        return ("when", "what year", "which year")
    if phrase[0].isdigit():
        return ("how many", "how much", "what number")
    if phrase[0].isupper():
        return ("who", "what", "which", "where")
    return ("what", "which", "how")
