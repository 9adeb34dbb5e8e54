# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of the package: each message says what came and what would have been right."""


class KGNProError(Exception):
    """Base class of every error that the package raises on purpose."""


class ShapeError(KGNProError, ValueError):
    """An array has another shape or type than the function takes."""


class CameraError(KGNProError, ValueError):
    """Camera parameters that no real camera can have, or that do not fit the image."""


class ImageError(KGNProError, ValueError):
    """An image that cannot be used: wrong size, type, encoding, or no content."""


class ConfigError(KGNProError, ValueError):
    """A setting with an unknown name, a wrong type, or a value out of its range."""


class ModelError(KGNProError):
    """A model file that is missing, truncated, of another format, version or architecture."""


class TrainingError(KGNProError):
    """A training that cannot go on, because its loss grows without end."""


class DatasetError(KGNProError):
    """A data set that is missing, half-written, or of another version."""


class PredictionError(KGNProError):
    """A prediction file that is missing, malformed, or holds values that are not finite."""


class FrameError(KGNProError, ValueError):
    """Poses of different or unknown coordinate frames were mixed."""


class PlanningError(KGNProError):
    """A motion that could not be planned or executed."""
