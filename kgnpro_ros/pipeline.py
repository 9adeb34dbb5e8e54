# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""From an RGB-D image to ranked grasps: network, decoding, PnP, filters, ranking."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from kgnpro_ros.config import DetectorConfig
from kgnpro_ros.exceptions import CameraError, ConfigError
from kgnpro_ros.execution.filters import accepted, filter_grasps, observed_table
from kgnpro_ros.execution.ranking import rank_grasps
from kgnpro_ros.geometry import canonical_keypoints, load_gripper, so3
from kgnpro_ros.network.decode import decode
from kgnpro_ros.network.model import STRIDE, NetworkOutput
from kgnpro_ros.network.runtime import make_runtime
from kgnpro_ros.network.weights import load_model
from kgnpro_ros.pnp.solver import solve_pnp
from kgnpro_ros.predictions import CAMERA_FRAME
from kgnpro_ros.types import GraspBatch, GraspStatus, KeypointBatch, PnPResult, RGBDImage

#: Focal lengths within this factor of the network's are not worth a resize.
FOCAL_TOLERANCE = 0.05
#: Largest image that a wrong focal length may ask the network for.
MAX_NETWORK_PIXELS = 2**23

FloatArray = NDArray[np.float64]
#: Waits for a network that was started: its maps, and network pixels per image pixel.
Started = Callable[[], tuple[NetworkOutput, float]]


@dataclass(frozen=True)
class Detection:
    """All that one pass over an image produced; for evaluation and debugging.

    Attributes:
        grasps: Accepted grasps in the camera frame, best first.
        candidates: Decoded candidates, before PnP.
        solutions: PnP results of the candidates in ``solved``.
        solved: Indices of the candidates that went into PnP, int64, shape (B,).
        timings: Duration of each stage [ms].
    """

    grasps: GraspBatch
    candidates: KeypointBatch
    solutions: PnPResult
    solved: Tensor
    timings: dict[str, float]


