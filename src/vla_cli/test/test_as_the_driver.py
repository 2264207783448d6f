"""Simulated time uses the robot as launch/config/robot_driver.yaml has the live driver use it."""

from dataclasses import fields
from pathlib import Path

import yaml

from vla_core.arms.meca500 import TOOL_TIP_M
from vla_core.execution.executor import ExecutorSettings
from vla_core.safety.limits import SafetyLimits
from vla_core.timebase import NS
from vla_training.simulation import devices
from vla_training.simulation.command import SLOT_NS

FILE = Path(__file__).resolve().parents[3] / 'launch' / 'config' / 'robot_driver.yaml'
LIVE = yaml.safe_load(FILE.read_text())['/**/robot_driver']['ros__parameters']


def test_the_gate_has_the_limits_of_the_driver():
    limits = SafetyLimits()
    for field in fields(SafetyLimits):
        live, value = LIVE[field.name], getattr(limits, field.name)
        assert (tuple(live) if isinstance(live, list) else live) == value, field.name


def test_tool_and_velocity_time_out_are_those_of_the_driver():
    assert devices.TOOL_TIP_M == TOOL_TIP_M == LIVE['tool_m']
    assert LIVE['velocity_timeout_s'] == devices.VELOCITY_TIMEOUT_S


def test_the_executor_splices_as_the_driver_does():
    settings = ExecutorSettings()
    assert settings.policy == LIVE['chunk_policy']
    assert settings.ensemble_decay == LIVE['ensemble_decay']


def test_state_and_commands_have_the_pace_of_the_driver():
    assert NS / SLOT_NS == LIVE['state_rate_hz'] == LIVE['command_rate_hz']
