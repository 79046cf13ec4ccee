"""Hiding parts of a person in a training crop: the regions of the truncation protocol, and borders.

All of it works on images (H, W, 3) in place and draws from the generator that is passed in.
"""

from __future__ import annotations

import numpy as np

CONDITIONS = ('random_box', 'moving_box', 'fixed_upper', 'fixed_middle', 'fixed_lower')


def hidden_rectangles(
    box: np.ndarray, condition: str, side: int, rng: np.random.Generator, exact: bool = False
) -> np.ndarray:
    """Return (R, 4) x0 y0 x1 y1 that ``condition`` hides of a person with reference box ``box``.

    ``exact`` takes the main severity of protocol v1, otherwise sizes vary.
    """
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    third = 1 / 3 if exact else float(rng.uniform(0.2, 0.5))
    if condition == 'random_box':
        count = 6 if exact else int(rng.integers(2, 13))
        cells = rng.permutation(24)[:count]
        left, top = x0 + (cells % 4) * w / 4, y0 + (cells // 4) * h / 6
        return np.stack([left, top, left + w / 4, top + h / 6], axis=1)
    if condition == 'moving_box':
        share = 0.5 if exact else float(rng.uniform(0.3, 0.65))
        left = x0 + rng.random() * (1 - share) * w
        top = y0 + rng.random() * (1 - share) * h
        return np.array([[left, top, left + share * w, top + share * h]])
    if condition == 'fixed_upper':
        return np.array([[0, -side, side, y0 + third * h]])
    if condition == 'fixed_middle':
        return np.array([[0, y0 + (0.5 - third / 2) * h, side, y0 + (0.5 + third / 2) * h]])
    if condition == 'fixed_lower':
        return np.array([[0, y1 - third * h, side, 2 * side]])
    if condition == 'boxes':
        count = int(rng.integers(1, 5))
        centre = rng.uniform([x0, y0], [x1, y1], (count, 2))
        half = rng.uniform(0.05, 0.25, (count, 2)) * [w, h]
        return np.concatenate([centre - half, centre + half], axis=1)
    raise ValueError(f'unknown condition {condition!r}; known are {(*CONDITIONS, "boxes")}')


def hide(
    image: np.ndarray,
    box: np.ndarray,
    condition: str,
    rng: np.random.Generator,
    exact: bool = False,
    covered: np.ndarray | None = None,
) -> None:
    """Fill the rectangles of a condition in place; black when exact, else several fills.

    What they cover becomes true in ``covered`` (H, W).
    """
    height, width = image.shape[:2]
    draw = 0.0 if exact else rng.random()
    fill = np.zeros(3, np.uint8)
    if draw > 0.9:
        fill = rng.integers(0, 256, 3).astype(np.uint8)
    elif draw > 0.78:
        fill = np.array([124, 116, 104], np.uint8)
    for x0, y0, x1, y1 in hidden_rectangles(box, condition, max(height, width), rng, exact):
        a, b = (int(v) for v in np.clip(np.ceil([x0, x1]), 0, width))
        c, d = (int(v) for v in np.clip(np.ceil([y0, y1]), 0, height))
        if b > a and d > c:
            if covered is not None:
                covered[c:d, a:b] = True
            if 0.66 < draw <= 0.78:
                image[c:d, a:b] = rng.integers(0, 256, (d - c, b - a, 3), dtype=np.uint8)
            else:
                image[c:d, a:b] = fill


def draw_fragment(rng: np.random.Generator) -> np.ndarray:
    """Return (4,) x0 y0 x1 y1 in shares of a person's box: what an edge or a cover leaves of it."""
    across = rng.random() < 0.28
    kept = float(rng.uniform(0.4, 0.75) if across else rng.uniform(0.2, 0.75))
    first = rng.random() < 0.5
    low, high = (0.0, kept) if first else (1 - kept, 1.0)
    return np.array([low, 0, high, 1] if across else [0, low, 1, high])


def part_of(box: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return a fragment (4,), shares of a box (4,) x0 y0 x1 y1, in px."""
    return np.tile(box[:2], 2) + part * np.tile(box[2:] - box[:2], 2)


def hide_beyond(image: np.ndarray, box: np.ndarray, part: np.ndarray, covered: np.ndarray) -> None:
    """Blacken what a fragment (4,) of a person with reference box ``box`` leaves out, in place.

    It becomes true in ``covered`` (S, S). Nothing ends where the fragment reaches the box's side.
    """
    limits = [-np.inf, -np.inf, np.inf, np.inf]
    edges = np.where(part == [0, 0, 1, 1], limits, part_of(box, part))
    x0, y0, x1, y1 = np.rint(np.clip(edges, 0, image.shape[0])).astype(int)
    beyond = np.ones(covered.shape, bool)
    beyond[y0:y1, x0:x1] = False
    image[beyond] = 0
    covered |= beyond


def cut_border(
    image: np.ndarray,
    box: np.ndarray,
    rng: np.random.Generator,
    covered: np.ndarray | None = None,
) -> None:
    """Blacken what lies beyond one or two image borders that pass through the person, in place.

    It becomes true in ``covered`` (S, S).
    """
    side = image.shape[0]
    x0, y0, x1, y1 = box
    for _ in range(1 if rng.random() < 0.7 else 2):
        edge = int(rng.choice(4, p=[0.22, 0.18, 0.22, 0.38]))
        share = rng.uniform(0.02, 0.6)
        if edge == 0:
            beyond: tuple[slice, slice] = np.s_[:, : int(np.clip(x0 + share * (x1 - x0), 0, side))]
        elif edge == 1:
            beyond = np.s_[: int(np.clip(y0 + share * (y1 - y0), 0, side)), :]
        elif edge == 2:
            beyond = np.s_[:, int(np.clip(x1 - share * (x1 - x0), 0, side)) :]
        else:
            beyond = np.s_[int(np.clip(y1 - share * (y1 - y0), 0, side)) :, :]
        image[beyond] = 0
        if covered is not None:
            covered[beyond] = True
