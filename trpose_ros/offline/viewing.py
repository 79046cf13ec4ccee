"""What a run shows meanwhile (``--view``) or keeps to be looked at later (``--save-view``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from trpose_ros.people import People
from trpose_ros.pipeline.pipeline import Outcome
from trpose_ros.viewer.rerun_log import ImageLogConfig
from trpose_ros.viewer.sinks import View
from trpose_ros.writing import WriteError


@dataclass(frozen=True)
class ViewOptions:
    """Where frames and people are shown; nowhere by default."""

    show: bool = False  # in a window
    save: Path | None = None  # an .rrd file
    jpeg_quality: int = 85  # of the images; 0: not compressed


class Viewing:
    """Hands outcomes to a view, where one is wanted; a context manager for the work.

    After an exception no file is left.
    """

    def __init__(self, options: ViewOptions, name: str) -> None:
        """Open what is wanted under a name; raises ViewError and WriteError."""
        self._view = None
        if options.show or options.save is not None:
            images = ImageLogConfig(options.jpeg_quality)
            self._view = View(name, show=options.show, save=options.save, images=images)

    def __bool__(self) -> bool:
        """Say whether anything is wanted."""
        return self._view is not None

    def __enter__(self) -> Viewing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._view is not None and kind is not None:
            self._view.discard()

    def add(self, outcome: Outcome, truth: People | None = None) -> None:
        """Show a frame with the people in it."""
        if self._view is not None:
            self._view.log.add_frame(outcome.frame, outcome.people)
            if truth is not None:
                self._view.log.add_truth(truth)

    def add_lifted(self, frames: Iterable[People]) -> None:
        """Show skeletons that became sure."""
        if self._view is not None:
            for people in frames:
                self._view.log.add_lifted(people)

    def finish(self, problems: list[str]) -> Path | None:
        """Finish the file and return it; a file that could not be written is a problem."""
        if self._view is None:
            return None
        try:
            self._view.finish()
        except WriteError as error:
            problems.append(str(error))
            return None
        return self._view.path
