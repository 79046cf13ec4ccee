"""Packages that only some things need."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trpose_ros.doctor.findings import Finding, note, ok, one_line, problem
from trpose_ros.doctor.python import installed_version


@dataclass(frozen=True)
class Extra:
    """An optional package: module, names that pip knows, what it is for."""

    module: str
    packages: tuple[str, ...]
    extra: str
    use: str
    door: str = ''  # module to import it through; '': its version is enough


EXTRAS = (
    Extra(
        'openvino',
        ('openvino',),
        'openvino',
        'runs image networks on a processor faster than PyTorch',
        'trpose_ros.runtimes.openvino_quiet',
    ),
    Extra(
        'tensorflow',
        ('tensorflow-cpu', 'tensorflow'),
        'tensorflow',
        'runs published MeTRAbs SavedModels (estimator metrabs_tensorflow)',
    ),
    Extra('pyarrow', ('pyarrow',), 'evaluate', 'trpose evaluate, replay --report: results'),
    Extra('plotly', ('plotly',), 'evaluate', 'trpose evaluate, replay --report: report.html'),
    Extra('onnxruntime', ('onnxruntime',), 'onnx', 'trpose weights export'),
    Extra('rerun', ('rerun-sdk',), 'view', 'shows images and skeletons: --view, viewer:=rerun'),
    Extra('numba', ('numba',), 'train', 'rendered people: trpose data, evaluate, train'),
)


def check() -> list[Finding]:
    """Look for the extras."""
    return [look(extra, installed_version) for extra in EXTRAS]


def look(extra: Extra, version_of: Callable[[str, str], str]) -> Finding:
    """Judge one extra; ``version_of`` (module, package) gives '' for what is missing."""
    versions = [version_of(extra.module, package) for package in extra.packages]
    version = next((text for text in versions if text not in ('', 'unknown')), max(versions))
    facts: dict[str, Any] = {'package': extra.packages[0], 'version': version}
    if not version:
        do = f'only where you need it: pip install "trpose_ros[{extra.extra}]"'
        return note(f'{extra.module} is not installed', f'not needed, but {extra.use}', do, **facts)
    try:
        if extra.door:
            importlib.import_module(extra.door)
    except Exception as error:  # whatever a broken library raises
        return problem(
            f'{extra.module} {version} cannot be imported: {one_line(error)}',
            f'it {extra.use}; this fails until it is mended',
            f'pip install --force-reinstall {extra.packages[0]}, or uninstall it',
            **facts,
        )
    return ok(f'{extra.module} {version}', extra.use, **facts)
