# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""ROS messages to arrays and back: pure functions, no node.

The only place where quaternions are x, y, z, w. Depth becomes float32 metres along the optical
axis with NaN where nothing was measured; colour becomes RGB.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from cv_bridge import CvBridge
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, Vector3
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header

from kgnpro_ros.exceptions import CameraError, ImageError
from kgnpro_ros.geometry.camera import Camera
from kgnpro_ros.geometry.se3 import make_transform
from kgnpro_ros.types import FloatArray, GraspBatch, RGBDImage

#: Bytes per value and values per pixel of the encodings that are understood.
ENCODINGS: dict[str, tuple[int, int]] = {
    "rgb8": (1, 3), "bgr8": (1, 3), "rgba8": (1, 4), "bgra8": (1, 4), "mono8": (1, 1),
    "8UC1": (1, 1), "mono16": (2, 1), "16UC1": (2, 1), "32FC1": (4, 1),
}  # fmt: skip
COLOR_ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")
DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")
MASK_ENCODINGS = ("mono8", "8UC1", "16UC1", "mono16")

#: ROS distortion models that OpenCV's coefficients describe, and how many they have.
DISTORTION_LENGTHS = {"": (0, 4, 5, 8), "plumb_bob": (0, 4, 5), "rational_polynomial": (0, 8)}

_BRIDGE = CvBridge()


@dataclass(frozen=True)
class InputOptions:
    """How the images of a camera are to be read.

    Attributes:
        depth_unit: Metres per unit of 16-bit depth.
        depth_is_registered: Accept a depth image that names another frame than the colour image.
        rectified: Intrinsics from P and no distortion, because the images are rectified.
    """

    depth_unit: float
    depth_is_registered: bool
    rectified: bool


def decode_image(message: Image, encodings: tuple[str, ...], what: str) -> NDArray[Any]:
    """The pixels of a message in its own encoding, shape (height, width) or (height, width, c).

    Args:
        message: Rows may be padded and values may be big-endian.
        encodings: What is accepted here.
        what: Name of the image in errors.

    Raises:
        ImageError: If the image is empty, has another encoding, or fewer bytes than it claims.
    """
    if message.encoding not in encodings:
        raise ImageError(
            f"{what} has encoding {message.encoding!r}; expected one of {', '.join(encodings)}"
        )
    if message.width == 0 or message.height == 0:
        raise ImageError(f"{what} is empty: {message.width}x{message.height} pixels")
    size, channels = ENCODINGS[message.encoding]
    row = message.width * size * channels
    if message.step < row:
        raise ImageError(
            f"{what} has rows of {message.step} bytes (step); {message.width} pixels of "
            f"{message.encoding} need at least {row}"
        )
    if len(message.data) < message.step * message.height:
        raise ImageError(
            f"{what} holds {len(message.data)} bytes; {message.height} rows of {message.step} "
            f"bytes need {message.step * message.height}"
        )
    array: NDArray[Any] = _BRIDGE.imgmsg_to_cv2(_compact(message, size, row), "passthrough")
    return array


def _compact(message: Image, size: int, row: int) -> Image:
    """The same image without row padding and in this machine's byte order.

    cv_bridge takes any padding for whole pixels, and its big-endian branch swaps twice.
    """
    foreign = size > 1 and bool(message.is_bigendian) == (sys.byteorder == "little")
    if message.step == row and not foreign:
        return message
    data = np.frombuffer(message.data, np.uint8, message.step * message.height)
    data = np.ascontiguousarray(data.reshape(message.height, message.step)[:, :row])
    if foreign:
        data = data.view(f"u{size}").byteswap().view(np.uint8)
    compact = Image(header=message.header, height=message.height, width=message.width)
    compact.encoding, compact.step = message.encoding, row
    compact.is_bigendian = int(sys.byteorder == "big")
    compact.data.frombytes(data.tobytes())
    return compact


def color_from_image(message: Image) -> NDArray[np.uint8]:
    """RGB, uint8, shape (height, width, 3), of any encoding of ``COLOR_ENCODINGS``."""
    pixels = decode_image(message, COLOR_ENCODINGS, "colour image")
    if message.encoding == "mono8":
        pixels = np.broadcast_to(pixels[..., None], (*pixels.shape, 3))
    elif message.encoding.startswith("bgr"):
        pixels = pixels[..., 2::-1]
    return np.ascontiguousarray(pixels[..., :3])


