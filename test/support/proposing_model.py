# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Random weights that propose a hand at every pixel, and settings that let that through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from kgnpro_ros.config import NETWORK_PRESETS, DetectorConfig, NetworkConfig
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.weights import save_model

TINY = NETWORK_PRESETS["tiny"]
#: Corners of a hand that is tilted towards the camera, about its centre [cells].
HAND = torch.tensor([[12.0, 1.0], [-12.0, -1.0], [10.0, 12.0], [-9.0, 11.0]])


def proposing_network(config: NetworkConfig = TINY) -> KeypointNetwork:
    torch.manual_seed(0)
    network = KeypointNetwork(config)
    for head in network.heads.values():
        torch.nn.init.normal_(head.out.weight, std=0.1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
        if hasattr(module, "offset_mask"):
            torch.nn.init.normal_(module.offset_mask.weight, std=0.02)
    with torch.no_grad():  # one batch gives the batch norms statistics, and the maps a signal
        network(torch.randint(0, 256, (1, 3, 96, 128), dtype=torch.uint8), torch.rand(1, 96, 128))
    torch.nn.init.constant_(network.heads["heatmap"].out.bias, 1.0)
    with torch.no_grad():
        network.heads["offsets"].out.bias.copy_(HAND.flatten().repeat(config.orientation_classes))
    return network.eval()


def save_proposing_model(folder: Path, config: NetworkConfig = TINY) -> Path:
    path = folder / "net.safetensors"
    save_model(proposing_network(config), path, {})
    return path


def lenient(config: DetectorConfig) -> DetectorConfig:
    return replace(
        config,
        decode=replace(config.decode, orientation_check=False),
        pnp=replace(config.pnp, max_reprojection_error=10000.0),
        filters=config.filters.without_gripper(),
    )
