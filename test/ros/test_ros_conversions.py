# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
import sys

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header

from kgnpro_ros.exceptions import CameraError, ImageError
from kgnpro_ros.geometry import Camera, load_gripper
from kgnpro_ros.ros import conversions as c
from kgnpro_ros.ros.grasp_messages import GraspMessages
from kgnpro_ros.types import GraspBatch

HEADER = Header(stamp=Time(sec=5, nanosec=7), frame_id="optical")
OPTIONS = c.InputOptions(depth_unit=0.001, depth_is_registered=False, rectified=False)
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 7, 3), dtype=np.uint8)


def message(array: np.ndarray, encoding: str, pad: int = 0, big: bool = False) -> Image:
    """Built byte by byte, independent of the code under test."""
    height, width = array.shape[:2]
    array = array.astype(array.dtype.newbyteorder(">" if big else "<"))
    rows = [array[row].tobytes() + b"\xaa" * pad for row in range(height)]
    result = Image(header=HEADER, height=height, width=width, encoding=encoding)
    result.step, result.is_bigendian = len(rows[0]), int(big)
    result.data = b"".join(rows)
    return result


@pytest.mark.parametrize("pad", [0, 1, 4])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.dstack([RGB, RGB[..., 0]])),
        ("bgra8", np.dstack([RGB[..., ::-1], RGB[..., 0]])),
    ],
)
def test_color_encodings(encoding, pixels, pad):
    decoded = c.color_from_image(message(pixels, encoding, pad))
    np.testing.assert_array_equal(decoded, RGB)
    assert decoded.flags.c_contiguous
    assert decoded.dtype == np.uint8


def test_mono_color_repeats_the_channel():
    decoded = c.color_from_image(message(RGB[..., 0], "mono8", pad=3))
    np.testing.assert_array_equal(decoded, np.repeat(RGB[..., :1], 3, axis=2))


@pytest.mark.parametrize("pad", [0, 1, 6])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("encoding", "dtype"), [("16UC1", np.uint16), ("mono16", np.uint16), ("32FC1", np.float32)]
)
def test_depth_encodings_padding_and_byte_order(encoding, dtype, big, pad):
    depth = RNG.uniform(1, 3000, (5, 4)).astype(dtype)
    decoded = c.decode_image(message(depth, encoding, pad, big), c.DEPTH_ENCODINGS, "depth")
    np.testing.assert_array_equal(decoded, depth)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "yuv422"}, ("yuv422", "rgb8")),
        ({"width": 0}, ("empty", "0x6")),
        ({"height": 0}, ("empty", "7x0")),
        ({"step": 20}, ("20 bytes", "21")),
        ({"data": b"\x00" * 30}, ("30 bytes", "126")),
    ],
)
def test_unusable_images_say_what_came_and_what_would_be_right(change, words):
    image = message(RGB, "rgb8")
    for name, value in change.items():
        setattr(image, name, value)
    with pytest.raises(ImageError) as caught:
        c.color_from_image(image)
    for word in words:
        assert word in str(caught.value)


def rgbd_messages(raw, encoding):
    camera = Camera(500.0, 510.0, 3.2, 2.9, 7, 6)
    return message(RGB, "rgb8"), message(raw, encoding), c.camera_to_info(camera, HEADER), camera


def test_integer_depth_is_in_millimetres_and_zero_is_missing():
    raw = np.full((6, 7), 1234, np.uint16)
    raw[2, 3] = 0
    *messages, camera = rgbd_messages(raw, "16UC1")
    image = c.rgbd_from_messages(*messages, OPTIONS)
    assert image.depth[0, 0] == pytest.approx(1.234)
    assert np.isnan(image.depth[2, 3])
    assert np.isnan(image.depth).sum() == 1
    assert image.camera == camera.without_distortion()


def test_float_depth_is_in_metres_and_nan_and_infinity_are_missing():
    raw = np.full((6, 7), 0.75, np.float32)
    raw[0, :3] = np.nan, np.inf, -np.inf
    image = c.rgbd_from_messages(*rgbd_messages(raw, "32FC1")[:3], OPTIONS)
    assert image.depth[1, 1] == np.float32(0.75)
    assert np.isnan(image.depth[0, :3]).all()


def test_registered_depth_may_name_another_frame_only_when_declared():
    color, depth, info, _ = rgbd_messages(np.ones((6, 7), np.float32), "32FC1")
    depth.header = Header(frame_id="depth_optical")
    with pytest.raises(ImageError, match=r"depth_optical.*align_depth"):
        c.rgbd_from_messages(color, depth, info, OPTIONS)
    declared = c.InputOptions(0.001, depth_is_registered=True, rectified=False)
    assert c.rgbd_from_messages(color, depth, info, declared).depth[0, 0] == 1.0


