# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Values that travel between rooms: frozen dataclasses with shapes, units and frames.

The grasp frame, everywhere: origin at the midpoint between the fingertips, +x approach (towards
the object), +z closing (left fingertip on +z), y normal to the finger plane. Turning by 180 degrees
about x gives the same physical grasp. A 6x6 covariance is in the order x, y, z [m], rotation about
x, y, z [rad], all along the axes of the frame the poses are given in (a perturbed pose is
``t + dt, exp(omega) R``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kgnpro_ros.exceptions import FrameError, ImageError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

    from kgnpro_ros.geometry.camera import Camera

FloatArray = NDArray[np.float64]

#: How far R R^T may be from the identity before a matrix is refused as a rotation.
ROTATION_TOLERANCE = 1e-4
#: What every transform ends with, and how far it may be from that.
LAST_ROW, LAST_ROW_TOLERANCE = np.array([0.0, 0.0, 0.0, 1.0]), np.array([1e-8] * 3 + [1e-5])


def check_transform(transform: ArrayLike, name: str = "transform") -> FloatArray:
    """Return the transforms as float64 after checking that they are rigid.

    Raises:
        ShapeError: If the shape is not (..., 4, 4), an entry is not finite, the last row is not
            (0, 0, 0, 1), or the 3x3 block is no rotation (determinant +1, orthonormal).
    """
    array = np.asarray(transform, dtype=np.float64)
    if array.shape[-2:] != (4, 4):
        raise ShapeError(f"{name} has shape {array.shape}; expected (..., 4, 4)")
    if not np.isfinite(array).all():
        raise ShapeError(f"{name} holds values that are not finite")
    rotation = array[..., :3, :3]
    error = np.abs(rotation @ np.swapaxes(rotation, -1, -2) - np.eye(3)).max(initial=0.0)
    if error > ROTATION_TOLERANCE or (_triple_product(rotation) < 0).any():
        raise ShapeError(
            f"{name} is not rigid: R R^T differs from the identity by {error:.2g}; "
            f"expected at most {ROTATION_TOLERANCE:g} and determinant +1"
        )
    if (np.abs(array[..., 3, :] - LAST_ROW) > LAST_ROW_TOLERANCE).any():
        raise ShapeError(f"{name} has a last row other than (0, 0, 0, 1)")
    return array


def _triple_product(rows: FloatArray) -> FloatArray:
    """Determinants of (..., 3, 3), which numpy.linalg takes matrix by matrix."""
    (a, b, c), (d, e, f), (g, h, i) = np.moveaxis(rows, (-2, -1), (0, 1))
    product: FloatArray = a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g)
    return product


class GraspStatus(IntEnum):
    """What became of one candidate; everything but OK names the reason of its rejection."""

    OK = 0
    LOW_SCORE = 1
    ORIENTATION_MISMATCH = 2
    PNP_FAILED = 3
    BEHIND_CAMERA = 4
    HIGH_REPROJECTION_ERROR = 5
    UNCERTAIN = 6
    OUTSIDE_WORKSPACE = 7
    OUTSIDE_MASK = 8
    APPROACH_ANGLE = 9
    TOO_WIDE = 10
    EMPTY = 11
    COLLISION_CLOUD = 12
    COLLISION_TABLE = 13
    DUPLICATE = 14
    BEYOND_MAX_GRASPS = 15