class GraspDetector:
    """Detects grasps in RGB-D images.

    Args:
        config: Model, device, gripper, thresholds.

    Raises:
        ModelError: If the model cannot be loaded.
        ConfigError: If the device or gripper does not exist.
    """

    def __init__(self, config: DetectorConfig | None = None) -> None:
        self.config = config or DetectorConfig()
        self.device = choose_device(self.config.device)
        self.gripper = load_gripper(self.config.gripper)
        model = load_model(self.config.model)
        self.network = model.network
        self.runtime = make_runtime(self.config, model, self.device)
        self.card, self.model_sha256, self.model_path = model.card, model.sha256, model.path
        self.last_timings: dict[str, float] = {}
        self._object_points = torch.from_numpy(canonical_keypoints()).float()

    def with_config(self, config: DetectorConfig) -> GraspDetector:
        """A detector with other settings; the network is loaded again only if it has to be.

        Raises:
            ModelError: If another model cannot be loaded.
            ConfigError: If the device, runtime or gripper does not exist.
        """
        loaded = ("model", "device", "runtime")
        if any(getattr(config, name) != getattr(self.config, name) for name in loaded):
            return GraspDetector(config)
        other = copy.copy(self)
        other.config = config
        if config.gripper != self.config.gripper:
            other.gripper = load_gripper(config.gripper)
        return other

    def detect(
        self,
        image: RGBDImage,
        *,
        max_grasps: int | None = None,
        min_score: float | None = None,
        T_workspace_camera: ArrayLike | None = None,
    ) -> GraspBatch:
        """Find grasps in an image.

        Args:
            image: Colour and depth of one camera; lens distortion is removed first, so keypoints
                are those of the undistorted image.
            max_grasps: Most grasps returned; the configuration's when None.
            min_score: Least heat-map score; the configuration's when None.
            T_workspace_camera: Camera in the frame of the workspace box, shape (4, 4).

        Returns:
            Grasps in the camera frame, best first, with counts of the rejected candidates.
        """
        detection = self.run(image, max_grasps, min_score, T_workspace_camera)
        return detection.grasps

    def run(
        self,
        image: RGBDImage,
        max_grasps: int | None = None,
        min_score: float | None = None,
        T_workspace_camera: ArrayLike | None = None,
    ) -> Detection:
        """As :meth:`detect`, with everything on the way; the arguments are the same."""
        clock = _Stopwatch()
        decoding, filters = self.config.decode, self.config.filters
        if min_score is not None:
            decoding = replace(decoding, score_threshold=min_score)
        if max_grasps is not None:
            filters = replace(filters, max_grasps=max_grasps)
        image = image.undistorted()
        running = self.start(image)
        clock.lap("network")
        # It needs the image alone: what computes beside Python goes on meanwhile.
        table = observed_table(image, filters)
        clock.lap("table")
        with torch.inference_mode():
            output, scale = running()
            clock.lap("network")
            candidates = _on_cpu(decode(output, decoding, scale))
            clock.lap("decode")
        solved, solutions = self.solve(candidates, image)
        clock.lap("pnp")
        grasps = self.to_grasps(candidates, solved, solutions)
        grasps = rank_grasps(grasps, self.config.ranking)
        grasps = accepted(
            filter_grasps(grasps, image, self.gripper, filters, table, T_workspace_camera)
        )
        clock.lap("filters")
        self.last_timings = clock.timings
        return Detection(grasps, candidates, solutions, solved, clock.timings)

    def start(self, image: RGBDImage) -> Started:
        """Let the network begin with an undistorted image.

        Returns:
            What waits for its maps, and gives them and the network pixels per image pixel: images
            of cameras with another focal length are resized, since apparent size is part of what
            the network learnt.
        """
        color, depth, scale = self.prepare(image)
        pending = self.runtime.start(color, depth)
        return lambda: (pending(), scale)

    def prepare(self, image: RGBDImage) -> tuple[NDArray[np.uint8], NDArray[np.float32], float]:
        """Resize to the network's focal length, and pad sides to multiples of the stride."""
        color, depth, camera = image.color, image.depth, image.camera
        scale = self.network.config.focal_length / camera.focal_length
        if abs(scale - 1.0) <= FOCAL_TOLERANCE:
            scale = 1.0
        else:
            pixels = camera.width * scale * camera.height * scale
            if not pixels <= MAX_NETWORK_PIXELS:
                raise CameraError(
                    f"focal lengths of {camera.fx:g} and {camera.fy:g} px in {camera.width}x"
                    f"{camera.height} pixels make an image of {pixels:.3g} pixels for the network; "
                    f"expected at most {MAX_NETWORK_PIXELS}: is the calibration right?"
                )
            size = (max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
            shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            color = cv2.resize(color, size, interpolation=shrink).astype(np.uint8, copy=False)
            depth = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST).astype(np.float32)
        bottom, right = -color.shape[0] % STRIDE, -color.shape[1] % STRIDE
        if bottom or right:
            color = np.pad(color, ((0, bottom), (0, right), (0, 0)))
            depth = np.pad(depth, ((0, bottom), (0, right)), constant_values=np.nan)
        return np.ascontiguousarray(color), np.ascontiguousarray(depth), scale

    def solve(self, candidates: KeypointBatch, image: RGBDImage) -> tuple[Tensor, PnPResult]:
        """Solve PnP for the candidates whose status is OK, all at once.

        A network that regresses poses needs none, and one with a distance head replaces the
        length of the translation, as KGNv2 does.

        Returns:
            Their indices, shape (B,), and the poses.
        """
        chosen = torch.nonzero(candidates.status == int(GraspStatus.OK))[:, 0]
        keypoints = candidates.keypoints[chosen]
        camera_matrix = torch.from_numpy(image.camera.matrix).float()
        if candidates.direct is not None:
            centers, direct = candidates.centers[chosen], candidates.direct[chosen]
            return chosen, _direct_poses(direct, centers, camera_matrix)
        solutions = solve_pnp(
            keypoints,
            candidates.weights[chosen],
            camera_matrix,
            self._object_points,
            self.config.pnp,
            center_depth=candidates.center_depth[chosen],
            depth_weight=candidates.depth_weight[chosen],
            tip_depth=_depth_at(image, keypoints[:, :2]),
        )
        if candidates.distance is not None:
            length = solutions.translation.norm(dim=-1)
            factor = candidates.distance[chosen].clamp(min=self.config.pnp.min_depth) / length
            solutions = replace(solutions, translation=solutions.translation * factor[:, None])
        return chosen, solutions

    def to_grasps(
        self, candidates: KeypointBatch, solved: Tensor, solutions: PnPResult
    ) -> GraspBatch:
        """Grasps of the solved candidates; those without a pose are counted as rejected."""
        # NumPy compares with plain numbers in a tenth of the time.
        ok = int(GraspStatus.OK)
        status, index = candidates.status.numpy().copy(), solved.numpy()
        error = _numpy(solutions.reprojection_error)
        found = solutions.status.numpy()
        bad = (found == ok) & (error > self.config.pnp.max_reprojection_error)
        status[index] = np.where(bad, int(GraspStatus.HIGH_REPROJECTION_ERROR), found)
        rejected = {
            GraspStatus(value).name.lower(): int(count)
            for value, count in enumerate(np.bincount(status))
            # Cells below the threshold are no candidates anybody proposed.
            if count and value not in (GraspStatus.OK, GraspStatus.LOW_SCORE)
        }
        good = status[index] == ok
        index = index[good]
        poses = np.zeros((len(index), 4, 4))
        poses[:, 3, 3] = 1.0
        poses[:, :3, :3] = _numpy(solutions.rotation)[good]
        poses[:, :3, 3] = _numpy(solutions.translation)[good]
        confidence = _numpy(candidates.confidence)[index]
        return GraspBatch(
            poses=poses,
            frame=CAMERA_FRAME,
            widths=_numpy(candidates.widths)[index],
            confidence=confidence,
            score=confidence,
            reprojection_error=error[good],
            covariance=_numpy(solutions.covariance)[good],
            keypoints=_numpy(candidates.keypoints)[index],
            status=status[index],
            rejected=rejected,
        )


