"""Collections of documents with judged queries, as vectors of the frozen base."""
