# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from kgnpro_ros.config import (
    DecodeConfig,
    DetectorConfig,
    ExecutorConfig,
    FilterConfig,
    NodeConfig,
    ReplayConfig,
    SimConfig,
    SimControllerConfig,
    WorldConfig,
)
from kgnpro_ros.exceptions import ConfigError
from kgnpro_ros.ros.params import Parameters, default_yaml, parameter_fields

SHIPPED = Path(__file__).parents[2] / "config" / "detector.yaml"
ALL = (
    DetectorConfig(), NodeConfig(), ReplayConfig(), SimConfig(), WorldConfig(),
    SimControllerConfig(), ExecutorConfig(),
)  # fmt: skip


@pytest.fixture
def make_node(ros):
    nodes = []

    def make(*arguments):
        arguments = [part for item in arguments for part in ("-p", item)]
        cli = ["--ros-args", *arguments] if arguments else None
        node = Node("params_test", cli_args=cli, use_global_arguments=False)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()


@pytest.mark.parametrize("config", ALL, ids=lambda config: type(config).__name__)
def test_every_setting_is_described(config):
    for leaf in parameter_fields(config):
        assert leaf.descriptor.description, leaf.name


def test_defaults_become_parameters_and_come_back(make_node):
    node = make_node()
    parameters = Parameters(node, DetectorConfig(), NodeConfig())
    assert parameters.get(DetectorConfig) == DetectorConfig()
    assert parameters.get(NodeConfig) == NodeConfig()
    descriptor = node.describe_parameter("decode.top_k")
    assert descriptor.integer_range[0].from_value == 1
    assert "Candidates per image" in descriptor.description
    assert (
        "auto, best_effort, reliable"
        in node.describe_parameter("reliability").additional_constraints
    )


def test_values_given_at_start(make_node):
    node = make_node("decode.top_k:=7", "filters.workspace:=[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]")
    config = Parameters(node, DetectorConfig()).get(DetectorConfig)
    assert config.decode == DecodeConfig(top_k=7)
    assert config.filters == FilterConfig(workspace=(0.0, 0.0, 0.0, 1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("decode.top_k:=0", ("decode.top_k", "(0)", "from 1 to 10000")),
        ("sync_slop:=1", ("sync_slop", "'1'", "INTEGER", "double")),
        ("model:=3.5", ("model", "3.5", "string")),
    ],
)
def test_a_bad_start_value_is_an_error_until_it_is_set_right(make_node, argument, words):
    node = make_node(argument)
    parameters = Parameters(node, DetectorConfig(), NodeConfig())
    with pytest.raises(ConfigError) as caught:
        parameters.get(DetectorConfig)
    for word in words:
        assert word in str(caught.value)
    name = argument.partition(":")[0]
    good = {"decode.top_k": 5, "sync_slop": 0.5, "model": "lite"}[name]
    assert node.set_parameters([Parameter(name, value=good)])[0].successful
    assert parameters.errors == []
    parameters.get(DetectorConfig)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("decode.top_k", 0, "Min: 1, Max: 10000"),
        ("decode.weight_min", 9.0, "weight_min <= weight_max"),
        ("reliability", "sometimes", "expected one of auto, best_effort, reliable"),
        ("filters.workspace", [1.0], "has 1 numbers; expected 6"),
        ("filters.workspace", [1.0, 0.0, 0.0, 0.0, 1.0, 1.0], "not ordered"),
        ("max_age", float("nan"), "max_age"),
    ],
)
def test_bad_changes_are_refused_with_the_reason(make_node, name, value, words):
    node = make_node()
    parameters = Parameters(node, DetectorConfig(), NodeConfig())
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful
    assert words in result.reason
    assert parameters.get(DetectorConfig) == DetectorConfig()
    assert parameters.get(NodeConfig) == NodeConfig()


def test_changes_together_are_checked_together(make_node):
    node = make_node()
    parameters = Parameters(node, DetectorConfig())
    both = [Parameter("decode.weight_min", value=9.0), Parameter("decode.weight_max", value=10.0)]
    assert node.set_parameters_atomically(both).successful
    decode = parameters.get(DetectorConfig).decode
    assert decode == replace(DecodeConfig(), weight_min=9.0, weight_max=10.0)


def test_a_rule_can_forbid_changes(make_node):
    node = make_node()
    Parameters(node, NodeConfig(), may_change=lambda n: "not now" if n == "use_mask" else None)
    assert "not now" in node.set_parameters([Parameter("use_mask", value=True)])[0].reason
    assert node.set_parameters([Parameter("max_rate", value=2.0)])[0].successful


def test_the_shipped_file_holds_the_defaults():
    expected = default_yaml(DetectorConfig(), NodeConfig())
    assert SHIPPED.read_text() == expected, "run: python -m kgnpro_ros.ros.params > " + SHIPPED.name


def test_the_shipped_file_of_the_executor_holds_the_defaults():
    shipped = SHIPPED.with_name("executor.yaml")
    expected = default_yaml(ExecutorConfig(), node="grasp_executor")
    assert shipped.read_text() == expected, "run: python -m kgnpro_ros.ros.params executor"


def test_arrays_of_names_and_numbers_and_unset_ones(make_node):
    node = make_node("controllers.joints:=[a, b]", "boxes:=[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]")
    config = Parameters(node, ExecutorConfig()).get(ExecutorConfig)
    assert config.controllers.joints == ("a", "b")
    assert config.boxes == (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
    assert config.home is None
    node = make_node("boxes:=[0.0, 0.0, 1.0]")
    with pytest.raises(ConfigError, match="3 numbers; expected six per box"):
        Parameters(node, ExecutorConfig()).get(ExecutorConfig)


def test_the_simulators_parameters_have_names_of_their_own(make_node):
    node = make_node("seed:=5", "camera:=wrist", "path_tolerance:=0.2", "rate:=2.0")
    parameters = Parameters(node, SimConfig(), WorldConfig(), SimControllerConfig())
    assert parameters.get(WorldConfig) == WorldConfig(seed=5, camera="wrist")
    assert parameters.get(SimConfig) == SimConfig(rate=2.0)
    assert parameters.get(SimControllerConfig) == SimControllerConfig(path_tolerance=0.2)


def test_the_shipped_file_is_read_by_a_real_node(ros):
    node = Node(
        "params_test", cli_args=["--ros-args", "--params-file", str(SHIPPED)],
        use_global_arguments=False,
    )  # fmt: skip
    try:
        given = set(yaml.safe_load(SHIPPED.read_text())["/**"]["ros__parameters"])
        assert "decode.top_k" in given
        parameters = Parameters(node, DetectorConfig(), NodeConfig())
        assert parameters.get(DetectorConfig) == DetectorConfig()
        assert parameters.get(NodeConfig) == NodeConfig()
    finally:
        node.destroy_node()