@dataclass(frozen=True)
class RGBDImage:
    """One colour image with the depth registered to it.

    Attributes:
        color: RGB, uint8, shape (height, width, 3).
        depth: Distance along the optical axis (z, not ray length) [m], float32, shape
            (height, width). NaN where nothing was measured.
        camera: Intrinsics that both images share.
        mask: Where grasp centres may lie, bool, shape (height, width), or None for everywhere.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    camera: Camera
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        size = (self.camera.height, self.camera.width)
        if self.color.dtype != np.uint8 or self.color.shape != (*size, 3):
            raise ImageError(
                f"colour image is {self.color.dtype} {self.color.shape}; the camera says "
                f"uint8 {(*size, 3)} (RGB)"
            )
        if self.depth.dtype != np.float32 or self.depth.shape != size:
            raise ImageError(
                f"depth image is {self.depth.dtype} {self.depth.shape}; expected float32 metres "
                f"of the size of the colour image, {size}"
            )
        if self.mask is not None and (self.mask.dtype != np.bool_ or self.mask.shape != size):
            raise ImageError(
                f"mask is {self.mask.dtype} {self.mask.shape}; expected bool of shape {size}"
            )

    @classmethod
    def from_raw_depth(
        cls,
        color: NDArray[np.uint8],
        raw_depth: NDArray[Any],
        camera: Camera,
        depth_scale: float,
        mask: NDArray[np.bool_] | None = None,
    ) -> RGBDImage:
        """Build from stored depth, where 0, NaN, infinities and negatives mean no measurement.

        Args:
            color: RGB uint8, shape (H, W, 3).
            raw_depth: Unsigned integers or floats, shape (H, W).
            camera: Intrinsics of both images.
            depth_scale: Metres per raw unit.
            mask: See the class.

        Raises:
            ImageError: If sizes disagree, or no pixel holds a depth.
        """
        if not (np.isfinite(depth_scale) and depth_scale > 0):
            raise ImageError(f"depth_scale is {depth_scale}; expected metres per unit, e.g. 0.001")
        if raw_depth.ndim != 2:
            raise ImageError(f"depth image has shape {raw_depth.shape}; expected (height, width)")
        depth = raw_depth.astype(np.float32)
        depth *= np.float32(depth_scale)
        depth[~((depth > 0) & (depth < np.inf))] = np.nan
        if np.isnan(depth).all():
            raise ImageError("the depth image holds no measurement (all zero, NaN or infinite)")
        return cls(color, depth, camera, mask)

    def undistorted(self) -> RGBDImage:
        """The image of the ideal pinhole camera; itself when the camera has no distortion."""
        if not self.camera.is_distorted:
            return self
        map_u, map_v = self.camera.undistort_maps()
        color = cv2.remap(self.color, map_u, map_v, cv2.INTER_LINEAR)
        # Nearest: mixing depths across an edge would invent surfaces in the air.
        depth = cv2.remap(self.depth, map_u, map_v, cv2.INTER_NEAREST, borderValue=(float("nan"),))
        mask = self.mask
        if mask is not None:
            mask = cv2.remap(mask.astype(np.uint8), map_u, map_v, cv2.INTER_NEAREST) > 0
        return RGBDImage(
            color.astype(np.uint8, copy=False),
            depth.astype(np.float32, copy=False),
            self.camera.without_distortion(),
            mask,
        )


@dataclass(frozen=True)
class KeypointBatch:
    """Decoded network output for K candidates, in pixels of the original image (PyTorch).

    Attributes:
        keypoints: Predicted gripper corners (u, v) [px], shape (K, 4, 2), order left tip, right
            tip, back left, back right.
        weights: Inverse standard deviations [1/px] per keypoint and axis, shape (K, 4, 2).
        centers: Projected fingertip midpoint [px], shape (K, 2).
        center_depth: z of the grasp centre [m]: observed depth plus predicted offset, shape (K,);
            NaN where depth is missing or the network has no depth head.
        depth_weight: Inverse standard deviation of center_depth [1/m], shape (K,); 0 where
            center_depth is NaN.
        widths: Jaw opening [m], shape (K,).
        confidence: Heat-map score in (0, 1), shape (K,).
        orientation: Orientation class, int64, shape (K,).
        status: GraspStatus values, int64, shape (K,).
        distance: Predicted distance camera to grasp centre [m], shape (K,), or None.
        direct: Rotation (approach and closing axis, not normalised) and z [m] regressed without
            keypoints, shape (K, 7), or None.
    """

    keypoints: Tensor
    weights: Tensor
    centers: Tensor
    center_depth: Tensor
    depth_weight: Tensor
    widths: Tensor
    confidence: Tensor
    orientation: Tensor
    status: Tensor
    distance: Tensor | None = None
    direct: Tensor | None = None


@dataclass(frozen=True)
class PnPResult:
    """Poses that the weighted PnP solver found for B candidates (PyTorch).

    Attributes:
        rotation: Camera-from-grasp rotations, shape (B, 3, 3).
        translation: Grasp origins in the camera frame [m], shape (B, 3).
        cost: Half the sum of squared weighted residuals, robustified, shape (B,).
        reprojection_error: Root mean square over the keypoints, unweighted [px], shape (B,).
        covariance: Inverse of the Gauss-Newton Hessian, shape (B, 6, 6), order of the module.
        status: GraspStatus values (OK, PNP_FAILED, BEHIND_CAMERA), int64, shape (B,).
        other_rotation, other_translation, other_cost: The other minimum of the planar problem,
            shapes as above; equal to the first where only one exists.
    """

    rotation: Tensor
    translation: Tensor
    cost: Tensor
    reprojection_error: Tensor
    covariance: Tensor
    status: Tensor
    other_rotation: Tensor
    other_translation: Tensor
    other_cost: Tensor


@dataclass(frozen=True)
class GraspBatch:
    """N grasps in one coordinate frame.

    Attributes:
        poses: ``T_frame_grasp``, float64, shape (N, 4, 4).
        frame: Name of the frame that the poses are given in.
        widths: Jaw opening to command [m], shape (N,).
        confidence: Heat-map score of the network, in (0, 1), shape (N,).
        score: What the batch is ranked by, higher is better, shape (N,).
        reprojection_error: Root mean square over the keypoints [px], shape (N,).
        covariance: Pose covariance, shape (N, 6, 6); order and units in the module docstring.
        keypoints: Image coordinates of the predicted gripper corners [px], shape (N, 4, 2).
        status: GraspStatus values, int64, shape (N,).
        rejected: How many candidates were dropped, by reason (lower-case status name).
    """

    poses: FloatArray
    frame: str
    widths: FloatArray
    confidence: FloatArray
    score: FloatArray
    reprojection_error: FloatArray
    covariance: FloatArray
    keypoints: FloatArray
    status: NDArray[np.int64]
    rejected: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_transform(self.poses, "poses")
        n = len(self.poses)
        shapes = {
            "poses": (n, 4, 4), "widths": (n,), "confidence": (n,), "score": (n,),
            "reprojection_error": (n,), "covariance": (n, 6, 6), "keypoints": (n, 4, 2),
            "status": (n,),
        }  # fmt: skip
        for name, shape in shapes.items():
            actual = getattr(self, name).shape
            if actual != shape:
                raise ShapeError(f"{name} has shape {actual}; expected {shape}")
        if not self.frame:
            raise FrameError("a grasp batch needs the name of the frame of its poses, got ''")

    @classmethod
    def empty(cls, frame: str, rejected: dict[str, int] | None = None) -> GraspBatch:
        """A batch without grasps."""
        none = np.zeros(0)
        return cls(
            np.zeros((0, 4, 4)), frame, none, none, none, none, np.zeros((0, 6, 6)),
            np.zeros((0, 4, 2)), np.zeros(0, dtype=np.int64), dict(rejected or {}),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.poses)

    def transform(self, transform: ArrayLike, frame: str) -> GraspBatch:
        """Express the grasps in another frame.

        Args:
            transform: ``T_new_old``, shape (4, 4), from the current frame into ``frame``.
            frame: Name of the new frame.

        Returns:
            The same grasps; covariances are rotated along.
        """
        matrix = check_transform(transform, f"transform into {frame!r}")
        if matrix.shape != (4, 4):
            raise ShapeError(f"transform has shape {matrix.shape}; expected (4, 4)")
        turn = np.zeros((6, 6))
        turn[:3, :3] = turn[3:, 3:] = matrix[:3, :3]
        return replace(
            self, poses=matrix @ self.poses, frame=frame, covariance=turn @ self.covariance @ turn.T
        )

    def updated(self, **changes: Any) -> GraspBatch:
        """The same grasps with other values of the same shapes, which are not checked again."""
        other = object.__new__(GraspBatch)
        other.__dict__.update(self.__dict__)
        other.__dict__.update(changes)
        return other

    def select(self, index: ArrayLike | slice) -> GraspBatch:
        """The grasps of a boolean mask, an index array or a slice; ``rejected`` is kept."""
        chosen = index if isinstance(index, slice) else np.asarray(index)
        if not isinstance(chosen, slice):
            if chosen.ndim != 1:
                raise ShapeError(f"index has shape {chosen.shape}; expected one axis")
            if chosen.size == 0:
                chosen = chosen.astype(np.int64)
        # Some of what was checked needs no check: filters and ranking select at every frame.
        kept = ("frame", "rejected")
        return self.updated(**{k: v[chosen] for k, v in vars(self).items() if k not in kept})

    def sorted(self) -> GraspBatch:
        """The grasps with the highest score first; ties keep their order."""
        if (self.score[1:] <= self.score[:-1]).all():
            return self
        return self.select(np.argsort(-self.score, kind="stable"))

    def twins(self) -> FloatArray:
        """Poses turned by 180 degrees about the approach axis, shape (N, 4, 4)."""
        twins: FloatArray = self.poses @ np.diag([1.0, -1.0, -1.0, 1.0])
        return twins
