"""The families of encoders, as very small random models' settings."""

from __future__ import annotations

from typing import Any

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 1,
}
# What a family calls otherwise, by the name of its classes in transformers.
FAMILIES: dict[str, dict[str, Any]] = {
    "Bert": {},
    "Roberta": {},
    "XLMRoberta": {},
    "Camembert": {},
    "MPNet": {},
    "Electra": {"embedding_size": 16},
    "DistilBert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24},
    "ModernBert": {"global_attn_every_n_layers": 2, "local_attention": 4},
}
