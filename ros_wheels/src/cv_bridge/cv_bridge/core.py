# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The bridge itself, on NumPy and OpenCV."""

from __future__ import annotations

import re
import sys
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

_NAMED = {
    "rgb8": "8UC3",
    "bgr8": "8UC3",
    "rgba8": "8UC4",
    "bgra8": "8UC4",
    "mono8": "8UC1",
    "mono16": "16UC1",
}
_GENERIC = re.compile(r"^(8U|8S|16U|16S|32S|32F|64F)C([1-4])?$")
_DEPTHS = {
    "8U": np.uint8,
    "8S": np.int8,
    "16U": np.uint16,
    "16S": np.int16,
    "32S": np.int32,
    "32F": np.float32,
    "64F": np.float64,
}
# Colour layouts by name; OpenCV's conversion codes are put together from these.
_COLOURS = {"rgb8": "RGB", "bgr8": "BGR", "rgba8": "RGBA", "bgra8": "BGRA", "mono8": "GRAY"}


class CvBridgeError(TypeError):
    """An image cannot be converted."""


class CvBridge:
    """Converts between sensor_msgs images and arrays."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """Returns the pixels, rows contiguous, (height, width) or (height, width, channels)."""
        dtype, channels = self.encoding_to_dtype_with_channels(img_msg.encoding)
        pixels = _pixels(img_msg, np.dtype(dtype), channels)
        if desired_encoding == "passthrough":
            return pixels
        return _convert(pixels, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(
        self, cvim: np.ndarray, encoding: str = "passthrough", header: Header | None = None
    ) -> Image:
        """Returns an image message with the pixels of ``cvim``."""
        if not isinstance(cvim, np.ndarray):
            raise TypeError(f"the image is a {type(cvim).__name__}, it must be a NumPy array")
        if cvim.ndim not in (2, 3):
            raise CvBridgeError(f"the array has {cvim.ndim} dimensions, an image has 2 or 3")
        channels = 1 if cvim.ndim == 2 else cvim.shape[2]
        actual = self.dtype_with_channels_to_cvtype2(cvim.dtype, channels)
        if encoding == "passthrough":
            encoding = actual
        elif _generic(encoding) != _generic(actual):
            raise CvBridgeError(
                f"the array is {actual}, which does not fit the encoding '{encoding}'"
            )
        message = Image(height=cvim.shape[0], width=cvim.shape[1], encoding=encoding)
        if header is not None:
            message.header = header
        message.is_bigendian = int(_is_bigendian(cvim.dtype))
        message.step = cvim.shape[1] * channels * cvim.itemsize
        message.data.frombytes(np.ascontiguousarray(cvim).tobytes())
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> np.ndarray:
        """Returns the pixels of a JPEG or PNG message; bgr8 unless told."""
        buffer = np.frombuffer(cmprs_img_msg.data, dtype=np.uint8)
        pixels = cv2.imdecode(buffer, cv2.IMREAD_ANYCOLOR) if buffer.size else None
        if pixels is None:
            raise CvBridgeError(
                f"{buffer.size} bytes of format '{cmprs_img_msg.format}' are no image that "
                "OpenCV can decode"
            )
        if desired_encoding == "passthrough":
            return pixels
        return _convert(pixels, "mono8" if pixels.ndim == 2 else "bgr8", desired_encoding)

    def cv2_to_compressed_imgmsg(
        self, cvim: np.ndarray, dst_format: str = "jpg"
    ) -> CompressedImage:
        """Returns a compressed image message; colour arrays are taken as bgr8."""
        try:
            _, buffer = cv2.imencode(f".{dst_format}", cvim)
        except cv2.error as error:
            raise CvBridgeError(f"OpenCV cannot write the format '{dst_format}'") from error
        return CompressedImage(format=dst_format, data=buffer.tobytes())

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Returns the NumPy type name and the number of channels of an encoding."""
        match = _GENERIC.match(_NAMED.get(encoding, encoding))
        if match is None:
            known = ", ".join(_NAMED)
            raise CvBridgeError(
                f"encoding '{encoding}' is not supported; known are {known} and OpenCV's names "
                "such as 16UC1 and 32FC1"
            )
        return np.dtype(_DEPTHS[match[1]]).name, int(match[2] or 1)

    def dtype_with_channels_to_cvtype2(self, dtype: Any, n_channels: int) -> str:
        """Returns OpenCV's name of a NumPy type with channels, for example 8UC3."""
        for name, depth in _DEPTHS.items():
            if np.dtype(dtype).newbyteorder("=") == depth:
                return f"{name}C{n_channels}"
        raise CvBridgeError(f"an image cannot have the type {np.dtype(dtype).name}")


def _pixels(message: Image, dtype: np.dtype, channels: int) -> np.ndarray:
    row_bytes = message.width * channels * dtype.itemsize
    if message.step < row_bytes:
        raise CvBridgeError(
            f"step is {message.step} bytes, but a row of {message.width} pixels of "
            f"'{message.encoding}' takes {row_bytes}"
        )
    expected = message.height * message.step
    if len(message.data) < expected:
        raise CvBridgeError(
            f"data holds {len(message.data)} bytes, but {message.height} rows of {message.step} "
            f"bytes take {expected}"
        )
    rows = np.frombuffer(message.data, dtype=np.uint8, count=expected)
    packed = rows.reshape(message.height, message.step)[:, :row_bytes]
    stored = dtype.newbyteorder(">" if message.is_bigendian else "<")
    pixels = np.ascontiguousarray(packed).view(stored).astype(dtype)  # a writable copy
    shape = (message.height, message.width)
    return pixels.reshape(shape if channels == 1 else (*shape, channels))


def _convert(pixels: np.ndarray, encoding: str, desired: str) -> np.ndarray:
    if encoding == desired:
        return pixels
    if encoding in _COLOURS and desired in _COLOURS:
        code = getattr(cv2, f"COLOR_{_COLOURS[encoding]}2{_COLOURS[desired]}")
        return cv2.cvtColor(pixels, code)
    source, target = _GENERIC.match(_generic(encoding)), _GENERIC.match(_generic(desired))
    if target is None:
        raise CvBridgeError(f"the desired encoding '{desired}' is not supported")
    if (source[2] or "1") != (target[2] or "1"):
        raise CvBridgeError(f"cannot convert '{encoding}' to '{desired}': other channels")
    # As upstream: another number type, the values stay (16UC1 in mm stays in mm).
    return pixels.astype(_DEPTHS[target[1]], copy=False)


def _generic(encoding: str) -> str:
    name = _NAMED.get(encoding, encoding)
    return name if name[-1:].isdigit() else f"{name}1"


def _is_bigendian(dtype: np.dtype) -> bool:
    order = dtype.byteorder
    return order == ">" or (order == "=" and sys.byteorder == "big")
