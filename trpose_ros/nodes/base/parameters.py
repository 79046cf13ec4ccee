"""ROS parameters from configuration dataclasses, in one loop.

A field of a frozen dataclass is a parameter: its type, default, help, range and choices make the
descriptor, and the dataclass itself validates a change before it is accepted, so that a refusal
carries the same words as everywhere else. A field that may be None takes -1 (numbers) for "none".

The specifications are plain values: the tables in the documentation come from them too.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.parameter import Parameter

_LONGEST_REASON = 600  # characters of a refusal
_NONE = -1  # what stands for None in a numeric parameter


@dataclass(frozen=True)
class Group:
    """The fields of one dataclass as parameters ``prefix + name``.

    ``live`` groups take changes while the node runs, the others only before configure.
    ``rename`` gives fields another name than their own, ``omit`` leaves fields at their default.
    ``lists`` are texts with several names for which a list may be given, too: it becomes a text.
    """

    config: type
    prefix: str = ''
    live: bool = False
    rename: Mapping[str, str] = field(default_factory=dict)
    omit: Sequence[str] = ()
    lists: Sequence[str] = ()


@dataclass(frozen=True)
class Specification:
    """One parameter."""

    name: str
    kind: type  # bool, int, float or str
    default: Any  # as ROS sees it: never None
    help: str
    limits: tuple[float, float] | None
    choices: tuple[str, ...]
    live: bool
    optional: bool
    config: type
    field_name: str
    list_too: bool = False

    def to_field(self, value: Any) -> Any:
        """Return a parameter value as the dataclass takes it."""
        if self.optional and value == _NONE:
            return None
        return bool(value) if self.optional and self.default is True else self.kind(value)


def specifications(groups: Sequence[Group]) -> list[Specification]:
    """Return the parameters of the groups, in order; raises TypeError for a field that cannot be.

    A name that two groups share is an error of the programmer: ValueError.
    """
    result = [spec for group in groups for spec in _of_group(group)]
    names = [spec.name for spec in result]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f'parameters {twice} are declared by more than one group')
    return result


def _of_group(group: Group) -> list[Specification]:
    hints = typing.get_type_hints(group.config)
    result = []
    for entry in dataclasses.fields(group.config):
        if entry.name in group.omit:
            continue
        kind, optional = _kind(group.config, entry.name, hints[entry.name])
        default = entry.default
        if optional:
            default = kind(_NONE) if default is None else kind(default)
        limits = entry.metadata.get('range')
        choices = tuple(entry.metadata.get('choices', ()))
        if limits is not None and optional:
            limits = (min(_NONE, limits[0]), limits[1])
        if optional and bool in typing.get_args(hints[entry.name]):
            limits, choices = (_NONE, 1), ()
        text = entry.metadata.get('help', '')
        result.append(
            Specification(
                name=group.prefix + group.rename.get(entry.name, entry.name),
                kind=kind,
                default=default,
                help=f'{text}; -1: none' if optional else text,
                limits=limits,
                choices=tuple(str(choice) for choice in choices),
                live=group.live,
                optional=optional,
                config=group.config,
                field_name=entry.name,
                list_too=entry.name in group.lists,
            )
        )
    return result


def _kind(config: type, name: str, hint: Any) -> tuple[type, bool]:
    """Return the parameter type of a field and whether it may be None."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = [option for option in options if option is not type(None)]
    optional = len(kinds) < len(options)
    if len(kinds) == 1:
        if optional and kinds[0] in (int, float, bool):
            return (float if kinds[0] is float else int), True
        if not optional and kinds[0] in (bool, int, float, str):
            return kinds[0], False
    raise TypeError(f'{config.__name__}.{name} of type {hint} cannot be a ROS parameter')


class NodeParameters:
    """Declares the parameters of a node, and keeps its configurations valid.

    While ``locked`` returns True, parameters that are not live are refused, and ``on_change`` is
    called with the type of each live configuration that changed, after it has been validated.
    Before that nothing is in use that could take a change.
    """

    def __init__(
        self,
        node: Node,
        groups: Sequence[Group],
        *,
        locked: Callable[[], bool],
        on_change: Callable[[type, Any], None],
    ) -> None:
        """Declare everything; raises what rclpy raises for overrides of a wrong type or range."""
        self._node = node
        self._specifications = {spec.name: spec for spec in specifications(groups)}
        self._locked = locked
        self._on_change = on_change
        for spec in self._specifications.values():
            node.declare_parameter(spec.name, spec.default, _descriptor(spec))
        node.add_on_set_parameters_callback(self._check)

    def __getitem__(self, config: type) -> Any:
        """Build one configuration from the present values; raises ValueError with the reason."""
        return self._build(config, {})

    def _build(self, config: type, changes: Mapping[str, Any]) -> Any:
        values = {}
        for name, spec in self._specifications.items():
            if spec.config is config:
                value = changes[name] if name in changes else self._node.get_parameter(name).value
                values[spec.field_name] = spec.to_field(value)
        return config(**values)

    def _check(self, parameters: Sequence[Parameter]) -> Any:
        from rcl_interfaces.msg import SetParametersResult

        known = {p.name: p.value for p in parameters if p.name in self._specifications}
        changed = {
            name: value
            for name, value in known.items()
            if value != self._node.get_parameter(name).value
        }
        fixed = sorted(name for name in changed if not self._specifications[name].live)
        if fixed and self._locked():
            reason = f'{", ".join(fixed)} can only change before configure: clean the node up first'
            return SetParametersResult(successful=False, reason=reason)
        configs = {self._specifications[name].config for name in changed}
        try:
            built = {config: self._build(config, changed) for config in configs}
            if self._locked():
                for config, value in built.items():
                    self._on_change(config, value)
        except Exception as error:  # in a callback of rclpy anything that is raised ends the node
            words = str(error) or type(error).__name__
            return SetParametersResult(successful=False, reason=words[:_LONGEST_REASON])
        return SetParametersResult(successful=True)


def _descriptor(spec: Specification) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    descriptor = ParameterDescriptor(
        name=spec.name, description=spec.help, dynamic_typing=spec.list_too
    )
    if spec.choices:
        descriptor.additional_constraints = f'one of: {", ".join(spec.choices)}'
    if spec.limits is not None and spec.kind is int:
        first, last = (int(limit) for limit in spec.limits)
        descriptor.integer_range = [IntegerRange(from_value=first, to_value=last, step=0)]
    elif spec.limits is not None:
        low, high = (float(limit) for limit in spec.limits)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor
