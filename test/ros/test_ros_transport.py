# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Room for images between processes of one machine."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ros_frames import write_frame
from ros_graph import wait_until

from kgnpro_ros.ros.transport import OLD_VARIABLE, PROFILE, VARIABLE, room_for_images

ROOT = Path(__file__).resolve().parents[2]
#: A frame of 1280x720: three bytes of colour and two of depth for each pixel.
LARGE_FRAME = 1280 * 720 * 5


def test_the_variable_of_each_distribution():
    assert room_for_images({}) == {VARIABLE: str(PROFILE)}
    assert room_for_images({"ROS_DISTRO": "kilted"}) == {VARIABLE: str(PROFILE)}
    assert room_for_images({"ROS_DISTRO": "jazzy"}) == {OLD_VARIABLE: str(PROFILE)}


@pytest.mark.parametrize("name", [VARIABLE, OLD_VARIABLE, "FASTDDS_BUILTIN_TRANSPORTS"])
def test_who_has_decided_is_left_alone(name):
    assert room_for_images({name: "something"}) == {}


def test_the_profile_holds_a_large_frame_and_keeps_the_network():
    text = PROFILE.read_text().replace(' xmlns="http://www.eprosima.com"', "")
    profiles = ET.fromstring(text).find("profiles")
    transports = {
        item.findtext("transport_id"): item.findtext("type") for item in profiles[0]
    }  # fmt: skip
    participant = profiles.find("participant")
    assert participant.get("is_default_profile") == "true"
    used = [item.text for item in participant.find("rtps/userTransports")]
    assert [transports[name] for name in used] == ["SHM", "UDPv4"]
    assert int(profiles.findtext("transport_descriptors/*/segment_size")) > LARGE_FRAME


def segments(pid: int) -> list[int]:
    """Sizes of the shared memory of Fast DDS that a process uses [bytes]."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if "/dev/shm/fastdds_" in line]
    return [int(end, 16) - int(begin, 16) for begin, end in ranges]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no shared memory")
@pytest.mark.skipif(
    os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") != "rmw_fastrtps_cpp",
    reason="the profile is for Fast DDS",
)
def test_a_camera_node_has_the_room(tmp_path):
    command = [sys.executable, "-m", "kgnpro_ros.ros.replay_node", "--ros-args"]
    environment = {k: v for k, v in os.environ.items() if k not in (VARIABLE, OLD_VARIABLE)}
    process = subprocess.Popen(
        [*command, "-p", f"frames:={write_frame(tmp_path / 'frame')}"], cwd=ROOT, env=environment
    )
    try:
        assert wait_until(lambda: max(segments(process.pid), default=0) > LARGE_FRAME)
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(30)
