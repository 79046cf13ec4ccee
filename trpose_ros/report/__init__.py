"""The report of an evaluation: one HTML file that needs no network, and side-by-side videos.

``write_report`` takes the folder of any evaluation (`trpose evaluate`, a replay, the live
evaluation node): its results, and the scenes that were kept beside them (evaluation/excerpts.py).

Imports: vocabulary, drawing, recordings, evaluation, evaluation/metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write_report(
    results_dir: Path, out: Path, progress: Callable[[int, int], object] | None = None
) -> Path:
    """Write the report of an evaluation's folder to ``out`` and return that path.

    Works for one run without anything to compare it to: what is not there is left out.
    ``progress`` is called with the videos so far and in all, which take nearly all of the time.
    Raises FileNotFoundError where the folder holds no results, ValueError where they are empty or
    damaged, and ModuleNotFoundError without plotly or Jinja2 (the extra ``evaluate``).
    """
    from trpose_ros.report.page import write_page

    return write_page(Path(results_dir), Path(out), progress)


def check_libraries() -> None:
    """Raise MissingExtraError, with the remedy, when results or reports could not be written."""
    from trpose_ros.evaluation.results import MissingExtraError, check_extra

    check_extra()
    try:
        import jinja2  # noqa: F401
        import plotly  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the report needs {error.name}: pip install 'trpose_ros[evaluate]'"
        ) from error
