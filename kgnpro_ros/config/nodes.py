# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the ROS nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kgnpro_ros.config.checks import check_ranges, ranged


@dataclass(frozen=True)
class NodeConfig:
    """ROS side of ``grasp_detector``.

    Attributes:
        autostart: Configure and activate at start, without a lifecycle manager.
        continuous: Detect in the newest frame all the time; False detects on service calls only.
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
    """The camera of the ``grasp_sim`` node.

    Attributes:
        seed: Seed of the scene.
        mode: ``single`` has one object, ``multi`` one of each class.
        look: ``kgn`` renders as KGN's generator does, ``random`` randomises the domain.
        depth_noise: Apply the depth-sensor model to the published depth.
        rate: Images per second [Hz].
        reliability: Quality of service of the images.
        base_frame: Frame of the table: origin on its top, z up.
    """

    seed: int = ranged(0, 0, 2**31 - 1)
    mode: Literal["single", "multi"] = "multi"
    look: Literal["kgn", "random"] = "kgn"
    depth_noise: bool = True
    rate: float = ranged(5.0, 0.1, 60.0)
    reliability: Literal["best_effort", "reliable"] = "reliable"
    base_frame: str = "world"

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class ControllerConfig:
    """How ``grasp_executor`` moves joints: two action servers and the joint states.

    Attributes:
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
        check_ranges(self)
