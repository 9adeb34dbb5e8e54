# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Keypoint order and axes of the grasp frame by value; gripper files."""

from importlib import resources

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from kgnpro_ros.exceptions import ConfigError, KGNProError
from kgnpro_ros.geometry import canonical_keypoints, load_gripper
from kgnpro_ros.geometry.gripper import PRESETS, gripper_from_dict
from kgnpro_ros.geometry.se3 import make_transform, transform_points


def preset_data(name="franka_hand"):
    folder = resources.files("kgnpro_ros.geometry.grippers")
    return yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text())


def test_keypoint_order_is_the_papers():
    expected = [[0, 0, 0.05], [0, 0, -0.05], [-0.1, 0, 0.05], [-0.1, 0, -0.05]]
    np.testing.assert_allclose(canonical_keypoints(), expected)
    np.testing.assert_allclose(canonical_keypoints(0.06)[3], (-0.06, 0, -0.03))


def test_half_a_turn_about_the_approach_swaps_left_and_right():
    half_turn = make_transform(Rotation.from_rotvec([np.pi, 0, 0]).as_matrix(), np.zeros(3))
    turned = transform_points(half_turn, canonical_keypoints())
    np.testing.assert_allclose(turned, canonical_keypoints()[[1, 0, 3, 2]], atol=1e-15)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_symmetric_and_face_forward(name):
    gripper = load_gripper(name)
    lower, upper = gripper.finger_boxes(np.array([0.0, 0.05, gripper.max_width]))
    # Left finger (index 0) mirrored at z = 0 is the right one.
    np.testing.assert_allclose(lower[:, 0, 2], -upper[:, 1, 2])
    np.testing.assert_allclose(upper[:, 0, 2], -lower[:, 1, 2])
    assert (lower[:, 0, 2] >= 0).all()
    # Fingers end at the grasp origin (+x is the approach); the palm is behind them.
    assert (upper[..., 0] == 0).all()
    assert gripper.palm.upper[0] <= -gripper.finger_length + 1e-9
    assert (lower < upper).all()


@pytest.mark.parametrize("name", PRESETS)
def test_opening_is_the_clear_distance_between_the_fingers(name):
    gripper = load_gripper(name)
    widths = np.array([0.01, 0.04])
    lower, upper = gripper.finger_boxes(widths)
    np.testing.assert_allclose(lower[:, 0, 2] - upper[:, 1, 2], widths)
    np.testing.assert_allclose(upper[:, 0, 2] - lower[:, 0, 2], gripper.finger_thickness)


@pytest.mark.parametrize("name", PRESETS)
def test_tool_pose_puts_the_grasp_frame_where_it_was_asked(name):
    gripper = load_gripper(name)
    poses = make_transform(Rotation.random(4, random_state=0).as_matrix(), np.ones((4, 3)))
    np.testing.assert_allclose(gripper.tool_poses(poses) @ gripper.T_tool_grasp, poses, atol=1e-12)


def test_franka_hand_by_value():
    """panda_hand: z towards the fingertips (0.1034 m away), fingers move along y."""
    gripper = load_gripper("franka_hand")
    assert gripper.tool_link == "panda_hand"
    assert gripper.max_width == pytest.approx(0.08)
    T_tool_grasp = gripper.T_tool_grasp
    np.testing.assert_allclose(T_tool_grasp[:3, 0], (0, 0, 1), atol=1e-9)
    np.testing.assert_allclose(np.abs(T_tool_grasp[:3, 2]), (0, 1, 0), atol=1e-9)
    np.testing.assert_allclose(T_tool_grasp[:3, 3], (0, 0, 0.1034), atol=2e-3)


def test_a_file_is_read_like_a_preset(tmp_path):
    data = {**preset_data(), "name": "mine", "max_width": 0.1}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    gripper = load_gripper(path)
    assert (gripper.name, gripper.max_width) == ("mine", 0.1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"max_width": -1.0}, "min_width < max_width"),
        ({"finger_length": 0.0}, "finger_length must be positive"),
        ({"finger_length": "long"}, "finger_length|float"),
        ({"palm": {"lower": [0, 0, 0], "upper": [-1, 1, 1]}}, "not ordered"),
        ({"palm": {"lower": [0, 0]}}, "ValueError|KeyError|values to unpack"),
        ({"T_tool_grasp": np.diag([1.0, 1.0, -1.0, 1.0]).tolist()}, "not rigid"),
        ({"T_tool_grasp": [[1, 0], [0, 1]]}, r"\(2, 2\)"),
        ({"wings": 2}, "exactly the keys"),
    ],
)
def test_wrong_gripper_files_are_refused(change, says):
    with pytest.raises(KGNProError, match=says):
        gripper_from_dict({**preset_data(), **change}, "test.yaml")


def test_missing_grippers_are_named(tmp_path):
    with pytest.raises(ConfigError, match="franka_hand"):
        load_gripper("suction_cup")
    with pytest.raises(ConfigError, match="exactly the keys"):
        gripper_from_dict([1, 2], "test.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1,")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_gripper(path)
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="cannot read"):
        load_gripper(path)
