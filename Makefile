# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
#
# Every target does the set-up it needs; a second call finds it done. The set-up makes .venv (the
# wheels) and .build (the ROS packages, built by colcon with links to the sources). Nothing else
# has to be sourced or activated: ENVIRONMENT below does it for each command.
#
# Tests import kgnpro_ros from this folder and its generated modules (kgnpro_ros.msg, .srv,
# .action) from .build: kgnpro_ros/__init__.py joins the two.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?=
FRAMES ?=
TEST_ARGS ?=
DEMO_ARGS ?=

BOOTSTRAP := PYTHON=$(PYTHON) $(or $(PYTHON),python3) ros_wheels/bootstrap.py
ENVIRONMENT := source ros_wheels/env.sh
# Domains 60 to 99: their ports are free on Linux, and two runs on one machine hardly meet.
PRIVATE_DOMAIN := export ROS_DOMAIN_ID=$$((60 + RANDOM % 40))
# Without the interfaces the ROS tests would be left out; make test is not to pass like that.
REQUIRE_ROS := python -c "import rclpy, kgnpro_ros.msg"
PYTEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} python -m pytest

.PHONY: help setup demo test test-slow reliability lint clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo "  Variables: PYTHON=python3.12  FRAMES=dir  TEST_ARGS='-k name'  DEMO_ARGS='...'"

setup: ## Make .venv and build the ROS packages
	@$(BOOTSTRAP)

demo: setup ## See grasps in a simulated scene, or in the frames of FRAMES=dir
	@$(ENVIRONMENT) && $(PRIVATE_DOMAIN) && kgnpro demo $(if $(FRAMES),--frames "$(FRAMES)") $(DEMO_ARGS)

test: setup ## Run the default tests
	@$(ENVIRONMENT) && $(PRIVATE_DOMAIN) && $(REQUIRE_ROS) && $(PYTEST) $(TEST_ARGS)

test-slow: setup ## Run the slow tests too
	@$(ENVIRONMENT) && $(PRIVATE_DOMAIN) && $(REQUIRE_ROS) && $(PYTEST) -m "not gpu" $(TEST_ARGS)

reliability: setup ## Try every fault and thousands of wrong inputs; write the table of cases
	@$(ENVIRONMENT) && $(PRIVATE_DOMAIN) && $(REQUIRE_ROS) && $(PYTEST) \
	  test -m "reliability and not gpu" --reliability-table=docs/reliability.md $(TEST_ARGS)

lint: setup ## Check style and types
	@$(ENVIRONMENT) && ruff check . && ruff format --check . && mypy

clean: ## Remove everything that was made
	rm -rf .venv .build build install log kgnpro_ros.egg-info .pytest_cache .mypy_cache .ruff_cache
