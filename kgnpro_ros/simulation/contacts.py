# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Who touches whom in a pick world, in the words of reports."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from kgnpro_ros.simulation.model import BIN
from kgnpro_ros.simulation.panda import FINGERS, HAND

LEFT_FINGER, RIGHT_FINGER, HAND_BODY, ARM, TABLE = (
    "left_finger", "right_finger", "hand", "arm", "table",
)  # fmt: skip
_ROBOT = (LEFT_FINGER, RIGHT_FINGER, HAND_BODY, ARM)


@dataclass(frozen=True)
class Contact:
    """Two things that touch.

    Attributes:
        first, second: Their names in alphabetical order: ``object_0``, ``left_finger``,
            ``right_finger``, ``hand``, ``arm``, ``table``, ``bin``.
        force: Sum of the normal forces between them [N].
    """

    first: str
    second: str
    force: float

    def between(self, first: str, second: str) -> bool:
        """Whether it is between two things of these names, in any order."""
        return {self.first, self.second} == {first, second}

    @property
    def of_robot(self) -> bool:
        """Whether one of the two is the arm or its hand."""
        return self.first in _ROBOT or self.second in _ROBOT


def geom_labels(model: mujoco.MjModel) -> list[str]:
    """What each geom belongs to, in the words of :class:`Contact`."""
    fingers = dict(zip(FINGERS, (LEFT_FINGER, RIGHT_FINGER), strict=True))
    labels = []
    for index in range(model.ngeom):
        body = model.body(model.geom_bodyid[index]).name
        if body == "world":
            labels.append(BIN if model.geom(index).name.startswith(BIN) else TABLE)
        elif body in fingers:
            labels.append(fingers[body])
        elif body == HAND:
            labels.append(HAND_BODY)
        else:
            labels.append(ARM if body.startswith("panda_") else body)
    return labels


def find_contacts(
    model: mujoco.MjModel, data: mujoco.MjData, labels: list[str]
) -> tuple[Contact, ...]:
    """All contacts of the last step, one entry per pair of things."""
    forces: dict[tuple[str, str], float] = {}
    wrench: NDArray[np.float64] = np.empty(6)
    for number in range(data.ncon):
        contact = data.contact[number]
        if contact.efc_address < 0:
            continue
        names = sorted(labels[geom] for geom in contact.geom)
        pair = names[0], names[1]
        mujoco.mj_contactForce(model, data, number, wrench)
        forces[pair] = forces.get(pair, 0.0) + float(wrench[0])
    return tuple(Contact(*pair, force) for pair, force in sorted(forces.items()))