def mask_from_image(message: Image) -> NDArray[Any]:
    """Instance numbers of a mask message, shape (height, width); 0 is background."""
    return decode_image(message, MASK_ENCODINGS, "mask")


def camera_from_info(info: CameraInfo, width: int, height: int, rectified: bool = False) -> Camera:
    """Intrinsics of an image.

    Binning and region of interest of the message are applied as image_geometry does it.

    Args:
        info: The message.
        width: Width of the image that it belongs to [px].
        height: Its height [px].
        rectified: Take P and no distortion.

    Raises:
        CameraError: If the stream is not calibrated, the distortion model is not supported, or the
            size is not the image's.
    """
    if info.k[0] == 0.0:
        raise CameraError(
            "camera_info has fx = 0: the stream is not calibrated; expected a focal length in k[0]"
        )
    if rectified and info.p[0] == 0.0:
        raise CameraError("camera_info has P[0] = 0; rectified images need the matrix P")
    matrix = (info.p[0], info.p[5], info.p[2], info.p[6]) if rectified else (
        info.k[0], info.k[4], info.k[2], info.k[5])  # fmt: skip
    distortion = () if rectified else _distortion(info)
    bin_x, bin_y = max(1, info.binning_x), max(1, info.binning_y)
    roi = info.roi
    full = (roi.width or info.width, roi.height or info.height)
    expected = (full[0] // bin_x, full[1] // bin_y)
    if expected != (width, height):
        raise CameraError(
            f"camera_info is for {expected[0]}x{expected[1]} pixels and the image has "
            f"{width}x{height}: is it the camera_info of another stream?"
        )
    fx, fy, cx, cy = matrix
    return Camera(
        fx / bin_x, fy / bin_y, (cx - roi.x_offset) / bin_x, (cy - roi.y_offset) / bin_y,
        width, height, distortion,
    )  # fmt: skip


def _distortion(info: CameraInfo) -> tuple[float, ...]:
    """Coefficients in OpenCV's order; a model without effect is none."""
    values = tuple(float(value) for value in info.d)
    if not any(values):
        return ()
    lengths = DISTORTION_LENGTHS.get(info.distortion_model)
    if lengths is None:
        raise CameraError(
            f"distortion model {info.distortion_model!r} is not supported; expected plumb_bob or "
            "rational_polynomial, or rectified images with the parameter rectified: true"
        )
    if len(values) not in lengths:
        raise CameraError(
            f"distortion model {info.distortion_model!r} came with {len(values)} coefficients; "
            f"expected {' or '.join(map(str, lengths[1:]))}"
        )
    return values


def rgbd_from_messages(
    color: Image, depth: Image, info: CameraInfo, options: InputOptions
) -> RGBDImage:
    """A registered RGB-D image without lens distortion.

    Raises:
        ImageError: If an image cannot be read, or the two do not fit together.
        CameraError: If the intrinsics are not usable.
    """
    frame = color.header.frame_id
    if not frame:
        raise ImageError("colour image has an empty frame_id; expected its optical frame")
    if info.header.frame_id not in ("", frame):
        raise CameraError(
            f"camera_info is of frame {info.header.frame_id!r} and the colour image of {frame!r}: "
            "expected the camera_info of the colour stream"
        )
    if depth.header.frame_id != frame and not options.depth_is_registered:
        raise ImageError(
            f"depth image is in frame {depth.header.frame_id!r} and the colour image in {frame!r}: "
            "expected depth registered to colour (RealSense: align_depth.enable:=true and the "
            "topic aligned_depth_to_color/image_raw), or the parameter depth_is_registered: true"
        )
    pixels = color_from_image(color)
    raw = decode_image(depth, DEPTH_ENCODINGS, "depth image")
    if raw.shape != pixels.shape[:2]:
        raise ImageError(
            f"depth image is {depth.width}x{depth.height} and the colour image "
            f"{color.width}x{color.height}: expected depth registered to colour"
        )
    camera = camera_from_info(info, color.width, color.height, options.rectified)
    scale = 1.0 if depth.encoding == "32FC1" else options.depth_unit
    return RGBDImage.from_raw_depth(pixels, raw, camera, scale).undistorted()


def selection_mask(
    shape: tuple[int, int],
    roi: RegionOfInterest | None,
    instances: NDArray[Any] | None,
    instance_id: int = 0,
) -> NDArray[np.bool_] | None:
    """Where grasp centres may lie, or None for everywhere.

    Args:
        shape: Height and width of the image [px].
        roi: Region; width 0 and height 0 is the whole image.
        instances: Instance numbers, of that shape.
        instance_id: The only one that counts; 0 is every one but background.

    Raises:
        ImageError: If the region lies outside, the mask has another size, or nothing is left.
    """
    height, width = shape
    mask = None if roi is None or not (roi.width or roi.height) else _inside(roi, shape)
    if instances is not None:
        if instances.shape != shape:
            raise ImageError(
                f"mask is {instances.shape[1]}x{instances.shape[0]} pixels; expected the size of "
                f"the colour image, {width}x{height}"
            )
        chosen = instances == instance_id if instance_id else instances > 0
        mask = chosen if mask is None else mask & chosen
    if mask is not None and not mask.any():
        raise ImageError(
            "the mask selects no pixel: it is empty, or the region of interest and instance_id "
            f"{instance_id} have nothing in common with it"
        )
    return mask


def _inside(roi: RegionOfInterest, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """True in a region that lies in the image."""
    right, bottom = roi.x_offset + roi.width, roi.y_offset + roi.height
    if not (roi.width > 0 and roi.height > 0 and right <= shape[1] and bottom <= shape[0]):
        raise ImageError(
            f"region of interest {roi.width}x{roi.height} at ({roi.x_offset}, {roi.y_offset}) is "
            f"not inside the image of {shape[1]}x{shape[0]} pixels"
        )
    mask = np.zeros(shape, dtype=np.bool_)
    mask[roi.y_offset : bottom, roi.x_offset : right] = True
    return mask


def image_to_message(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """An image message of contiguous rows in this machine's byte order."""
    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1])
    message.encoding, message.is_bigendian = encoding, int(sys.byteorder == "big")
    message.step = pixels.strides[0]
    message.data.frombytes(pixels.tobytes())
    return message


def camera_to_info(camera: Camera, header: Header) -> CameraInfo:
    """The inverse of :func:`camera_from_info` for an image of full size."""
    info = CameraInfo(header=header, width=camera.width, height=camera.height)
    rational = len(camera.distortion) == 8
    info.distortion_model = "rational_polynomial" if rational else "plumb_bob"
    info.d = list(camera.distortion or (0.0,) * 5)
    info.k = camera.matrix.reshape(-1).tolist()
    info.r = np.eye(3).reshape(-1).tolist()
    info.p = np.hstack([camera.matrix, np.zeros((3, 1))]).reshape(-1).tolist()
    return info


def matrix_from_transform(transform: Transform) -> FloatArray:
    """``T_parent_child`` of a message, shape (4, 4)."""
    t, q = transform.translation, transform.rotation
    return make_transform(Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix(), (t.x, t.y, t.z))


def matrix_from_pose(pose: Pose) -> FloatArray:
    """``T_frame_grasp`` of a pose message, shape (4, 4)."""
    p, q = pose.position, pose.orientation
    return make_transform(Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix(), (p.x, p.y, p.z))


def transform_from_matrix(matrix: FloatArray) -> Transform:
    """The inverse of :func:`matrix_from_transform`."""
    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist()
    translation = Vector3(x=float(matrix[0, 3]), y=float(matrix[1, 3]), z=float(matrix[2, 3]))
    return Transform(translation=translation, rotation=Quaternion(x=x, y=y, z=z, w=w))


def poses_to_messages(poses: FloatArray) -> list[Pose]:
    """Pose messages of transforms, shape (N, 4, 4)."""
    if len(poses) == 0:
        return []
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat().tolist()
    return [
        Pose(position=Point(x=p[0], y=p[1], z=p[2]),
             orientation=Quaternion(x=q[0], y=q[1], z=q[2], w=q[3]))
        for p, q in zip(poses[:, :3, 3].tolist(), quaternions, strict=True)
    ]  # fmt: skip


def instances_at(
    grasps: GraspBatch, camera: Camera, instances: NDArray[Any] | None
) -> list[int] | None:
    """Value of the instance mask at the projected origin of each grasp of the camera frame."""
    if instances is None:
        return None
    pixels = np.nan_to_num(camera.project(grasps.poses[:, :3, 3])).round().astype(np.int64)
    columns = pixels[:, 0].clip(0, camera.width - 1)
    rows = pixels[:, 1].clip(0, camera.height - 1)
    values: list[int] = instances[rows, columns].astype(np.int64).tolist()
    return values
