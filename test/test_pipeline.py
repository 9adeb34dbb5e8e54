# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The detector from image to grasps, with real small networks and with perfect maps."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support.box_scene import box_scene, top_grasp
from support.perfect_maps import perfect_output

from kgnpro_ros import pipeline
from kgnpro_ros.config import (
    NETWORK_PRESETS,
    DecodeConfig,
    DetectorConfig,
    FilterConfig,
    LabelConfig,
    PnPConfig,
)
from kgnpro_ros.data.targets import make_targets
from kgnpro_ros.exceptions import ConfigError, ModelError
from kgnpro_ros.execution.filters import observed_table
from kgnpro_ros.geometry import Camera, canonical_keypoints
from kgnpro_ros.geometry.se3 import transform_points
from kgnpro_ros.network.model import KeypointNetwork
from kgnpro_ros.network.runtime import TorchRuntime
from kgnpro_ros.network.weights import save_model
from kgnpro_ros.pipeline import GraspDetector, choose_device
from kgnpro_ros.types import GraspStatus, RGBDImage

TINY = NETWORK_PRESETS["tiny"]
#: At the network's focal length; its sides are no multiples of the stride.
NEAR = Camera(616.3, 616.3, 127.5, 96.5, 257, 194)
#: About half of it: such images are enlarged.
WIDE = Camera(300.0, 300.0, 159.5, 119.5, 320, 240)
BOX = ((-0.02, -0.015, 0.0), (0.02, 0.015, 0.05))
FILTERS = FilterConfig(max_grasps=50, deepen=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = KeypointNetwork(TINY)
    for head in network.heads.values():
        torch.nn.init.normal_(head.out.weight, std=0.3)
    torch.nn.init.constant_(network.heads["heatmap"].out.bias, 1.0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(network, path, {"name": "random"})
    return str(path)


@pytest.fixture
def detector(model):
    """Random weights that propose many grasps."""
    config = DetectorConfig(model=model, device="cpu", filters=FILTERS)
    return GraspDetector(config)


class PerfectNetwork(torch.nn.Module):
    """Returns given maps, and keeps what it was shown."""

    def __init__(self, output):
        super().__init__()
        self.config, self.output = TINY, output

    def forward(self, color, depth):
        self.color, self.depth = color[0].permute(1, 2, 0).numpy(), depth[0].numpy()
        assert tuple(color.shape[-2:]) == tuple(4 * s for s in self.output.heatmap.shape[-2:])
        return self.output


def scene(camera, yaw=0.0):
    """A box on a table and three grasps of it, in the camera frame."""
    view = box_scene([BOX], eye=(0.05, -0.28, 0.42), camera=camera)
    color = np.random.default_rng(0).integers(0, 255, view.image.color.shape, dtype=np.uint8)
    image = replace(view.image, color=cv2.GaussianBlur(color, (0, 0), 4))
    poses = np.stack([top_grasp(x, 0.0, 0.035, np.pi / 2 + yaw) for x in (-0.013, 0.0, 0.013)])
    return image, view.T_camera_world @ poses, -view.T_camera_world[:3, 2]


def teach(detector, camera, poses, down):
    """Give the detector a network that knows the grasps, at the size that it should be shown."""
    zoom = TINY.focal_length / camera.fx
    zoom = 1.0 if abs(zoom - 1) < 0.05 else zoom
    height, width = (round(side * zoom) for side in (camera.height, camera.width))
    grid = (-(-height // 4), -(-width // 4))
    affine = np.array([[zoom, 0.0, (zoom - 1) / 2], [0.0, zoom, (zoom - 1) / 2]])
    widths = np.full(len(poses), 0.03)
    targets = make_targets(poses, widths, camera, affine, down, grid, 9, LabelConfig(edge_margin=0))
    detector.runtime = TorchRuntime(PerfectNetwork(perfect_output(targets)))
    return detector.runtime.network


def distances(grasps, poses):
    """Distance [m] and angle [deg] of each grasp to the nearest true one, twins included."""
    result = []
    for found in grasps.poses:
        nearest = np.linalg.norm(poses[:, :3, 3] - found[:3, 3], axis=1).argmin()
        relative = poses[nearest, :3, :3].T @ found[:3, :3]
        twin = relative @ np.diag([1.0, -1.0, -1.0])
        angle = np.degrees(Rotation.from_matrix([relative, twin]).magnitude().min())
        result.append((np.linalg.norm(poses[nearest, :3, 3] - found[:3, 3]), angle))
    return np.array(result)


@pytest.mark.parametrize("camera", [NEAR, WIDE], ids=["as trained", "other focal length"])
def test_perfect_maps_give_the_true_grasps(detector, camera):
    """Through decoding, PnP, filters and ranking; keypoints in pixels of the original image."""
    image, poses, down = scene(camera)
    teach(detector, camera, poses, down)
    grasps = detector.detect(image)
    assert len(grasps) == 3, grasps.rejected
    distance, angle = distances(grasps, poses).T
    assert distance.max() < 1e-3
    assert angle.max() < 1.0
    assert grasps.frame == "camera"
    assert (grasps.status == GraspStatus.OK).all()
    assert (grasps.reprojection_error < 0.1).all()
    assert (np.diff(grasps.score) <= 0).all()
    # The opening that was predicted, plus the margin.
    np.testing.assert_allclose(grasps.widths, 0.03 + FILTERS.width_margin, atol=1e-6)
    for pose, keypoints in zip(grasps.poses, grasps.keypoints, strict=True):
        expected = camera.project(transform_points(pose, canonical_keypoints()))
        assert np.abs(expected - keypoints).max() < 0.2


def test_the_network_sees_the_image_at_its_focal_length(detector):
    image, poses, down = scene(WIDE)
    network = teach(detector, WIDE, poses, down)
    detector.detect(image)
    zoom = TINY.focal_length / WIDE.fx
    size = (round(320 * zoom), round(240 * zoom))
    expected = cv2.resize(image.color, size, interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(network.color[: size[1], : size[0]], expected)
    # Depth is not mixed: the values are those of the image, and the padding has none.
    shown = network.depth[: size[1], : size[0]]
    assert np.isin(shown, image.depth).all()
    assert np.isnan(network.depth[size[1] :]).all()
    assert np.isnan(network.depth[:, size[0] :]).all()


def test_sides_are_padded_to_the_stride(detector):
    image, poses, down = scene(NEAR)
    network = teach(detector, NEAR, poses, down)
    detector.detect(image)
    assert network.color.shape == (196, 260, 3)
    np.testing.assert_array_equal(network.color[:194, :257], image.color)
    np.testing.assert_array_equal(network.depth[:194, :257], image.depth)
    assert np.isnan(network.depth[194:]).all()


def test_lens_distortion_is_removed_first(detector):
    lens = replace(NEAR, distortion=(0.2, -0.1, 0.001, 0.002))
    image, poses, down = scene(NEAR)
    real = RGBDImage(image.color, image.depth, lens)
    network = teach(detector, NEAR, poses, down)
    grasps = detector.detect(real)
    ideal = real.undistorted()
    np.testing.assert_array_equal(network.color[:194, :257], ideal.color)
    np.testing.assert_array_equal(network.depth[:194, :257], ideal.depth)
    if len(grasps):
        assert distances(grasps, poses)[:, 0].max() < 2e-3


def test_without_depth_the_keypoints_alone_decide(detector):
    """A hole where the grasps are: no depth residual, no points between the jaws."""
    image, poses, down = scene(NEAR)
    network = teach(detector, NEAR, poses, down)
    network.output.depth_weight.zero_()
    hole = image.depth.copy()
    u, v = NEAR.project(poses[1, :3, 3]).astype(int)
    hole[v - 50 : v + 50, u - 60 : u + 60] = np.nan
    grasps = detector.detect(replace(image, depth=hole))
    assert len(grasps) + sum(grasps.rejected.values()) == 3
    config = replace(detector.config, filters=replace(FILTERS, collision=False))
    detector.config = config
    grasps = detector.detect(replace(image, depth=hole))
    assert len(grasps) == 3
    assert distances(grasps, poses)[:, 0].max() < 5e-3


def test_an_image_without_grasps(detector):
    image, poses, down = scene(NEAR)
    teach(detector, NEAR, poses[:0], down)
    detection = detector.run(image)
    assert len(detection.grasps) == 0
    assert detection.grasps.rejected == {}
    assert len(detection.solved) == 0


def test_masked_and_fenced_grasps_are_counted(detector):
    image, poses, down = scene(NEAR)
    teach(detector, NEAR, poses, down)
    nowhere = replace(image, mask=np.zeros(image.depth.shape, dtype=bool))
    grasps = detector.detect(nowhere)
    assert (len(grasps), grasps.rejected) == (0, {"outside_mask": 3})
    # A box in another frame around the middle grasp only.
    T_box_camera = np.eye(4)
    T_box_camera[:3, 3] = -poses[1, :3, 3]
    box = (-0.005, -0.005, -0.005, 0.005, 0.005, 0.005)
    detector.config = replace(detector.config, filters=replace(FILTERS, workspace=box))
    grasps = detector.detect(image, T_workspace_camera=T_box_camera)
    assert grasps.rejected["outside_workspace"] == 2
    assert distances(grasps, poses[1:2])[:, 0].max() < 1e-3


def test_arguments_go_before_the_configuration(detector):
    image, poses, down = scene(NEAR)
    network = teach(detector, NEAR, poses, down)
    grasps = detector.detect(image, max_grasps=1)
    assert (len(grasps), grasps.rejected) == (1, {"beyond_max_grasps": 2})
    network.output.heatmap.clamp_(max=0.0)
    assert len(detector.detect(image, min_score=0.45)) == 3
    assert len(detector.detect(image, min_score=0.55)) == 0
    assert detector.config.decode.score_threshold == DecodeConfig().score_threshold


def let_everything_through(detector):
    """Settings with which the nonsense of a random network reaches every stage."""
    detector.config = replace(
        detector.config,
        decode=DecodeConfig(orientation_check=False),
        pnp=PnPConfig(max_reprojection_error=1e4),
        filters=FilterConfig(collision=False, limit_width=False, max_approach_angle=180.0),
    )


@pytest.mark.parametrize("camera", [NEAR, WIDE], ids=["as trained", "other focal length"])
def test_a_random_network_never_breaks_the_pipeline(detector, camera):
    """Nonsense maps: every candidate above the threshold is accepted or counted."""
    let_everything_through(detector)
    image, _, _ = scene(camera)
    depth = image.depth.copy()
    depth[::3] = np.nan
    depth[:, :40] = np.nan
    detection = detector.run(replace(image, depth=depth))
    proposed = int((detection.candidates.status != int(GraspStatus.LOW_SCORE)).sum())
    grasps = detection.grasps
    assert proposed > 10
    assert len(grasps) > 10
    assert len(grasps) + sum(grasps.rejected.values()) == proposed
    for name in ("poses", "widths", "score", "confidence", "reprojection_error", "covariance"):
        assert np.isfinite(getattr(grasps, name)).all()


def test_depth_may_be_missing_everywhere(detector):
    let_everything_through(detector)
    image, _, _ = scene(NEAR)
    grasps = detector.detect(replace(image, depth=np.full_like(image.depth, np.nan)))
    assert len(grasps) > 10
    assert np.isfinite(grasps.poses).all()


def test_the_same_image_gives_the_same_grasps(detector):
    let_everything_through(detector)
    image, _, _ = scene(NEAR)
    other = GraspDetector(detector.config)
    first, second = detector.detect(image), other.detect(image)
    assert len(first) > 10
    np.testing.assert_array_equal(first.poses, second.poses)


def test_each_stage_is_timed(detector):
    image, _, _ = scene(NEAR)
    timings = detector.run(image).timings
    assert list(timings) == ["network", "total", "table", "decode", "pnp", "filters"]
    assert timings["total"] == pytest.approx(sum(v for k, v in timings.items() if k != "total"))
    assert detector.last_timings == timings


def test_the_table_is_fitted_while_the_network_runs(detector, monkeypatch):
    order = []

    class Slow(TorchRuntime):
        def start(self, color, depth):
            order.append("start")
            fetch = super().start(color, depth)
            return lambda: order.append("fetch") or fetch()

    def fit(image, config):
        order.append("table")
        return observed_table(image, config)

    let_everything_through(detector)
    image, _, _ = scene(NEAR)
    expected = detector.detect(image)
    detector.runtime = Slow(detector.network)
    monkeypatch.setattr(pipeline, "observed_table", fit)
    found = detector.detect(image)
    assert order == ["start", "table", "fetch"]
    np.testing.assert_array_equal(found.poses, expected.poses)


def test_the_detector_says_what_it_runs(detector, model):
    assert detector.card["name"] == "random"
    assert len(detector.model_sha256) == 64
    assert str(detector.model_path) == model
    assert detector.gripper.name == "franka_hand"


def test_devices():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="no device 'toaster'"):
        choose_device("toaster")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device"):
            choose_device("cuda:0")


def test_wrong_configurations(model):
    with pytest.raises(ModelError, match="no model 'nothing'"):
        GraspDetector(DetectorConfig(model="nothing"))
    with pytest.raises(ConfigError, match="no gripper 'tongs'"):
        GraspDetector(DetectorConfig(model=model, gripper="tongs"))


def test_other_settings_keep_the_network(detector):
    config = replace(detector.config, filters=replace(FILTERS, max_grasps=3))
    other = detector.with_config(config)
    assert other.runtime is detector.runtime
    assert other.config == config
    assert detector.config.filters == FILTERS
    assert other.with_config(replace(config, gripper="robotiq_2f85")).gripper.name == "robotiq_2f85"
    assert other.gripper.name == "franka_hand"


def test_another_runtime_is_loaded(detector):
    other = detector.with_config(replace(detector.config, runtime="torch"))
    assert other.runtime is not detector.runtime
    assert other.runtime.name == "torch"
