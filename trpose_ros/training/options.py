"""Options of trainers: every field of their configuration, from a file or the command line.

    trpose train NAME --config run.yaml --set steps=2000 --set learning_rate=1e-3 --threads 2

A configuration file is YAML with the same names. A later one wins: defaults, the file, ``--set``,
options of a field's own name (``--steps 2000``).
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from trpose_ros.yaml_files import load_yaml


class OptionError(ValueError):
    """An option does not exist or has a value of the wrong kind; the message says which."""


def read_options(
    description: str, kinds: tuple[type, ...], arguments: list[str] | None
) -> tuple[list[Any], int]:
    """Parse arguments into one instance of each configuration dataclass.

    Returns:
        The instances in the order of ``kinds`` and the number of threads.

    Raises:
        OptionError: a name that no dataclass has, a value that cannot be read, or one that the
            dataclass refuses.

    """
    fields = {entry.name: entry for kind in kinds for entry in dataclasses.fields(kind)}
    parser = argparse.ArgumentParser(description=description)
    for name, entry in fields.items():
        text = f'{entry.metadata.get("help", "")} (default: {entry.default})'.strip()
        option = '--' + name.replace('_', '-')
        parser.add_argument(option, default=None, metavar='VALUE', help=text.replace('%', '%%'))
    parser.add_argument('--config', help='YAML file with the same names')
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE')
    parser.add_argument('--threads', type=int, default=2, help='of torch (default: 2)')
    given = vars(parser.parse_args(arguments))
    values = _from_file(given['config'])
    for assignment in given['set']:
        name, equals, text = assignment.partition('=')
        if not equals:
            raise OptionError(f'--set takes NAME=VALUE, got {assignment!r}')
        values[name.strip()] = text
    values |= {name: given[name] for name in fields if given[name] is not None}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise OptionError(f'unknown options {unknown}; known are {sorted(fields)}')
    read = {name: _read(name, value, fields[name].default) for name, value in values.items()}
    made = []
    for kind in kinds:
        own = {f.name: read[f.name] for f in dataclasses.fields(kind) if f.name in read}
        try:
            made.append(kind(**own))
        except ValueError as error:
            raise OptionError(str(error)) from error
    return made, int(given['threads'])


def _from_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = load_yaml(Path(path))
    except (OSError, ValueError) as error:
        raise OptionError(f'configuration {path} cannot be read: {error}') from error
    if not isinstance(content, dict):
        raise OptionError(f'configuration {path} must hold names and values, got {content!r:.200}')
    return {str(name): value for name, value in content.items()}


def _read(name: str, value: Any, default: Any) -> Any:
    """Return ``value``, text or from YAML, as the type of the default."""
    wanted = type(default)
    try:
        if wanted is bool:
            text = str(value).lower()
            if text not in ('true', 'false', '1', '0', 'yes', 'no'):
                raise ValueError
            return text in ('true', '1', 'yes')
        if wanted is int and float(value) != int(float(value)):
            raise ValueError
        return wanted(float(value)) if wanted is int else wanted(value)
    except (TypeError, ValueError) as error:
        raise OptionError(f'{name} takes {wanted.__name__}, got {value!r}') from error
