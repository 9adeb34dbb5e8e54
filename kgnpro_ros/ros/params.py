# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration dataclasses as ROS parameters: names, defaults, ranges and descriptions from them.

Nested fields are joined by dots (``filters.max_grasps``). ``python -m kgnpro_ros.ros.params``
prints the parameter file of ``grasp_detector`` with all defaults, ``config/detector.yaml``, and
with the argument ``executor`` that of ``grasp_executor``.

A parameter that starts with a value that is not allowed is remembered as an error and never
replaced silently: :meth:`Parameters.get` raises until it is set to a good one.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from kgnpro_ros.config import DetectorConfig, ExecutorConfig, NodeConfig, config_from_dict
from kgnpro_ros.exceptions import ConfigError

T = TypeVar("T")

HEADER = """\
# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
#
# Every parameter of {node} with its default. Copy what you want to change into a file of
# your own and pass it as {argument}:=my.yaml; what is absent keeps its default."""

#: Types of array parameters by the type of what tuples hold.
ARRAYS = {float: Parameter.Type.DOUBLE_ARRAY, str: Parameter.Type.STRING_ARRAY}

#: Decides whether a parameter may change now: the reason why not, or None.
ChangeRule = Callable[[str], "str | None"]


@dataclass(frozen=True)
class ParameterField:
    """One leaf of a configuration.

    Attributes:
        name: Dotted name.
        type: Type of the ROS parameter.
        default: Value of the dataclass; None for an array that is unset.
        descriptor: Description, range and choices.
        choices: The only values that are allowed; empty for any.
        length: Values that an array must have; None for any, or where it is no array.
    """

    name: str
    type: Parameter.Type
    default: Any
    descriptor: ParameterDescriptor
    choices: tuple[Any, ...] = ()
    length: int | None = None

    def check(self, value: Any) -> None:
        """Refuse what the ROS descriptor cannot express.

        Raises:
            ConfigError: If the value is none of the choices or an array has another length.
        """
        if self.choices and value not in self.choices:
            raise ConfigError(
                f"{self.name} is {value!r}; expected one of {', '.join(map(str, self.choices))}"
            )
        if self.length is not None and value is not None and len(value) != self.length:
            raise ConfigError(f"{self.name} has {len(value)} numbers; expected {self.length}")


def parameter_fields(config: Any, prefix: str = "") -> Iterator[ParameterField]:
    """The leaves of a configuration object, in order of definition."""
    hints = get_type_hints(type(config))
    texts = attribute_texts(type(config))
    for item in fields(config):
        value, name = getattr(config, item.name), prefix + item.name
        if is_dataclass(value):
            yield from parameter_fields(value, f"{name}.")
            continue
        kind, choices, length = _parameter_type(hints[item.name], name)
        descriptor = ParameterDescriptor(description=texts.get(item.name, ""))
        if choices:
            descriptor.additional_constraints = f"one of: {', '.join(map(str, choices))}"
        if "range" in item.metadata:
            _set_range(descriptor, kind, item.metadata["range"])
        default = list(value) if isinstance(value, tuple) else value
        yield ParameterField(name, kind, default, descriptor, choices, length)


def _parameter_type(hint: Any, name: str) -> tuple[Parameter.Type, tuple[Any, ...], int | None]:
    """Type of the parameter for an annotation, the choices of a Literal, an array's length."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (item for item in get_args(hint) if item is not type(None))
    choices: tuple[Any, ...] = ()
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        hint = type(choices[0])
    if get_origin(hint) is tuple and get_args(hint)[0] in ARRAYS:
        length = None if Ellipsis in get_args(hint) else len(get_args(hint))
        return ARRAYS[get_args(hint)[0]], choices, length
    table = {
        bool: Parameter.Type.BOOL, int: Parameter.Type.INTEGER, float: Parameter.Type.DOUBLE,
        str: Parameter.Type.STRING,
    }  # fmt: skip
    if hint not in table:
        raise TypeError(f"no parameter type for {name}: {hint}")
    return table[hint], choices, None


def _set_range(
    descriptor: ParameterDescriptor, kind: Parameter.Type, limits: tuple[float, float]
) -> None:
    low, high = limits
    if kind == Parameter.Type.INTEGER:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    else:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high))
        ]


def attribute_texts(cls: type) -> dict[str, str]:
    """What the ``Attributes`` section of a class docstring says, by attribute."""
    texts: dict[str, str] = {}
    section = (cls.__doc__ or "").partition("Attributes:")[2]
    for names, text in re.findall(
        r"^ {8}([a-z_0-9, ]+): (.*(?:\n {12}.*)*)", section, re.MULTILINE
    ):
        for name in names.split(","):
            texts[name.strip()] = " ".join(text.split())
    return texts


def default_yaml(*configs: Any, node: str = "grasp_detector") -> str:
    """A parameter file with the values of configuration objects and a comment on each."""
    argument = "params_file" if node == "grasp_detector" else "executor_params_file"
    header = HEADER.format(node=node, argument=argument)
    lines = [header, "/**:", "  ros__parameters:"]
    for config in configs:
        for leaf in parameter_fields(config):
            lines.append(f"    # {leaf.descriptor.description}")
            value = yaml.safe_dump(leaf.default, default_flow_style=True, width=10_000).split("\n")[
                0
            ]
            unset = leaf.default is None
            lines.append(f"    # {leaf.name}: []" if unset else f"    {leaf.name}: {value}")
    return "\n".join(lines) + "\n"


class Parameters:
    """Declares configurations on a node and reads them back.

    Args:
        node: Where the parameters are declared.
        defaults: Configuration objects; their leaves must have different names.
        may_change: Rule for changes at run time.
    """

    def __init__(
        self, node: Node, *defaults: Any, may_change: ChangeRule = lambda name: None
    ) -> None:
        self._node = node
        self._defaults = {type(config): config for config in defaults}
        self._may_change = may_change
        self._errors: dict[str, str] = {}
        self._fields = [leaf for config in defaults for leaf in parameter_fields(config)]
        for leaf in self._fields:
            self._declare(leaf)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._accepted)

    @property
    def errors(self) -> list[str]:
        """What is wrong with the values given at start."""
        return list(self._errors.values())

    def get(self, cls: type[T]) -> T:
        """The current configuration.

        Raises:
            ConfigError: If a start value was not allowed, or values do not fit together.
        """
        if self._errors:
            raise ConfigError("; ".join(self._errors.values()))
        return self._build(cls, {})

    def _declare(self, leaf: ParameterField) -> None:
        # Declared by type alone, an array may stay unset; that stands for None.
        value = leaf.type if leaf.default is None else leaf.default
        try:
            self._node.declare_parameter(leaf.name, value, leaf.descriptor)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            reason = str(error).removesuffix(f": {leaf.name}")
            self._errors[leaf.name] = f"parameter {leaf.name}: {reason}; {_expected(leaf)}"
            self._node.declare_parameter(leaf.name, value, leaf.descriptor, ignore_override=True)

    def _build(self, cls: type[T], changes: Mapping[str, Any]) -> T:
        nested: dict[str, Any] = asdict(self._defaults[cls])
        for leaf in parameter_fields(self._defaults[cls]):
            *path, last = leaf.name.split(".")
            target = nested
            for key in path:
                target = target[key]
            changed = leaf.name in changes
            value = changes[leaf.name] if changed else self._node.get_parameter_or(leaf.name).value
            leaf.check(value)
            is_array = leaf.type in ARRAYS.values() and value is not None
            target[last] = tuple(value) if is_array else value
        return config_from_dict(cls, nested, "parameters")

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {parameter.name: parameter.value for parameter in parameters}
        known = {leaf.name for leaf in self._fields}
        for name in known & changes.keys():
            reason = self._may_change(name)
            if reason:
                return SetParametersResult(successful=False, reason=f"{name}: {reason}")
        try:
            for cls in self._defaults:
                self._build(cls, {name: changes[name] for name in known & changes.keys()})
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _accepted(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            self._errors.pop(parameter.name, None)


def fixed_at_start(name: str) -> str:
    """A rule for nodes that read their parameters once."""
    return "fixed while the node runs; start it again with another value"


def _expected(leaf: ParameterField) -> str:
    """The range or type of a parameter, for error messages."""
    kind = leaf.type.name.lower().replace("_", " ")
    for limits in (*leaf.descriptor.integer_range, *leaf.descriptor.floating_point_range):
        return f"expected type {kind}, from {limits.from_value} to {limits.to_value}"
    return f"expected type {kind}"


if __name__ == "__main__":
    if sys.argv[1:] == ["executor"]:
        print(default_yaml(ExecutorConfig(), node="grasp_executor"), end="")
    else:
        print(default_yaml(DetectorConfig(), NodeConfig()), end="")
