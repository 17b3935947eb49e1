"""The paper's selector: a causal language model that writes "[2] > [1] > [5]" (arXiv 2505.03075).

Decoding is constrained: at every token only such as lead to an identifier that was not written yet, or
to the end. A selection's probability is that of its tokens among the allowed ones, so that those of
all selections sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, InputError
from pointsman.select.permutation import END, check
from pointsman.text import scrub
from pointsman.types import FloatArray, Passage, Selection

PROMPT = (
    "Passages:\n{passages}\n\nQuestion: {question}\n\n"
    "The passages that answer the question, best first, such as {example}:\n"
)
IDENTIFIER, SEPARATOR = "[{}]", " > "

# Passages that are too long together are tried shorter by so many tokens each.
_STEP = 4

Tokens = tuple[int, ...]
Choose = Callable[[Tensor], Tensor]


class GenerativeSelector:
    """Selections of at most k candidates as a causal model writes them.

    `max_length` bounds prompt and selection in tokens; passages that do not fit are cut to equal
    lengths. The model may be trained through `log_prob`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        k: int = 5,
        max_length: int = 2_048,
        *,
        identifier: str = IDENTIFIER,
        separator: str = SEPARATOR,
        prompt: str = PROMPT,
    ) -> None:
        if k < 1:
            raise ConfigError(f"at least 1 choice is needed, not {k}")
        if "{}" not in identifier:
            raise ConfigError(f"an identifier has a place for its number, {{}}, not {identifier!r}")
        if tokenizer.eos_token_id is None:
            raise ConfigError("the model's tokenizer has no token for the end of a text")
        self.model = model
        self.k = k
        self._tokenizer = tokenizer
        self._end: Tokens = (int(tokenizer.eos_token_id),)
        limit = getattr(model.config, "max_position_embeddings", None) or max_length
        self._max_length = min(max_length, limit)
        self._identifier = identifier
        self._separator = separator
        self._prompt = prompt

    def log_prob(self, question: str, passages: Sequence[Passage], selections: Tensor) -> Tensor:
        """Log-probabilities [m] of whole selections [m, k] of places, -1 after the end; see `permutation`.

        A row that is narrower ends where it ends. Raises InputError for what is no selection of these, or
        one of more than k.
        """
        check(selections, len(passages))
        most = min(self.k, len(passages))
        if (selections[:, most:] != END).any():
            raise InputError(f"a selection holds at most {most} of {len(passages)} candidates")
        missing = (0, most - selections.shape[1])
        selections = torch.nn.functional.pad(selections, missing, value=END)
        options = _Options(self, len(passages))
        given = self._ask(question, passages, options)
        written = [options.write(row) for row in selections.tolist()]
        longest = max(len(tokens) for tokens, _ in written)
        ids = torch.tensor(
            [[*given, *tokens, *self._end * (longest - len(tokens))] for tokens, _ in written]
        )
        logits = self._logits(ids)[:, len(given) - 1 : -1]
        allowed = torch.zeros_like(logits, dtype=torch.bool)
        chosen = torch.zeros(len(written), longest, dtype=torch.long)
        for row, (tokens, ways) in enumerate(written):
            for place, (token, way) in enumerate(zip(tokens, ways, strict=True)):
                allowed[row, place, list(way)] = True
                chosen[row, place] = token
        # Past the end everything is allowed and nothing counts.
        counts = allowed.any(-1)
        log_p = among(logits, allowed | ~counts.unsqueeze(-1))
        here = log_p.gather(-1, chosen.to(log_p.device).unsqueeze(-1)).squeeze(-1)
        return torch.where(counts, here, torch.zeros_like(here)).sum(-1)

    @torch.no_grad()
    def sample(
        self,
        question: str,
        passages: Sequence[Passage],
        m: int,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """m selections [m, k] as the model would write them."""

        def draw(log_p: Tensor) -> Tensor:
            return torch.multinomial(log_p.exp(), 1, generator=generator).squeeze(1)

        return self._write(question, passages, m, draw)

    @torch.no_grad()
    def best(self, question: str, passages: Sequence[Passage]) -> Tensor:
        """The selection [k] of the likeliest token at every place."""
        return self._write(question, passages, 1, lambda log_p: log_p.argmax(-1))[0]

    def select(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        relevance: Sequence[FloatArray],
        deadline: Deadline | None = None,
    ) -> list[Selection]:
        """What the model writes of each question (protocol `Selector`); relevance is nothing to it.

        Raises DeadlineError between two questions where time is up.
        """
        found = []
        for question, given in zip(questions, passages, strict=True):
            if deadline is not None:
                deadline.check("selecting passages")
            chosen = self.best(question, given).numpy()
            found.append(Selection(chosen[chosen != END]))
        return found

    def _write(self, question: str, passages: Sequence[Passage], m: int, choose: Choose) -> Tensor:
        options = _Options(self, len(passages))
        selections = torch.full((m, self.k), END)
        if not passages:
            return selections
        ids = torch.tensor([self._ask(question, passages, options)])
        # The prompt is read once for all selections, and every token after it once.
        out = self.model(input_ids=ids.to(self._device), use_cache=True)
        cache, logits = out.past_key_values, out.logits[:, -1].expand(m, -1)
        cache.batch_repeat_interleave(m)
        rows: list[list[int]] = [[] for _ in range(m)]
        halves: list[Tokens] = [()] * m
        going = [True] * m
        while True:
            allowed = torch.zeros_like(logits, dtype=torch.bool)
            for i in range(m):
                ways = options.next(rows[i], halves[i]) if going[i] else set(self._end)
                allowed[i, list(ways)] = True
            tokens = choose(among(logits.float(), allowed).cpu())
            for i, token in enumerate(tokens.tolist()):
                if not going[i]:
                    continue
                halves[i] += (token,)
                whole = options.whole(rows[i], halves[i])
                if whole is not None:
                    halves[i] = ()
                    rows[i] += [] if whole == END else [whole]
                    going[i] = whole != END and len(rows[i]) < min(self.k, len(passages))
            if not any(going):
                break
            out = self.model(
                input_ids=tokens.unsqueeze(1).to(self._device),
                past_key_values=cache,
                use_cache=True,
            )
            cache, logits = out.past_key_values, out.logits[:, -1]
        for i, row in enumerate(rows):
            selections[i, : len(row)] = torch.tensor(row)
        return selections

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    def _logits(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids.to(self._device)).logits
        return logits.float()

    def _ask(self, question: str, passages: Sequence[Passage], options: _Options) -> list[int]:
        """The prompt's tokens, its passages cut so that a whole selection fits behind it."""
        room = self._max_length - options.longest(self.k)
        texts = [scrub(passage.content) for passage in passages]
        ids = self._prompted(question, texts)
        if len(ids) <= room:
            return ids
        encoded = self._tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"]
        for width in range(max(map(len, offsets)) - 1, 0, -_STEP):
            if len(ids) - sum(max(0, len(each) - width) for each in offsets) > room:
                continue
            cut = [t[: o[:width][-1][1]] if o else "" for t, o in zip(texts, offsets, strict=True)]
            ids = self._prompted(question, cut)
            if len(ids) <= room:
                return ids
        raise ConfigError(
            f"{len(passages)} passages and the question do not fit into {self._max_length} tokens; "
            "give fewer of them, or a model that reads more"
        )

    def _prompted(self, question: str, texts: Sequence[str]) -> list[int]:
        listed = "\n".join(f"{self.name(i)} {text}" for i, text in enumerate(texts))
        example = self._separator.join(self.name(i) for i in (1, 0))
        asked = self._prompt.format(passages=listed, question=scrub(question), example=example)
        return list(self._tokenizer(asked, add_special_tokens=False)["input_ids"])

    def name(self, place: int) -> str:
        """What the model writes for a candidate; people count from 1."""
        return self._identifier.format(place + 1)

    def tokens(self, place: int, first: bool) -> Tokens:
        """The tokens of a candidate's name, with what separates it from the one before."""
        text = self.name(place) if first else self._separator + self.name(place)
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def end(self) -> Tokens:
        """What ends a selection."""
        return self._end


class _Options:
    """What can be written next: names of candidates that are left, or the end."""

    def __init__(self, selector: GenerativeSelector, candidates: int) -> None:
        self._first = [selector.tokens(i, first=True) for i in range(candidates)]
        self._later = [selector.tokens(i, first=False) for i in range(candidates)]
        self._end = selector.end
        for names in (self._first, self._later):
            ordered = sorted([*names, self._end])
            # In this order a name stands right before those that it begins.
            for name, after in pairwise(ordered):
                if after[: len(name)] == name:
                    raise ConfigError(
                        "the name of one candidate begins that of another in this model's tokens; "
                        "give identifiers that have an end of their own, such as [{}]"
                    )

    def longest(self, k: int) -> int:
        """The most tokens that a selection takes."""
        return k * max(map(len, self._later), default=1) + 1

    def _open(self, chosen: Sequence[int]) -> dict[int, Tokens]:
        names = self._later if chosen else self._first
        left = {i: name for i, name in enumerate(names) if i not in chosen}
        return left | ({END: self._end} if chosen else {})

    def next(self, chosen: Sequence[int], half: Tokens) -> set[int]:
        """The tokens that may follow a name written by `half`."""
        ways = self._open(chosen).values()
        return {way[len(half)] for way in ways if len(way) > len(half) and way[: len(half)] == half}

    def whole(self, chosen: Sequence[int], written: Tokens) -> int | None:
        """The candidate whose name was written whole, END for the end, None for a part of a name."""
        return {name: i for i, name in self._open(chosen).items()}.get(written)

    def write(self, row: Sequence[int]) -> tuple[Tokens, list[set[int]]]:
        """A selection's tokens, and what could have been written at each."""
        tokens: Tokens = ()
        ways: list[set[int]] = []
        chosen: list[int] = []
        for place in row:
            option = self._open(chosen)[place]
            ways += [self.next(chosen, option[:i]) for i in range(len(option))]
            tokens += option
            if place == END:
                break
            chosen.append(place)
        return tokens, ways


def among(logits: Tensor, allowed: Tensor) -> Tensor:
    """Log-probabilities [..., v] among the allowed tokens; -inf elsewhere.

    Where the model gives none of them a number, all are equally likely: nothing is NaN.
    """
    usable = allowed & torch.isfinite(logits)
    none = ~usable.any(-1, keepdim=True)
    safe = torch.where(usable, logits, torch.full_like(logits, -torch.inf))
    safe = torch.where(none & allowed, torch.zeros_like(safe), safe)
    return safe.log_softmax(-1)
