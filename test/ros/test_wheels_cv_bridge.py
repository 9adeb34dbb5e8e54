# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Images to arrays and back: upstream's cv_bridge or that of ros_wheels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import Image
from std_msgs.msg import Header

CASES = [
    ("rgb8", np.uint8, 3),
    ("bgr8", np.uint8, 3),
    ("rgba8", np.uint8, 4),
    ("bgra8", np.uint8, 4),
    ("mono8", np.uint8, 1),
    ("mono16", np.uint16, 1),
    ("16UC1", np.uint16, 1),
    ("32FC1", np.float32, 1),
]


def random_pixels(dtype, channels, seed=0):
    shape = (6, 5) if channels == 1 else (6, 5, channels)
    values = np.random.default_rng(seed).uniform(0, 250, shape)
    return values.astype(dtype)


def image(pixels, encoding, padding=0, bigendian=False):
    height, width = pixels.shape[:2]
    stored = pixels.astype(pixels.dtype.newbyteorder(">" if bigendian else "<"))
    rows = np.frombuffer(stored.tobytes(), np.uint8).reshape(height, -1)
    rows = np.hstack([rows, np.full((height, padding), 0xAB, np.uint8)])
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1])
    message.is_bigendian = int(bigendian)
    message.data = rows.tobytes()
    return message


@pytest.fixture
def bridge():
    return CvBridge()


@pytest.mark.parametrize(("encoding", "dtype", "channels"), CASES)
def test_there_and_back(bridge, encoding, dtype, channels):
    pixels = random_pixels(dtype, channels)
    header = Header(frame_id="camera")
    message = bridge.cv2_to_imgmsg(pixels, encoding, header=header)
    assert (message.encoding, message.header.frame_id) == (encoding, "camera")
    assert (message.height, message.width) == (6, 5)
    assert message.step == 5 * channels * pixels.itemsize
    result = bridge.imgmsg_to_cv2(message)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, pixels)


@pytest.mark.parametrize(("encoding", "dtype", "channels"), CASES)
def test_padded_rows(bridge, encoding, dtype, channels):
    pixels = random_pixels(dtype, channels)
    result = bridge.imgmsg_to_cv2(image(pixels, encoding, padding=8))
    np.testing.assert_array_equal(result, pixels)


@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1"])
def test_big_endian(bridge, encoding):
    pixels = random_pixels({c[0]: c[1] for c in CASES}[encoding], 1)
    result = bridge.imgmsg_to_cv2(image(pixels, encoding, bigendian=True))
    np.testing.assert_array_equal(result, pixels)


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        ("rgb8", "bgr8", cv2.COLOR_RGB2BGR),
        ("bgr8", "rgb8", cv2.COLOR_BGR2RGB),
        ("rgba8", "rgb8", cv2.COLOR_RGBA2RGB),
        ("bgra8", "rgb8", cv2.COLOR_BGRA2RGB),
        ("bgra8", "bgr8", cv2.COLOR_BGRA2BGR),
        ("mono8", "rgb8", cv2.COLOR_GRAY2RGB),
        ("rgb8", "mono8", cv2.COLOR_RGB2GRAY),
    ],
)
def test_colours_are_converted(bridge, source, target, code):
    channels = {c[0]: c[2] for c in CASES}[source]
    pixels = random_pixels(np.uint8, channels)
    result = bridge.imgmsg_to_cv2(image(pixels, source), target)
    np.testing.assert_array_equal(result, cv2.cvtColor(pixels, code))


def test_depth_changes_type_but_not_unit(bridge):
    result = bridge.imgmsg_to_cv2(image(np.full((2, 2), 1500, np.uint16), "16UC1"), "32FC1")
    assert result.dtype == np.float32
    assert (result == 1500.0).all()


def test_result_can_be_written_to(bridge):
    message = image(random_pixels(np.uint16, 1), "16UC1")
    result = bridge.imgmsg_to_cv2(message).copy()
    result[:] = 0
    assert bridge.imgmsg_to_cv2(message).any()


def test_nan_and_infinity_survive(bridge):
    pixels = np.array([[np.nan, np.inf, 1.0]], np.float32)
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(image(pixels, "32FC1")), pixels)


def test_compressed_png_is_lossless(bridge):
    pixels = random_pixels(np.uint8, 3)
    message = bridge.cv2_to_compressed_imgmsg(pixels, "png")
    np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message, "bgr8"), pixels)


def test_error_is_a_type_error():
    assert issubclass(CvBridgeError, TypeError)


def test_truncated_data_is_refused(bridge):
    message = image(random_pixels(np.uint16, 1), "16UC1")
    message.data = message.data[:-2]
    with pytest.raises((TypeError, ValueError)):
        bridge.imgmsg_to_cv2(message)


def test_array_that_does_not_fit_the_encoding_is_refused(bridge):
    with pytest.raises(CvBridgeError):
        bridge.cv2_to_imgmsg(random_pixels(np.uint8, 3), "mono8")


def test_unknown_encoding_is_refused(bridge):
    message = image(random_pixels(np.uint8, 1), "mono8")
    message.encoding = "no_such_encoding"
    with pytest.raises(CvBridgeError):
        bridge.imgmsg_to_cv2(message, "bgr8")
