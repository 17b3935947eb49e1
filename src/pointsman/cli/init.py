"""`pointsman init`: an empty workspace."""

from __future__ import annotations

from pointsman.cli.options import BackboneName, Json, Space
from pointsman.cli.output import Output

EXAMPLES = """
Examples:
  pointsman init my-space
  pointsman init my-space --backbone path/to/encoder
"""


def init(space: Space, backbone: BackboneName = None, json: Json = False) -> None:
    """Make a workspace.

    It is a directory for settings, an index and specialists. `index` makes
    one with the default settings by itself where there is none.
    """
    from pointsman.workspace import Workspace

    output = Output(json)
    if backbone is not None:
        # A name with a typing error is easier to correct now than when something is indexed.
        from pointsman.backbone.weights import locate

        locate(backbone)
    made = Workspace.create(space, backbone=backbone)
    output.show(f"Made {made.path}. Next: pointsman index {made.path} path/to/documents")
    output.document({"workspace": str(made.path), "backbone": made.settings.backbone})
