"""Pointsman answers questions from a body of documents and routes each step to a specialist.

from pointsman import Workspace

space = Workspace.create("my-space")
space.index(["path/to/documents"])
print(space.ask("Who designed the first iron bridge?").text)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pointsman.backbone.encoder import Backbone
    from pointsman.errors import PointsmanError
    from pointsman.pipeline import Pipeline
    from pointsman.trace import Trace
    from pointsman.types import Answer
    from pointsman.workspace import Workspace

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Backbone",
    "Pipeline",
    "PointsmanError",
    "Trace",
    "Workspace",
    "__version__",
]

# Name -> its module, imported when first asked for: importing Pointsman must not import torch.
_HOMES = {
    "Answer": "pointsman.types",
    "Backbone": "pointsman.backbone.encoder",
    "Pipeline": "pointsman.pipeline",
    "PointsmanError": "pointsman.errors",
    "Trace": "pointsman.trace",
    "Workspace": "pointsman.workspace",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pointsman' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