def choose_device(name: str) -> torch.device:
    """The device a configuration names; ``auto`` is CUDA when there is one.

    Raises:
        ConfigError: If there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"no device {name!r}; try auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but PyTorch sees no CUDA device")
    return device


def _direct_poses(direct: Tensor, centers: Tensor, camera_matrix: Tensor) -> PnPResult:
    """Poses regressed without PnP: axes and z (B, 7), and the pixel of the grasp centre (B, 2).

    There is no cost and no covariance to report: cost and reprojection error are 0, and so is the
    covariance, which stands for "unknown".
    """
    rotation = so3.from_grasp_axes(direct[:, :6])
    homogeneous = torch.cat([centers, torch.ones_like(centers[:, :1])], dim=-1)
    rays = torch.linalg.solve(camera_matrix, homogeneous.mT).mT
    translation = rays * direct[:, 6:]
    zero = torch.zeros_like(direct[:, 6])
    failed = ~torch.isfinite(rotation).flatten(1).all(-1) | ~torch.isfinite(translation).all(-1)
    status = torch.zeros_like(failed, dtype=torch.int64)
    status = status.masked_fill(direct[:, 6] <= 0, int(GraspStatus.BEHIND_CAMERA))
    status = status.masked_fill(failed, int(GraspStatus.PNP_FAILED))
    covariance = zero[:, None, None].expand(-1, 6, 6)
    return PnPResult(
        rotation, translation, zero, zero, covariance, status, rotation, translation, zero
    )


def _depth_at(image: RGBDImage, pixels: Tensor) -> Tensor:
    """Observed depth [m] at rounded pixels (B, 2, 2) -> (B, 2); NaN outside and where missing."""
    index = pixels.round().long().numpy()
    u, v = index[..., 0], index[..., 1]
    inside = (u >= 0) & (u < image.camera.width) & (v >= 0) & (v < image.camera.height)
    depth = np.full(u.shape, np.nan, dtype=np.float32)
    depth[inside] = image.depth[v[inside], u[inside]]
    return torch.from_numpy(depth)


def _on_cpu(batch: KeypointBatch) -> KeypointBatch:
    """The candidates on the CPU: a hundred grasps are not worth a GPU's launch times."""
    moved: dict[str, Any] = {k: None if v is None else v.cpu() for k, v in vars(batch).items()}
    return KeypointBatch(**moved)


def _numpy(tensor: Tensor) -> FloatArray:
    return tensor.numpy().astype(np.float64)


class _Stopwatch:
    """Milliseconds of laps, summed by name; and their total."""

    def __init__(self) -> None:
        self.start = self.last = time.perf_counter()
        self.timings: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.timings[name] = self.timings.get(name, 0.0) + 1e3 * (now - self.last)
        self.timings["total"] = 1e3 * (now - self.start)
        self.last = now
