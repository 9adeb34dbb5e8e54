# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the ROS nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kgnpro_ros.config.checks import check_ranges, ranged, require
from kgnpro_ros.config.execution import MotionConfig, PickConfig
from kgnpro_ros.config.moveit import MoveItConfig


@dataclass(frozen=True)
class NodeConfig:
    """ROS side of ``grasp_detector``.

    Attributes:
        autostart: Configure and activate at start, without a lifecycle manager.
        continuous: Detect in the newest frame while somebody listens to the results; False detects
            on service calls only.
        max_rate: Most detections per second in continuous mode [Hz]; 0 is no limit.
        target_frame: TF frame of the published grasps; empty is the colour optical frame.
        tf_timeout: Longest wait for the transform at the stamp of the image [s].
        tf_latest: Take the newest transform where there is none at that stamp; wrong for a
            camera that moves.
        service_timeout: ``detect_grasps`` answers within this time when a request names none [s].
        max_age: Frames older than this are refused [s]; 0 takes any.
        sync_slop: Largest difference of the stamps of colour and depth [s].
        sync_queue: Messages of each input that wait for their partners.
        time_jump: A stamp that lies this much [s] before the previous one restarts the pairing.
        reliability: Quality of service asked of the camera. best_effort receives from every
            publisher and loses large images on a busy machine; auto asks for reliable and takes
            best_effort where the publisher offers no more.
        depth_unit: Metres per unit of 16-bit depth images (32-bit ones are metres).
        depth_is_registered: Depth has the pixels of the colour image although it names another
            frame.
        rectified: The images are rectified: intrinsics come from P, and no distortion is removed.
        use_mask: Subscribe to ``mask``; frames then wait for it.
        stall_timeout: Silence of an input [s] after which the node says what it waits for.
        log_period: The same complaint is repeated at most this often [s].
    """

    autostart: bool = True
    continuous: bool = True
    max_rate: float = ranged(0.0, 0.0, 1000.0)
    target_frame: str = ""
    tf_timeout: float = ranged(0.5, 0.0, 60.0)
    tf_latest: bool = False
    service_timeout: float = ranged(5.0, 0.1, 600.0)
    max_age: float = ranged(5.0, 0.0, 3600.0)
    sync_slop: float = ranged(0.05, 0.001, 10.0)
    sync_queue: int = ranged(10, 1, 100)
    time_jump: float = ranged(0.5, 0.01, 3600.0)
    reliability: Literal["auto", "best_effort", "reliable"] = "auto"
    depth_unit: float = ranged(0.001, 0.000001, 1.0)
    depth_is_registered: bool = False
    rectified: bool = False
    use_mask: bool = False
    stall_timeout: float = ranged(2.0, 0.1, 60.0)
    log_period: float = ranged(10.0, 0.1, 3600.0)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class ReplayConfig:
    """The ``rgbd_replay`` node.

    Attributes:
        frames: Folder with color.png, depth.png and camera.json, or a folder of such folders.
        rate: Images per second [Hz].
        frame_period: Seconds per frame; 0 stays until ``~/next`` is called.
        loop: Start again after the last frame; False keeps publishing the last one.
        reliability: Quality of service of the images.
        base_frame: Parent of the static transform.
        camera_pose: x, y, z [m], roll, pitch, yaw [rad] of camera_link (x forward, y left, z up)
            in the base frame.
    """

    frames: str = ""
    rate: float = ranged(5.0, 0.1, 120.0)
    frame_period: float = ranged(5.0, 0.0, 3600.0)
    loop: bool = True
    reliability: Literal["best_effort", "reliable"] = "reliable"
    base_frame: str = "world"
    camera_pose: tuple[float, float, float, float, float, float] = (0.0, 0.0, 0.5, 0.0, 0.5, 0.0)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class SimConfig:
    """The ``grasp_sim`` node; what is in its world are the fields of ``WorldConfig``.

    Attributes:
        arm: Simulate the arm and serve its controllers; False is a camera over a scene that stands
            still, which costs nothing.
        rate: Images per second of the simulated time [Hz].
        state_rate: Joint states and transforms per second of the simulated time [Hz].
        overview_rate: Pictures of a spectator per second, on ``~/overview`` [Hz]; 0 is none.
        clock: ``wall`` stamps with the machine's time and runs at its pace. ``sim`` publishes
            /clock; the other nodes then need use_sim_time.
        speed: With ``clock`` sim, simulated seconds per second; 0 is as fast as it goes.
        reliability: Quality of service of the images.
        base_frame: Frame of the table: origin on its top, z up.
    """

    arm: bool = True
    rate: float = ranged(5.0, 0.1, 60.0)
    state_rate: float = ranged(25.0, 1.0, 250.0)
    overview_rate: float = ranged(0.0, 0.0, 60.0)
    clock: Literal["wall", "sim"] = "wall"
    speed: float = ranged(1.0, 0.0, 100.0)
    reliability: Literal["best_effort", "reliable"] = "reliable"
    base_frame: str = "world"

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class ControllerConfig:
    """How ``grasp_executor`` moves joints: two action servers and the joint states.

    Attributes:
        joints: Joints of the arm, from its base on.
        arm_action: Action of the arm, control_msgs/action/FollowJointTrajectory.
        gripper_action: Action of the gripper, control_msgs/action/GripperCommand.
        gripper_scale: Gripper position per metre of opening; 0.5 where the controller takes the
            position of one of two fingers, as Franka's does.
        gripper_effort: Largest effort of the fingers, in the controller's unit [N].
        gripper_timeout: Longest motion of the gripper [s].
        connect_timeout: Longest wait for an action server [s].
        answer_timeout: Longest wait until a goal is accepted or rejected [s].
        joints_timeout: Joint states that are silent this long [s] mean that the robot is gone.
        time_scale: A trajectory may take this many times its duration ...
        time_margin: ... and this long [s] on top.
    """

    joints: tuple[str, ...] = tuple(f"panda_joint{number}" for number in range(1, 8))
    arm_action: str = "panda_arm_controller/follow_joint_trajectory"
    gripper_action: str = "panda_hand_controller/gripper_cmd"
    gripper_scale: float = ranged(0.5, 0.001, 1000.0)
    gripper_effort: float = ranged(40.0, 0.0, 1000.0)
    gripper_timeout: float = ranged(10.0, 0.1, 120.0)
    connect_timeout: float = ranged(5.0, 0.1, 600.0)
    answer_timeout: float = ranged(2.0, 0.1, 60.0)
    joints_timeout: float = ranged(1.0, 0.05, 60.0)
    time_scale: float = ranged(3.0, 1.0, 100.0)
    time_margin: float = ranged(5.0, 0.0, 600.0)

    def __post_init__(self) -> None:
        require(bool(self.joints), "joints must name the joints of the arm, got none")
        check_ranges(self)


