# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Why a transform cannot be had."""


class TransformException(Exception):
    """Base class: no transform for this query."""


class ConnectivityException(TransformException):
    """The two frames are in different trees."""


class LookupException(TransformException):
    """A frame is unknown, or the tree has a loop."""


class ExtrapolationException(TransformException):
    """The time lies outside of what the buffer holds."""


class InvalidArgumentException(TransformException):
    """The query itself is wrong, for example an empty frame name."""


class TimeoutException(TransformException):
    """The transform did not become available in time."""
