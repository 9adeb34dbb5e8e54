# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Every setting of the package, and the only place with defaults.

A configuration that constructs is valid. :func:`load_config` lays a YAML file over the defaults,
:func:`dump_config` writes one; a YAML file is never required.
"""

from kgnpro_ros.config.ablation import AblationConfig, VariantConfig
from kgnpro_ros.config.detector import (
    DecodeConfig,
    DetectorConfig,
    FilterConfig,
    PnPConfig,
    RankingConfig,
    TableConfig,
)
from kgnpro_ros.config.evaluation import CalibrationConfig, EvaluationConfig, StageConfig
from kgnpro_ros.config.execution import CandidateConfig, MotionConfig, PickConfig
from kgnpro_ros.config.files import config_from_dict, dump_config, load_config
from kgnpro_ros.config.network import HEADS, NETWORK_PRESETS, HeadConfig, NetworkConfig
from kgnpro_ros.config.nodes import (
    ControllerConfig,
    ExecutorConfig,
    NodeConfig,
    ReplayConfig,
    SimConfig,
)
from kgnpro_ros.config.pose import PoseLossConfig, PosteriorConfig
from kgnpro_ros.config.reproduce import ReproduceConfig, SceneSetConfig
from kgnpro_ros.config.scenes import SceneConfig
from kgnpro_ros.config.simulation import SimControllerConfig, WorldConfig
from kgnpro_ros.config.training import AugmentConfig, LabelConfig, LossConfig, TrainConfig
from kgnpro_ros.config.trials import TrialConfig

__all__ = [
    "HEADS",
    "NETWORK_PRESETS",
    "AblationConfig",
    "AugmentConfig",
    "CalibrationConfig",
    "CandidateConfig",
    "ControllerConfig",
    "DecodeConfig",
    "DetectorConfig",
    "EvaluationConfig",
    "ExecutorConfig",
    "FilterConfig",
    "HeadConfig",
    "LabelConfig",
    "LossConfig",
    "MotionConfig",
    "NetworkConfig",
    "NodeConfig",
    "PickConfig",
    "PnPConfig",
    "PoseLossConfig",
    "PosteriorConfig",
    "RankingConfig",
    "ReplayConfig",
    "ReproduceConfig",
    "SceneConfig",
    "SceneSetConfig",
    "SimConfig",
    "SimControllerConfig",
    "StageConfig",
    "TableConfig",
    "TrainConfig",
    "TrialConfig",
    "VariantConfig",
    "WorldConfig",
    "config_from_dict",
    "dump_config",
    "load_config",
]
