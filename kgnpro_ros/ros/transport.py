# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Room for images on the way between processes of one machine; this module imports no ROS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PROFILE = Path(__file__).with_name("fastdds.xml")
#: Where Fast DDS looks for profiles: from version 3 on (ROS Kilted), and before.
VARIABLE, OLD_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
OLD_DISTRIBUTIONS = ("humble", "iron", "jazzy")
#: Who sets one of these has decided how Fast DDS is to send.
DECIDED = (VARIABLE, OLD_VARIABLE, "FASTDDS_BUILTIN_TRANSPORTS")


def room_for_images(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to an environment, so that Fast DDS sends images without losing parts of them.

    It matters for processes that publish images, and is read when they initialise ROS. Other
    middleware does not look at it. The profile says what it changes and why.

    Args:
        environment: Of the process.

    Returns:
        Variables; none where the environment says already how Fast DDS is to send.
    """
    if any(name in environment for name in DECIDED):
        return {}
    old = environment.get("ROS_DISTRO") in OLD_DISTRIBUTIONS
    return {OLD_VARIABLE if old else VARIABLE: str(PROFILE)}
