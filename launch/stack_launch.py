"""From stack.yaml to launch actions: the one place where the launch files meet the stack
description.

Imported by the *.launch.py files beside it. It makes exactly the commands, environment and
parameters that `vla up` starts; a test compares the two. Deliberately adds no node of its own.
"""

import os
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    SetLaunchConfiguration,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from launch import LaunchDescription
from vla_core.stack import load_stack, resolve
from vla_core.stack_description import GROUPS

STACK = Path(__file__).parent / 'stack.yaml'


def description(groups=GROUPS, **fixed):
    """Return the launch description that starts these groups.

    Every argument of stack.yaml is a launch argument, so `--show-args` is the manual. `fixed` sets
    arguments for a file whose purpose they are.
    """
    stack = load_stack(STACK)
    actions = []
    for name, argument in stack.arguments.items():
        if name in fixed:
            actions.append(SetLaunchConfiguration(name, str(fixed[name])))
            continue
        choices = list(argument.choices) or (
            ['true', 'false'] if argument.type == 'bool' else None
        )
        default = str(argument.default)
        actions.append(
            DeclareLaunchArgument(
                name,
                default_value=default.lower() if argument.type == 'bool' else default,
                description=argument.description,
                choices=choices,
            )
        )
    return LaunchDescription([*actions, OpaqueFunction(function=_start, args=[stack, groups])])


def _start(context, stack, groups):
    values = {name: LaunchConfiguration(name).perform(context) for name in stack.arguments}
    resolved = resolve(stack, values, groups=groups)
    environment = resolved.added_environment(os.environ)
    return [action(process, environment) for process in resolved.processes]


def action(process, environment):
    """Return the launch action of one process."""
    common = {
        'additional_env': environment,
        'output': 'both',
        'respawn': process.respawn.enabled,
        'respawn_delay': process.respawn.delay_s,
    }
    if process.kind == 'process' and not process.package:
        return ExecuteProcess(
            cmd=[process.executable, *process.arguments], name=process.name, **common
        )
    if process.kind == 'process':
        return _without_ros_arguments(process, common)
    kind = LifecycleNode if process.kind == 'lifecycle' else Node
    return kind(
        package=process.package,
        executable=process.executable,
        name=process.name,
        namespace=process.namespace,
        arguments=list(process.arguments),
        ros_arguments=list(process.ros_arguments),
        **common,
    )


def _without_ros_arguments(process, common):
    from launch_ros.substitutions import ExecutableInPackage

    executable = ExecutableInPackage(package=process.package, executable=process.executable)
    return ExecuteProcess(cmd=[executable, *process.arguments], name=process.name, **common)
