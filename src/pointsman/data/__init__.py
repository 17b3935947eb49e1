"""Formats in and out: BEIR, SQuAD, TREC, multi-hop questions, a person's own text files.

Each format is one module, imported when it is needed: `pointsman.data.beir`, `.squad`, `.nq`,
`.multihop`, `.trec`, `.documents`; `.sources` recognises which of them a path is, `.chunks` cuts
documents into passages, and `.splits` keeps test questions out of training.
"""
