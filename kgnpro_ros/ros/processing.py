# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""One frame of messages to grasps in the target frame: arrays in, one core call, arrays out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from numpy.typing import NDArray
from rclpy.clock import Clock
from rclpy.time import Time
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from kgnpro_ros.config import DetectorConfig, NodeConfig
from kgnpro_ros.exceptions import ImageError
from kgnpro_ros.geometry.gripper import Gripper
from kgnpro_ros.ros import conversions
from kgnpro_ros.ros.frame_source import Frame
from kgnpro_ros.ros.transforms import TransformSource
from kgnpro_ros.types import FloatArray, GraspBatch, GraspStatus, RGBDImage


class Detector(Protocol):
    """What the node needs of :class:`kgnpro_ros.pipeline.GraspDetector`."""

    gripper: Gripper
    model_sha256: str
    device: object
    last_timings: dict[str, float]

    def detect(
        self,
        image: RGBDImage,
        *,
        max_grasps: int | None = None,
        min_score: float | None = None,
        T_workspace_camera: FloatArray | None = None,
    ) -> GraspBatch:
        """Ranked grasps in the camera frame."""
        ...


DetectorFactory = Callable[[DetectorConfig], Detector]


def pipeline_detector(config: DetectorConfig) -> Detector:
    """The real detector; imported late because it loads PyTorch."""
    from kgnpro_ros.pipeline import GraspDetector

    return GraspDetector(config)


@dataclass(frozen=True)
class Query:
    """What a caller wants of one frame; the defaults are the node's own.

    Attributes:
        max_grasps, min_score: None takes the detector's.
        roi: Part of the image [px]; None or size zero is all of it.
        mask: Mask message; None takes the frame's own, if it has one.
        instance_id: Value of the mask that counts; 0 is every value but 0.
        target_frame: None takes the node's.
        tf_timeout: Longest wait for a transform [s]; None takes the node's.
    """

    max_grasps: int | None = None
    min_score: float | None = None
    roi: RegionOfInterest | None = None
    mask: Image | None = None
    instance_id: int = 0
    target_frame: str | None = None
    tf_timeout: float | None = None


@dataclass(frozen=True)
class Detection:
    """Grasps of one frame.

    Attributes:
        image: What they were found in, without distortion.
        header: Of the colour image.
        camera_grasps: In the colour optical frame, best first.
        grasps: The same in the target frame.
        gripper: What they are for.
        instances: Value of the mask at each grasp; None without a mask.
        milliseconds: From the image arrays to the ranked grasps.
    """

    image: RGBDImage
    header: Header
    camera_grasps: GraspBatch
    grasps: GraspBatch
    gripper: Gripper
    instances: list[int] | None
    milliseconds: float


@dataclass(frozen=True)
class Prepared:
    """All that a detection needs besides the network.

    Attributes:
        image: Without distortion, with the pixels that the query selects.
        instances: The instance mask, shape (height, width); None without one.
        target: Frame that the grasps are wanted in; empty is the camera's.
        T_target_camera: Transform into it; None for the camera's own.
    """

    image: RGBDImage
    instances: NDArray[Any] | None
    target: str
    T_target_camera: FloatArray | None


def prepare(
    frame: Frame, query: Query, config: NodeConfig, transforms: TransformSource
) -> Prepared:
    """Read the messages of a frame and look up its transform.

    Raises:
        KGNProError: If the frame, the query, or the transform is not usable; says why.
    """
    header = frame.color.header
    options = conversions.InputOptions(
        config.depth_unit, config.depth_is_registered, config.rectified
    )
    image = conversions.rgbd_from_messages(frame.color, frame.depth, frame.info, options)
    message = query.mask or frame.mask
    instances = None if message is None else conversions.mask_from_image(message)
    size = (image.camera.height, image.camera.width)
    mask = conversions.selection_mask(size, query.roi, instances, query.instance_id)
    target = config.target_frame if query.target_frame is None else query.target_frame
    T_target_camera = None
    if target not in ("", header.frame_id):
        timeout = config.tf_timeout if query.tf_timeout is None else query.tf_timeout
        T_target_camera = transforms.lookup(
            target, header.frame_id, header.stamp, timeout, config.tf_latest
        )
    return Prepared(replace(image, mask=mask), instances, target, T_target_camera)


def process(
    frame: Frame,
    query: Query,
    detector: Detector,
    config: NodeConfig,
    transforms: TransformSource,
) -> Detection:
    """Detect grasps in one frame.

    Raises:
        KGNProError: If the frame, the query, or the transform is not usable; says why.
    """
    header, ready = frame.color.header, prepare(frame, query, config, transforms)
    start = time.perf_counter()
    grasps = detector.detect(
        ready.image,
        max_grasps=query.max_grasps,
        min_score=query.min_score,
        T_workspace_camera=ready.T_target_camera,
    )
    milliseconds = (time.perf_counter() - start) * 1e3
    grasps = _at_least(replace(grasps, frame=header.frame_id), query.min_score)
    at_mask = conversions.instances_at(grasps, ready.image.camera, ready.instances)
    T_target_camera = ready.T_target_camera
    moved = grasps if T_target_camera is None else grasps.transform(T_target_camera, ready.target)
    return Detection(ready.image, header, grasps, moved, detector.gripper, at_mask, milliseconds)


def _at_least(grasps: GraspBatch, min_score: float | None) -> GraspBatch:
    """The grasps that reach a ranking score; the detector's own limit is on its heat map."""
    if min_score is None or (grasps.score >= min_score).all():
        return grasps
    keep = grasps.score >= min_score
    reason = GraspStatus.LOW_SCORE.name.lower()
    count = grasps.rejected.get(reason, 0) + int((~keep).sum())
    return replace(grasps.select(keep), rejected={**grasps.rejected, reason: count})


def check_age(frame: Frame, clock: Clock, max_age: float) -> None:
    """Refuse frames that are not from now.

    Args:
        frame: To be used now.
        clock: The node's.
        max_age: Largest difference between stamp and clock [s]; 0 allows any.

    Raises:
        ImageError: If the stamp is too old or in the future; says which clock is probably wrong.
    """
    if max_age == 0.0:
        return
    stamp = Time.from_msg(frame.color.header.stamp, clock_type=clock.clock_type)
    age = (clock.now() - stamp).nanoseconds * 1e-9
    if abs(age) <= max_age:
        return
    silence = time.monotonic() - frame.received
    if silence > max_age:
        raise ImageError(
            f"the newest frame came {silence:.1f} s ago; expected at most max_age, {max_age} s: "
            "the camera has stopped"
        )
    relation = "older than" if age > 0 else "ahead of"
    raise ImageError(
        f"the colour image is stamped {abs(age):.1f} s {relation} this node's clock; expected at "
        f"most max_age, {max_age} s: for recordings play with --clock and set use_sim_time, "
        "otherwise synchronise the clocks; max_age: 0.0 takes any stamp"
    )
