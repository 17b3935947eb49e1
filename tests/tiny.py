"""A very small real model on disk: BERT of 2 layers, width 32, with a WordPiece tokenizer.

Everything is seeded, so that two folders made alike hold the same bytes of weights.
"""

from __future__ import annotations

import json
import os
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

WIDTH = 32
POSITIONS = 128

# Whole words that the synthetic questions are made of; anything else falls into single letters.
WORDS = [
    "what",
    "follows",
    "precedes",
    "is",
    "the",
    "colour",
    "of",
    "answer",
    "here",
    "comes",
    "after",
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "pi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "chi",
    "psi",
    "omega",
    "red",
    "green",
    "blue",
    "white",
    "black",
    "grey",
    "brown",
    "pink",
    "gold",
    "silver",
]
_LETTERS = string.ascii_lowercase + string.digits
VOCABULARY = (
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    + list(_LETTERS + ".,:;!?-'é日本語שלום🙂")
    + [f"##{letter}" for letter in _LETTERS]
    + WORDS
)


def tiny_model(seed: int = 0, **config: Any) -> Any:
    """A BertModel with seeded random weights."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    sizes = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": POSITIONS,
        # Far from BERT's 0.02, or all texts would have nearly the same states.
        "initializer_range": 0.2,
    }
    return BertModel(BertConfig(**{**sizes, **config}))


def write_tiny(folder: Path, seed: int = 0, **config: Any) -> Path:
    """A Hugging Face folder without sentence-transformers' files."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(
        models.WordPiece(vocab={word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    tiny_model(seed, **config).save_pretrained(folder)
    return folder


def write_classifier(folder: Path, labels: int) -> Path:
    """A sequence classifier of so many labels, with random weights."""
    from transformers import BertConfig, BertForSequenceClassification

    write_tiny(folder)
    torch.manual_seed(1)
    config = BertConfig.from_pretrained(folder, num_labels=labels, initializer_range=0.3)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def write_answering(folder: Path, family: str = "bert") -> Path:
    """A question-answering model of one of Hugging Face's families, with random weights."""
    import transformers

    write_tiny(folder)
    torch.manual_seed(1)
    sizes: dict[str, Any] = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": 130,
        "initializer_range": 0.3,
    }
    name = {
        "bert": "Bert",
        "roberta": "Roberta",
        "distilbert": "DistilBert",
        "electra": "Electra",
        "deberta-v2": "DebertaV2",
        "mpnet": "MPNet",
    }[family]
    more: dict[str, Any] = {}
    if family == "roberta":
        more = {"type_vocab_size": 1}
    elif family == "distilbert":
        more = {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 2 * WIDTH}
        sizes = {
            k: sizes[k] for k in ("vocab_size", "max_position_embeddings", "initializer_range")
        }
    elif family == "electra":
        more = {"embedding_size": WIDTH}
    config = getattr(transformers, f"{name}Config")(**sizes, **more)
    getattr(transformers, f"{name}ForQuestionAnswering")(config).save_pretrained(folder)
    return folder


def write_causal(folder: Path) -> Path:
    """A causal language model with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    write_tiny(folder)
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(VOCABULARY),
        n_embd=WIDTH,
        n_layer=2,
        n_head=4,
        n_positions=128,
        initializer_range=0.2,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def write_json(path: Path, value: object) -> None:
    """One JSON file, and the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_sentence_transformer(
    folder: Path,
    pooling: Mapping[str, Any],
    *,
    prompts: Mapping[str, str] | None = None,
    default_prompt: str | None = None,
    dense: int | None = None,
    max_length: int = 48,
    spelling: str = "sentence_transformers.models",
    extra_modules: Sequence[str] = (),
) -> Path:
    """The same model with modules.json, 1_Pooling, prompts and, if asked, 2_Dense of that width.

    `pooling` is the pooling module's configuration, in the old spelling or the new one.
    """
    write_tiny(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    word = {"word_embedding_dimension": WIDTH} if "pooling_mode" not in pooling else {}
    new = {"embedding_dimension": WIDTH} if "pooling_mode" in pooling else {}
    write_json(folder / "1_Pooling/config.json", {**word, **new, **pooling})
    if dense is not None:
        modules.append(("2_Dense", "Dense"))
        write_dense(folder / "2_Dense", dense)
    modules += [(f"9_{name}", name) for name in extra_modules]
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"{spelling}.{name}"}
            for i, (path, name) in enumerate(modules)
        ],
    )
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": max_length, "do_lower_case": False},
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": dict(prompts or {}), "default_prompt_name": default_prompt},
    )
    return folder


def write_dense(folder: Path, width: int, **config: Any) -> None:
    """A projection of the sentence vector as sentence-transformers saves it."""
    from safetensors.torch import save_file

    write_json(
        folder / "config.json",
        {
            "in_features": WIDTH,
            "out_features": width,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
            **config,
        },
    )
    generator = torch.Generator().manual_seed(7)
    save_file(
        {
            "linear.weight": torch.randn(width, WIDTH, generator=generator) / 4,
            "linear.bias": torch.randn(width, generator=generator) / 4,
        },
        folder / "model.safetensors",
    )


def flip_byte(file: Path, place: int = -1) -> None:
    """Damage one byte of a file, the last one unless told otherwise."""
    data = bytearray(file.read_bytes())
    data[place] ^= 0xFF
    file.write_bytes(bytes(data))