def info_message(**fields) -> CameraInfo:
    info = CameraInfo(width=640, height=480, distortion_model="plumb_bob")
    info.k = [600.0, 0.0, 320.5, 0.0, 610.0, 240.5, 0.0, 0.0, 1.0]
    info.p = [590.0, 0.0, 318.0, 0.0, 0.0, 591.0, 239.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    for name, value in fields.items():
        setattr(info, name, value)
    return info


def test_camera_info_to_camera():
    camera = c.camera_from_info(info_message(d=[0.0] * 5), 640, 480)
    assert camera == Camera(600.0, 610.0, 320.5, 240.5, 640, 480)
    rectified = c.camera_from_info(info_message(d=[0.1] * 5), 640, 480, rectified=True)
    assert rectified == Camera(590.0, 591.0, 318.0, 239.0, 640, 480)


def test_distortion_models():
    d = [0.1, -0.2, 0.001, 0.002, 0.03, 0.0, 0.0, 0.01]
    assert c.camera_from_info(info_message(d=d[:5]), 640, 480).distortion == tuple(d[:5])
    rational = info_message(d=d, distortion_model="rational_polynomial")
    assert c.camera_from_info(rational, 640, 480).distortion == tuple(d)
    fisheye = info_message(d=d[:4], distortion_model="equidistant")
    with pytest.raises(CameraError, match=r"equidistant.*plumb_bob"):
        c.camera_from_info(fisheye, 640, 480)
    harmless = info_message(d=[0.0] * 4, distortion_model="equidistant")
    assert not c.camera_from_info(harmless, 640, 480).is_distorted
    with pytest.raises(CameraError, match="8 coefficients; expected 4 or 5"):
        c.camera_from_info(info_message(d=d), 640, 480)


def test_binning_and_region_of_interest_follow_image_geometry():
    info = info_message(binning_x=2, binning_y=2)
    info.roi = RegionOfInterest(x_offset=40, y_offset=20, width=320, height=240)
    camera = c.camera_from_info(info, 160, 120)
    assert (camera.fx, camera.fy) == (300.0, 305.0)
    assert (camera.cx, camera.cy) == ((320.5 - 40) / 2, (240.5 - 20) / 2)


@pytest.mark.parametrize(
    ("fields", "size", "words"),
    [
        ({"k": [0.0] * 9}, (640, 480), "fx = 0"),
        ({"width": 0, "height": 0}, (640, 480), "0x0"),
        ({}, (320, 240), "640x480 pixels and the image has 320x240"),
    ],
)
def test_unusable_camera_info(fields, size, words):
    with pytest.raises(CameraError, match=words):
        c.camera_from_info(info_message(**fields), *size)


def test_undistortion_is_applied():
    camera = Camera(300.0, 300.0, 80.0, 60.0, 160, 120, (0.3, 0.0, 0.0, 0.0, 0.0))
    color = message(RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8), "rgb8")
    depth = message(np.full((120, 160), 900, np.uint16), "16UC1")
    image = c.rgbd_from_messages(color, depth, c.camera_to_info(camera, HEADER), OPTIONS)
    assert not image.camera.is_distorted
    assert not np.array_equal(image.color, c.color_from_image(color))


def test_selection_mask():
    shape = (4, 6)
    assert c.selection_mask(shape, RegionOfInterest(), None) is None
    roi = RegionOfInterest(x_offset=1, y_offset=2, width=3, height=2)
    mask = c.selection_mask(shape, roi, None)
    expected = np.zeros(shape, bool)
    expected[2:4, 1:4] = True
    np.testing.assert_array_equal(mask, expected)
    instances = np.zeros(shape, np.uint8)
    instances[3], instances[2, 1] = 7, 9
    np.testing.assert_array_equal(
        c.selection_mask(shape, roi, instances, 7), expected & (instances == 7)
    )
    np.testing.assert_array_equal(c.selection_mask(shape, None, instances), instances > 0)
    for bad in (RegionOfInterest(x_offset=4, width=3, height=1), RegionOfInterest(width=2)):
        with pytest.raises(ImageError, match="not inside the image of 6x4"):
            c.selection_mask(shape, bad, None)
    with pytest.raises(ImageError, match="6x4"):
        c.selection_mask(shape, None, instances[:2])
    with pytest.raises(ImageError, match="no pixel"):
        c.selection_mask(shape, None, instances, 3)


def two_grasps() -> GraspBatch:
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[0, :3, :3] = [[0, 0, 1], [0, -1, 0], [1, 0, 0]]  # approach along z of the frame
    poses[:, :3, 3] = [[0.1, 0.2, 0.6], [-0.1, 0.0, 0.5]]
    covariance = np.arange(72.0).reshape(2, 6, 6)
    return GraspBatch(
        poses, "optical", np.array([0.04, 0.06]), np.array([0.9, 0.8]), np.array([0.7, 0.6]),
        np.array([0.5, 1.5]), covariance, np.arange(16.0).reshape(2, 4, 2),
        np.zeros(2, np.int64), {"too_wide": 2, "empty": 0, "collision_cloud": 5},
    )  # fmt: skip


