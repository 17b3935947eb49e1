"""Extractive question answering in SQuAD's JSON, v1.1 (arXiv 1606.05250) and v2.0 (arXiv 1806.03822).

A SQuAD file is one JSON object, so it is read whole before the first example comes out; line
numbers mean nothing in it, and the errors name the question or the place in the tree instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pointsman.data.files import dump, kind_of, load_json, replacing
from pointsman.errors import FormatError
from pointsman.text import scrub
from pointsman.types import Document, ReadingExample


def read_squad(path: str | Path) -> Iterator[ReadingExample]:
    """Read the questions of a SQuAD v1.1 or v2.0 file.

    Every annotator's answer is kept, repeated or not; an impossible question has none. `title` has
    spaces for underscores. `cluster` is the article's title as it stands, or "article-3" (from 0)
    where the title is empty or not the only one of its name.

    Raises:
        InputError: the file is missing or unreadable.
        FormatError: not SQuAD, a question id that stands twice, or an answer that does not stand
            at its offset, `context[start:start + len(text)]`; the message names the question.
    """
    seen: set[str] = set()
    for paragraph in _paragraphs(path):
        for index, item in enumerate(_list(paragraph.node, "qas", path, paragraph.place)):
            place = f"{paragraph.place}.qas[{index}]"
            question = _object(item, path, place)
            id = _id(question, path, place)
            if id in seen:
                raise FormatError(path, f"the question id {id!r} stands twice")
            seen.add(id)
            answers, starts = _answers(question, paragraph.context, path, place, id)
            yield ReadingExample(
                id=id,
                question=_text(question, "question", path, place),
                context=paragraph.context,
                answers=answers,
                starts=starts,
                title=paragraph.title,
                cluster=paragraph.cluster,
            )


def squad_paragraphs(path: str | Path) -> Iterator[Document]:
    """Each distinct paragraph once, as a document with the id "ARTICLE-PARAGRAPH", both from 0.

    A paragraph whose text stood before keeps the id of its first place, so that retrieving it
    counts for the questions of both.
    """
    seen: set[str] = set()
    for paragraph in _paragraphs(path):
        if paragraph.context not in seen:
            seen.add(paragraph.context)
            yield Document(paragraph.id, paragraph.context, paragraph.title)


def question_paragraphs(path: str | Path) -> dict[str, str]:
    """Question id -> id of its paragraph among `squad_paragraphs`: the gold of open-domain retrieval."""
    first: dict[str, str] = {}
    gold: dict[str, str] = {}
    for paragraph in _paragraphs(path):
        id = first.setdefault(paragraph.context, paragraph.id)
        for index, item in enumerate(_list(paragraph.node, "qas", path, paragraph.place)):
            place = f"{paragraph.place}.qas[{index}]"
            gold[_id(_object(item, path, place), path, place)] = id
    return gold


def write_squad(path: str | Path, examples: Iterable[ReadingExample]) -> None:
    """Write examples as SQuAD JSON, by article and paragraph; v2.0 as soon as one has no answer.

    Examples that share cluster and title become one article, those that share the context as well
    one paragraph. Nothing is replaced until all is written.
    """
    articles: dict[tuple[str, str], dict[str, list[dict[str, object]]]] = {}
    examples = list(examples)
    impossible = any(not example.answers for example in examples)
    for example in examples:
        question: dict[str, object] = {
            "id": example.id,
            "question": example.question,
            "answers": [
                {"text": text, "answer_start": start}
                for text, start in zip(example.answers, example.starts, strict=True)
            ],
        }
        if impossible:
            question["is_impossible"] = not example.answers
        article = articles.setdefault((example.cluster, example.title), {})
        article.setdefault(example.context, []).append(question)
    data = [
        {
            # The cluster is the title as the file had it, unless it was made up on reading.
            "title": cluster if cluster.replace("_", " ") == title else title,
            "paragraphs": [
                {"context": context, "qas": questions} for context, questions in paragraphs.items()
            ],
        }
        for (cluster, title), paragraphs in articles.items()
    ]
    with replacing(path) as file:
        file.write(dump({"version": "v2.0" if impossible else "1.1", "data": data}) + "\n")


def read_predictions(path: str | Path) -> dict[str, str]:
    """Read a SQuAD predictions file: question id -> answer text ("" for no answer).

    Raises FormatError where it is not one JSON object of texts, or an id stands twice.
    """
    value = load_json(path, unique_keys=True)
    if not isinstance(value, dict):
        raise FormatError(path, f"predictions are a JSON object, not {kind_of(value)}")
    for id, text in value.items():
        if not isinstance(text, str):
            raise FormatError(path, f"the prediction for {id!r} must be text, not {kind_of(text)}")
    return {id: scrub(text) for id, text in value.items()}


def write_predictions(path: str | Path, predictions: Mapping[str, str]) -> None:
    """Write a SQuAD predictions file: one JSON object, question id -> answer text."""
    with replacing(path) as file:
        file.write(dump(dict(predictions)) + "\n")


@dataclass(frozen=True, slots=True)
class _Paragraph:
    id: str
    place: str
    title: str
    cluster: str
    context: str
    node: dict[str, object]


def _paragraphs(path: str | Path) -> Iterator[_Paragraph]:
    root = load_json(path)
    if not isinstance(root, dict) or not isinstance(root.get("data"), list):
        raise FormatError(path, 'not a SQuAD file: {"data": [{"paragraphs": […]}]} is needed')
    articles = [
        _object(item, path, f"data[{index}]")
        for index, item in enumerate(_list(root, "data", path, ""))
    ]
    titles = [
        _text(article, "title", path, f"data[{index}]") if article.get("title") is not None else ""
        for index, article in enumerate(articles)
    ]
    times = Counter(titles)
    for index, (article, title) in enumerate(zip(articles, titles, strict=True)):
        alone = title.strip() and times[title] == 1
        place = f"data[{index}]"
        for number, item in enumerate(_list(article, "paragraphs", path, place)):
            at = f"{place}.paragraphs[{number}]"
            node = _object(item, path, at)
            yield _Paragraph(
                id=f"{index}-{number}",
                place=at,
                title=title.replace("_", " ").strip(),
                cluster=title if alone else f"article-{index}",
                context=_text(node, "context", path, at),
                node=node,
            )


def _answers(
    question: dict[str, object], context: str, path: str | Path, place: str, id: str
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if question.get("is_impossible"):
        return (), ()
    answers: list[str] = []
    starts: list[int] = []
    for index, item in enumerate(_list(question, "answers", path, place)):
        at = f"{place}.answers[{index}]"
        node = _object(item, path, at)
        text, start = _text(node, "text", path, at), node.get("answer_start")
        if not isinstance(start, int) or isinstance(start, bool):
            raise FormatError(path, f"question {id!r}: {at} has no whole number 'answer_start'")
        found = context[start : start + len(text)] if start >= 0 else ""
        if not text or found != text:
            reason = f"question {id!r}: the answer {text!r} does not stand at offset {start}"
            raise FormatError(path, f"{reason}, there stands {found!r}; correct answer_start")
        answers.append(text)
        starts.append(start)
    return tuple(answers), tuple(starts)


def _object(value: object, path: str | Path, place: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise FormatError(path, f"{place} must be an object, not {kind_of(value)}")
    return value


def _list(node: dict[str, object], key: str, path: str | Path, place: str) -> list[object]:
    value = node.get(key)
    if not isinstance(value, list):
        found = kind_of(value) if key in node else "missing"
        raise FormatError(path, f"{place}.{key} must be a list, not {found}".lstrip("."))
    return value


def _text(node: dict[str, object], key: str, path: str | Path, place: str) -> str:
    value = node.get(key)
    if not isinstance(value, str):
        found = kind_of(value) if key in node else "missing"
        raise FormatError(path, f"{place}.{key} must be text, not {found}")
    return scrub(value)


def _id(node: dict[str, object], path: str | Path, place: str) -> str:
    value = node.get("id")
    # COVID-QA numbers its questions.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(node, "id", path, place)
