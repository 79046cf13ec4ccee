"""Weights: are they there, undamaged, and under which licence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trpose_ros import weights
from trpose_ros.doctor.findings import Finding, note, ok, one_line, problem

_FREE = ('Apache-2.0', 'MIT', 'BSD-3-Clause', 'CC0-1.0')
_AGAIN = 'install trpose_ros again, or copy the file again (with git: git checkout of it)'


def check() -> list[Finding]:
    """Compare all weights with their model cards."""
    return judge(weights.available(), weights.SHIPPED)


def judge(known: Mapping[str, Path], shipped: Path) -> list[Finding]:
    """Judge weights by name; ``shipped`` is the folder whose cards say what must be there."""
    found: list[Finding] = []
    licences: dict[str, list[str]] = {}
    for name, path in sorted(known.items()):
        try:
            file = weights.verify(path)
        except (weights.WeightsError, OSError) as error:
            means = f'what uses {name} fails, or would give wrong results'
            found.append(problem(one_line(error), means, _AGAIN, name=name, path=str(path)))
            continue
        licence = file.meta['licence']
        if path.parent == shipped:
            licences.setdefault(licence, []).append(name)
        else:
            found.append(_imported(name, path, licence))
    cards = {path.stem for path in shipped.glob('*.md')} - {'README'}
    lost = sorted(cards - set(known))
    if lost or not cards:
        means = 'the package is not complete: what uses them fails'
        text = f'shipped weights are missing: {", ".join(lost) or "all"}'
        found.append(problem(text, means, _AGAIN, missing=lost))
    whole = [
        ok(
            f'{len(names)} shipped weights as their cards say, {licence}: {", ".join(names)}',
            licence=licence,
            names=names,
        )
        for licence, names in sorted(licences.items())
    ]
    return [*whole, *found]


def _imported(name: str, path: Path, licence: str) -> Finding:
    text = f'{name}, imported, {licence}: as its card says'
    facts: dict[str, Any] = {'name': name, 'path': str(path), 'licence': licence}
    if licence in _FREE:
        return ok(text, **facts)
    means = "the licence of these weights is their authors'; many allow research alone"
    return note(text, means, 'read it before you sell or publish', **facts)
