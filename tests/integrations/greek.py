"""A collection in the few words that the tiny tokenizer knows, and a router for its questions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pointsman.evaluate.retrieval import evaluate_run
from pointsman.protocols import Queries
from pointsman.types import FloatArray, Routing


class WordRouter:
    """Questions about colours go to one expert, about order to base and the other one mixed."""

    experts = ("base", "colours", "order")

    def route(self, queries: Queries) -> Routing:
        weights = np.zeros((len(queries.texts), 3), dtype=np.float32)
        for i, text in enumerate(queries.texts):
            if "colour" in text:
                weights[i, 1] = 1.0
            elif "follows" in text:
                weights[i, [0, 2]] = 0.3, 0.7
            else:
                weights[i, 0] = 1.0
        return Routing(self.experts, weights, weights)


@dataclass(frozen=True)
class Collection:
    """Texts of documents and queries by id, and who is relevant to whom, with grades."""

    corpus: dict[str, dict[str, str]] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)
    qrels: dict[str, dict[str, int]] = field(default_factory=dict)

    def texts(self) -> dict[str, str]:
        """Title and text as one."""
        return {
            id: f"{document['title']} {document['text']}".strip()
            for id, document in self.corpus.items()
        }

    def rows(self) -> list[dict[str, str]]:
        return [{"id": id, **document} for id, document in self.corpus.items()]

    def query_rows(self) -> list[dict[str, str]]:
        return [{"id": id, "text": text} for id, text in self.queries.items()]

    def ndcg(self, query_vectors: FloatArray, document_vectors: FloatArray, k: int = 10) -> float:
        """nDCG@k by our own measure, of all cosines sorted by numpy."""
        cosines = query_vectors @ document_vectors.T
        run = {
            query: dict(zip(self.corpus, row.tolist(), strict=True))
            for query, row in zip(self.queries, cosines, strict=True)
        }
        return evaluate_run(self.qrels, run, [f"nDCG@{k}"]).mean(f"nDCG@{k}")