def test_pose_array_uses_xyzw_and_plus_x_is_the_approach():
    array = GraspMessages().pose_array(two_grasps(), HEADER.stamp)
    assert array.header == HEADER
    q = array.poses[0].orientation
    # 90 degrees about y composed with a half turn: the matrix above, worked out by hand.
    np.testing.assert_allclose(np.abs([q.x, q.y, q.z, q.w]), [0.5**0.5, 0, 0.5**0.5, 0], atol=1e-12)
    assert q.x * q.z > 0
    identity = array.poses[1].orientation
    assert (identity.x, identity.y, identity.z, identity.w) == (0.0, 0.0, 0.0, 1.0)
    np.testing.assert_allclose(c.matrix_from_pose(array.poses[0]), two_grasps().poses[0], atol=1e-9)


def test_candidates():
    gripper, grasps = load_gripper("franka_hand"), two_grasps()
    array = GraspMessages().candidates(grasps, gripper, HEADER.stamp, [4, 0])
    first = array.candidates[0]
    assert array.header == HEADER
    assert [item.id for item in array.candidates] == ["grasp_0", "grasp_1"]
    assert (first.tool_link, first.instance_id, first.status) == ("panda_hand", 4, "ok")
    assert first.width == pytest.approx(0.04)
    assert first.max_width == pytest.approx(0.08)
    assert (first.score, first.confidence) == pytest.approx((0.7, 0.9))
    np.testing.assert_array_equal(first.covariance, np.arange(36.0))
    np.testing.assert_array_equal(first.keypoints, np.arange(8.0))
    # The hand is 0.1034 m behind the fingertips, against the approach (z of the frame).
    position = first.tool_pose.position
    np.testing.assert_allclose(
        [position.x, position.y, position.z], [0.1, 0.2, 0.6 - 0.1034], atol=1e-6
    )
    tool = c.matrix_from_pose(first.tool_pose)
    np.testing.assert_allclose(tool[:3, 2], grasps.poses[0, :3, 0], atol=1e-9)
    assert [(item.reason, item.count) for item in array.rejected] == [
        ("collision_cloud", 5), ("too_wide", 2),
    ]  # fmt: skip


def test_nothing_found_gives_empty_arrays():
    none = GraspBatch.empty("optical", {"empty": 3})
    assert GraspMessages().pose_array(none, HEADER.stamp).poses == []
    array = GraspMessages().candidates(none, load_gripper("robotiq_2f85"), HEADER.stamp)
    assert array.candidates == []
    assert array.rejected[0].count == 3


def test_the_parts_of_messages_are_used_again_and_nothing_of_the_last_ones_stays():
    messages, gripper = GraspMessages(), load_gripper("franka_hand")
    both = two_grasps()
    messages.candidates(both, gripper, HEADER.stamp, [4, 9])
    messages.pose_array(both, HEADER.stamp)
    second = both.select(np.array([1]))
    other = load_gripper("robotiq_2f85")
    assert messages.pose_array(second, HEADER.stamp) == (
        GraspMessages().pose_array(second, HEADER.stamp)
    )
    again = messages.candidates(second, other, Time(sec=6))
    assert again == GraspMessages().candidates(second, other, Time(sec=6))
    assert (again.candidates[0].id, again.candidates[0].instance_id) == ("grasp_0", 0)
    larger = messages.candidates(both, gripper, HEADER.stamp)
    assert larger == GraspMessages().candidates(both, gripper, HEADER.stamp)
    assert larger.candidates[0] is again.candidates[0]


def test_messages_own_their_arrays():
    grasps = two_grasps()
    array = GraspMessages().candidates(grasps, load_gripper("franka_hand"), HEADER.stamp)
    grasps.covariance[:] = np.nan
    np.testing.assert_array_equal(array.candidates[1].covariance, np.arange(36.0, 72.0))


def test_instances_at_the_projected_grasp():
    camera = Camera(100.0, 100.0, 50.0, 40.0, 100, 80)
    instances = np.zeros((80, 100), np.uint16)
    instances[round(40 + 100 * 0.2 / 0.6), round(50 + 100 * 0.1 / 0.6)] = 513
    assert c.instances_at(two_grasps(), camera, instances) == [513, 0]
    assert c.instances_at(two_grasps(), camera, None) is None


def test_camera_info_round_trip():
    for distortion in ((), (0.1, 0.2, 0.0, 0.0, 0.01), tuple(np.linspace(0.1, 0.8, 8))):
        camera = Camera(600.0, 610.0, 320.0, 240.0, 640, 480, distortion)
        assert c.camera_from_info(c.camera_to_info(camera, HEADER), 640, 480) == camera


def test_image_message_round_trip():
    depth = RNG.uniform(0.2, 2.0, (4, 5)).astype(np.float32)
    sent = c.image_to_message(depth[::-1], "32FC1", HEADER)
    assert sent.is_bigendian == (sys.byteorder == "big")
    np.testing.assert_array_equal(c.decode_image(sent, ("32FC1",), "depth"), depth[::-1])
