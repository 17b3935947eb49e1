"""Pointsman's encoder in the shapes that other libraries expect: queries routed, documents by the base.

sentence_encoder   sentence-transformers: `encode`, `encode_query`, `encode_document`, `similarity`
mteb               MTEB: `index`, `search`, `encode`, `mteb_model_meta`
beir               BEIR: `encode_queries`, `encode_corpus`

None of the three libraries is imported until it asks for an object of its own.
"""