@dataclass(frozen=True)
class ExecutorConfig:
    """The ``grasp_executor`` node.

    Attributes:
        arm: ``mplib`` plans by itself and moves two controllers; ``moveit`` plans and moves through
            MoveIt.
        gripper: Preset name or path of the gripper file; the detector's must be the same.
        dry_run: Plan everything, move nothing, whatever the goal says.
        target_frame: TF frame asked of the detector where the goal names none; empty is the
            detector's own choice. Plans are made in the base frame of the arm.
        home: Joint positions [rad] that the arm returns to after a pick, out of the camera's view;
            unset leaves it where it is.
        connect_timeout: Longest wait for the detector's service [s].
        detect_min_score: Least score asked of the detector; 0 is the detector's own. A low one: the
            best grasp is tried first, so weak ones count only where there is no other.
        detect_timeout: Longest detection [s], the wait for a new frame included.
        observe_timeout: Longest wait for the depth image of the obstacles [s].
        tf_timeout: Longest wait for a transform [s].
        obstacles: Avoid what the depth camera sees; False plans with the table alone.
        boxes: What is known to stand there and is not seen: six numbers per box, x_min, y_min,
            z_min, x_max, y_max, z_max [m] in the base frame of the arm; unset is none.
        table: ``observed`` finds the table in the depth image, ``fixed`` takes table_height, and
            ``none`` knows no table.
        table_height: Top of a fixed table along z of the arm's base frame [m].
        cloud_spacing: Distance of the points that stand for obstacles [m].
        reliability: Quality of service asked of the camera, as for the detector.
        depth_unit: Metres per unit of 16-bit depth images (32-bit ones are metres).
        depth_is_registered: Depth has the pixels of the colour image although it names another
            frame.
        rectified: The images are rectified.
        log_period: The same complaint is repeated at most this often [s].
    """

    arm: Literal["mplib", "moveit"] = "mplib"
    gripper: str = "franka_hand"
    dry_run: bool = False
    target_frame: str = ""
    home: tuple[float, ...] | None = None
    connect_timeout: float = ranged(5.0, 0.1, 600.0)
    detect_min_score: float = ranged(0.1, 0.0, 1.0)
    detect_timeout: float = ranged(20.0, 0.1, 600.0)
    observe_timeout: float = ranged(5.0, 0.1, 600.0)
    tf_timeout: float = ranged(0.5, 0.0, 60.0)
    obstacles: bool = True
    boxes: tuple[float, ...] | None = None
    table: Literal["observed", "fixed", "none"] = "observed"
    table_height: float = ranged(0.0, -10.0, 10.0)
    cloud_spacing: float = ranged(0.004, 0.001, 0.05)
    reliability: Literal["auto", "best_effort", "reliable"] = "auto"
    depth_unit: float = ranged(0.001, 0.000001, 1.0)
    depth_is_registered: bool = False
    rectified: bool = False
    log_period: float = ranged(10.0, 0.1, 3600.0)
    pick: PickConfig = field(default_factory=PickConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    moveit: MoveItConfig = field(default_factory=MoveItConfig)
    controllers: ControllerConfig = field(default_factory=ControllerConfig)

    def __post_init__(self) -> None:
        corners = self.boxes or ()
        require(len(corners) % 6 == 0, f"boxes has {len(corners)} numbers; expected six per box")
        for start in range(0, len(corners), 6):
            low, high = corners[start : start + 3], corners[start + 3 : start + 6]
            ordered = all(a < b for a, b in zip(low, high, strict=True))
            require(ordered, f"corners of a box are not ordered: {low} to {high}")
        check_ranges(self)
