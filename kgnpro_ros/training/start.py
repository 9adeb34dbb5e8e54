# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Start a training from the weights of another one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from kgnpro_ros.exceptions import ModelError
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.training.checkpoint import load_checkpoint


def load_start(
    network: KeypointNetwork, start: str, fresh_heads: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Copy the weights that a network shares with a trained one; its other heads stay drawn.

    Args:
        network: Changed in place. Backbone and trunk must fit; heads are matched by name.
        start: Model name or ``.safetensors`` file, or ``.ckpt`` file (its averaged weights).
        fresh_heads: Heads that are not copied.

    Returns:
        For the model card: ``file``, ``sha256``, ``new_heads``.

    Raises:
        ModelError: If there are no such weights, or they are of another architecture.
    """
    path, digest, weights = _read(start)
    wanted = network.state_dict()
    heads = {name.split(".")[1] for name in wanted if name.startswith("heads.")}
    given = {name.split(".")[1] for name in weights if name.startswith("heads.")}
    new = sorted(head for head in heads if head not in given or head in fresh_heads)
    chosen = {name: weights.get(name) for name in wanted if _head(name) not in new}
    unfit = [
        name for name, value in chosen.items() if value is None or value.shape != wanted[name].shape
    ]
    if unfit:
        raise ModelError(
            f"{path} cannot be the start of this network: {len(unfit)} of {len(chosen)} tensors "
            f"are missing or of another size, the first is {unfit[0]}; start from a model of the "
            "same preset"
        )
    network.load_state_dict({**wanted, **chosen})
    return {"file": str(start), "sha256": digest, "new_heads": new}


def _read(start: str) -> tuple[Path, str, dict[str, Tensor]]:
    """Where the weights are, their hash, and themselves."""
    path = Path(start).expanduser()
    if path.suffix != ".ckpt":
        model = load_model(start)
        return model.path, model.sha256, model.network.state_dict()
    state: dict[str, Tensor] = load_checkpoint(path)["state_dict"]
    prefix = "network."
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return path, hashlib.sha256(path.read_bytes()).hexdigest(), weights


def _head(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "heads" else None
