"""What tasks have in common that train an adapter and a head on a frozen backbone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, own_parameters
from pointsman.backbone.pairs import Window

_HEAD = "head."


class AdapterTask:
    """The weights of a task: an adapter from `from_layer` on, and a head's tensors.

    What of the adapter lies below stays as it is, and all of it where it is `frozen`. What is given is
    not changed.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapter: LoraAdapter,
        head: Mapping[str, Tensor],
        *,
        from_layer: int = 0,
        frozen: bool = False,
    ) -> None:
        self.backbone = backbone
        self._start = adapter
        self._start_head = dict(head)
        self._changed = LoraAdapter({}) if frozen else adapter.from_layer(from_layer)
        self._adapter_parameters = self._changed.trainable(backbone.device)
        self._head_parameters = own_parameters(head, backbone.device)

    @property
    def device(self) -> torch.device:
        """The backbone's device."""
        return self.backbone.device

    def parameters(self) -> dict[str, nn.Parameter]:
        """The adapter's matrices and the head's, by name."""
        head = {f"{_HEAD}{name}": value for name, value in self._head_parameters.items()}
        return {**self._adapter_parameters, **head}

    def digest(self, settings: Sequence[object], windows: Sequence[Window], data: bytes) -> str:
        """Changes with the base, these settings, what is read and learned, and what training began with."""
        digest = hashlib.sha256()
        identity = (*settings, sorted(self._adapter_parameters))
        digest.update(repr((self.backbone.identity.sha256, identity)).encode())
        for window in windows:
            digest.update(window.ids.tobytes())
        digest.update(data)
        for tensor in (*self._start.tensors().values(), *self._start_head.values()):
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()

    def weights(
        self, parameters: Mapping[str, Tensor] | None = None
    ) -> tuple[LoraAdapter, dict[str, Tensor]]:
        """Adapter and head with these weights, or with those of this moment."""
        given = {k: v.detach() for k, v in (parameters or self.parameters()).items()}
        head = {k.removeprefix(_HEAD): v for k, v in given.items() if k.startswith(_HEAD)}
        return self._whole(given), head

    def adapter_in_training(self) -> LoraAdapter:
        """The adapter of this moment, through which gradients flow."""
        return self._whole(self._adapter_parameters)

    def _whole(self, tensors: Mapping[str, Tensor]) -> LoraAdapter:
        changed = self._changed.with_tensors(tensors).layers
        return LoraAdapter({**self._start.layers, **changed})
