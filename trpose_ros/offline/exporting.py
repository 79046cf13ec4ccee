"""Keeps the skeletons of a run until its end, and writes them into the formats that were asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trpose_ros.exports.files import Export, facts_of, write_exports
from trpose_ros.people import Camera, People

_MOST_FRAMES = 500_000  # some hours of a camera, some kilobytes each


class ExportRecorder:
    """Collects lifted people; without formats it keeps nothing."""

    def __init__(self, formats: Sequence[str], base: Path) -> None:
        """Write ``base``.csv and so on at the end."""
        self.formats, self.base = tuple(formats), base
        self.camera: Camera | None = None
        self.missing: list[str] = []  # formats that came to nothing
        self._frames: list[People] = []
        self._left_out = 0

    def add(self, frames: Iterable[People], camera: Camera | None = None) -> None:
        """Take skeletons that became sure; ``camera`` is that of the newest image."""
        if not self.formats:
            return
        self.camera = camera or self.camera
        for people in frames:
            if len(self._frames) < _MOST_FRAMES:
                self._frames.append(people)
            else:
                self._left_out += 1

    def finish(self, problems: list[str], source: str, lifter: Any) -> list[Path]:
        """Write all formats; what a format cannot hold is added to ``problems``.

        ``source`` is the name of what was processed, ``lifter`` a stream or None.
        Raises WriteError.
        """
        if not self.formats:
            return []
        written: list[Path] = []
        if self._left_out:
            problems.append(f'the last {self._left_out} frames are not in the exports: too many')
        export = Export(
            self._frames,
            facts_of(
                self._frames, self.camera, source=source, licence=getattr(lifter, 'licence', '')
            ),
        )
        for name in self.formats:
            try:
                paths = write_exports([name], export, self.base)
            except ValueError as error:
                problems.append(f'no {name}: {error}')
                self.missing.append(name)
                continue
            if not paths:
                problems.append(f'no {name}: nobody had a skeleton')
            written += paths
        return written
