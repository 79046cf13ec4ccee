"""A picture of a standing figure, made by formula, for tests of networks that look for people."""

from __future__ import annotations

import numpy as np

# Segments x0, y0, x1, y1, radius and colour, in shares of the figure's height.
_LIMBS = (
    (0.00, 0.10, 0.00, 0.12, 0.065, (205, 165, 140)),  # head
    (0.00, 0.17, 0.00, 0.20, 0.035, (200, 160, 135)),  # neck
    (-0.06, 0.27, -0.05, 0.47, 0.060, (60, 80, 150)),  # trunk
    (0.06, 0.27, 0.05, 0.47, 0.060, (60, 80, 150)),
    (-0.10, 0.25, -0.16, 0.38, 0.030, (70, 90, 160)),  # arms
    (-0.16, 0.38, -0.19, 0.50, 0.025, (205, 165, 140)),
    (0.10, 0.25, 0.16, 0.38, 0.030, (70, 90, 160)),
    (0.16, 0.38, 0.19, 0.50, 0.025, (205, 165, 140)),
    (-0.05, 0.52, -0.07, 0.72, 0.045, (50, 50, 60)),  # legs
    (-0.07, 0.72, -0.07, 0.92, 0.035, (45, 45, 55)),
    (0.05, 0.52, 0.07, 0.72, 0.045, (50, 50, 60)),
    (0.07, 0.72, 0.07, 0.92, 0.035, (45, 45, 55)),
    (-0.07, 0.95, -0.10, 0.96, 0.025, (30, 30, 30)),
    (0.07, 0.95, 0.10, 0.96, 0.025, (30, 30, 30)),
)


def figure(
    width: int, height: int, middles: tuple[float, ...] = (0.5,), share: float = 0.85
) -> np.ndarray:
    """Return (height, width, 3) uint8 with figures ``share`` of the height at x ``middles``."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    image = np.stack([150 + 40 * y / height, 160 + 20 * x / width, 140 + 0 * x], axis=-1)
    image += 6 * np.sin(x / 7)[..., None] * np.cos(y / 11)[..., None]
    body = share * height
    top = (height - body) / 2
    for middle in middles:
        for x0, y0, x1, y1, radius, colour in _LIMBS:
            start = np.array([middle * width + x0 * body, top + y0 * body])
            along = np.array([(x1 - x0) * body, (y1 - y0) * body])
            position = (x - start[0]) * along[0] + (y - start[1]) * along[1]
            t = np.clip(position / (along @ along), 0, 1)
            distance = np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1])
            cover = np.clip(radius * body - distance + 0.5, 0, 1)[..., None]
            shade = 1 - 0.25 * (distance / (radius * body))[..., None].clip(0, 1)
            image = image * (1 - cover) + np.array(colour) * shade * cover
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
