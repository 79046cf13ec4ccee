"""Errors that a user can mend become one line and an exit code."""

from __future__ import annotations

from typing import Any

import typer

from trpose_ros.interruption import EXIT_CODE

# Modules that a missing package belongs to an extra of.
_EXTRAS = {
    'numba': 'train',
    'matplotlib': 'train',
    'jinja2': 'evaluate',
    'plotly': 'evaluate',
    'pyarrow': 'evaluate',
    'tensorflow': 'tensorflow',
    'rclpy': 'ros',
    'onnx': 'onnx',
    'onnxruntime': 'onnx',
}


class Friendly:
    """Turns errors that a user can mend into one line and exit code 1; Ctrl-C gives 130."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, KeyboardInterrupt):
            typer.secho('trpose: stopped by Ctrl-C; nothing half written is left', err=True)
            raise typer.Exit(EXIT_CODE) from error
        if error is None or not isinstance(error, Exception):
            return
        text = str(error)
        if isinstance(error, ModuleNotFoundError):
            package = (error.name or '').partition('.')[0]
            if package == 'trpose_ros' and error.name == 'trpose_ros.msg':
                text = (
                    'the ROS messages are not built: trpose messages; in a source tree make '
                    'messages, source install/env.sh'
                )
            elif package == 'trpose_ros':
                text = f'{error.name} is not part of this installation'
            elif package in _EXTRAS:
                extra = _EXTRAS[package]
                text = f'{package} is missing: pip install "trpose_ros[{extra}]"'
            else:
                text = f'{package} is missing: pip install {package}'
        elif not _expected(error):
            return
        typer.secho(f'trpose: {text}', fg='red', err=True)
        raise typer.Exit(1) from error


def _expected(error: Exception) -> bool:
    """Whether the words of an error are enough: bad input, missing files and weights."""
    from trpose_ros.recordings.bags import BagError
    from trpose_ros.recordings.sources import SourceError
    from trpose_ros.recordings.video import VideoError
    from trpose_ros.weights import WeightsError

    kinds = (ValueError, OSError, BagError, SourceError, VideoError, WeightsError)
    others = ('DemoError', 'TrainingError', 'FloatingPointError')
    return isinstance(error, kinds) or type(error).__name__ in others
