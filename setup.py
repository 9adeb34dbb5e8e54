# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Installs the ROS-free core and the kgnpro command: ``pip install .``; colcon uses CMake."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def version() -> str:
    """Returns the version, whose one place is kgnpro_ros/version.py."""
    text = (ROOT / "kgnpro_ros" / "version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def data_files(folder: str) -> list:
    """Returns the files below a folder as they go to share/kgnpro_ros."""
    grouped = {}
    for path in sorted((ROOT / folder).rglob("*")):
        if path.is_file():
            file = path.relative_to(ROOT)
            grouped.setdefault(f"share/kgnpro_ros/{file.parent}", []).append(str(file))
    return list(grouped.items())


setup(
    name="kgnpro_ros",
    version=version(),
    description="Ranked 6-DoF parallel-jaw grasps from an RGB-D camera",
    license="Apache-2.0",
    license_files=["LICENSE"],
    author="The kgnpro_ros Authors",
    python_requires=">=3.10",
    packages=find_packages(include=["kgnpro_ros", "kgnpro_ros.*"]),
    package_data={
        "kgnpro_ros": ["py.typed"],
        "kgnpro_ros.geometry": ["grippers/*.yaml"],
        "kgnpro_ros.ros": ["fastdds.xml"],
    },
    data_files=data_files("config") + data_files("models"),
    install_requires=[
        "dacite>=1.8",
        "example-robot-data>=4",
        "lightning>=2.2",
        "matplotlib>=3.7",
        "mplib>=0.2.1,<0.3; platform_machine == 'x86_64'",
        "mujoco>=3.3.7",
        "numpy>=1.24,<2",
        "onnx>=1.16",
        "opencv-python-headless>=4.8,<4.12",
        "openvino>=2024.4",
        "pillow>=10",
        "PyYAML>=6",
        "rich>=13",
        "safetensors>=0.4",
        "scipy>=1.10",
        "tensorboard>=2.14",
        "toppra>=0.6; platform_machine == 'x86_64'",
        "torch>=2.2",
        "tqdm>=4.65",
        "trimesh>=4",
        "typer>=0.12",
    ],
    extras_require={"onnxruntime": ["onnxruntime>=1.18"], "gpu": ["onnxruntime-gpu>=1.18"]},
    entry_points={"console_scripts": ["kgnpro = kgnpro_ros.cli:main"]},
)
