"""The interpreter and the packages that everything needs."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from trpose_ros import __version__
from trpose_ros.doctor.findings import Finding, note, ok, problem

# Module and the package that pip knows; torch and OpenCV have checks of their own.
_NEEDED = {
    'numpy': 'numpy',
    'scipy': 'scipy',
    'yaml': 'PyYAML',
    'safetensors': 'safetensors',
    'rosbags': 'rosbags',
    'typer': 'typer',
    'rich': 'rich',
}
_OLDEST, _NEWEST = (3, 10), (3, 13)


def check() -> list[Finding]:
    """Look at this interpreter."""
    return [version(sys.version_info[:2]), package(), needed(installed_version)]


def version(python: tuple[int, int]) -> Finding:
    """Judge the version of Python."""
    text = f'Python {python[0]}.{python[1]} ({sys.executable}) on {platform.machine()}'
    facts: dict[str, Any] = {'python': platform.python_version(), 'machine': platform.machine()}
    if python < _OLDEST:
        means = 'trpose_ros is written for Python 3.10 and newer'
        return problem(text, means, 'make the environment with a newer python3', **facts)
    if python > _NEWEST:
        means = 'trpose_ros is tested with Python 3.10 to 3.13'
        return note(text, means, 'if something fails, try one of those', **facts)
    return ok(text, **facts)


def package() -> Finding:
    """Say which trpose_ros this is."""
    folder = Path(__file__).resolve().parents[1]
    return ok(f'trpose_ros {__version__} in {folder}', version=__version__, folder=str(folder))


def installed_version(module: str, package: str) -> str:
    """Return the version of a package, 'unknown' where none is said, '' where it is missing."""
    try:
        if importlib.util.find_spec(module) is None:
            return ''
    except (ImportError, ValueError):
        return ''
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return 'unknown'


def needed(version_of: Callable[[str, str], str]) -> Finding:
    """Look for the packages without which nothing works; ``version_of`` (module, package)."""
    found = {package: version_of(module, package) for module, package in _NEEDED.items()}
    missing = [package for package, text in found.items() if not text]
    if missing:
        return problem(
            f'missing: {", ".join(missing)}',
            'commands that need them end with an error',
            f'pip install {" ".join(missing)}, in the environment of {sys.executable}',
            missing=missing,
            versions=found,
        )
    text = ', '.join(f'{package} {text}' for package, text in found.items())
    return ok(text, versions=found)
