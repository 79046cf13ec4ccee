"""Settings of the tracker (tracking.py)."""

from __future__ import annotations

from dataclasses import dataclass

from trpose_ros.configuration import check_fields, setting


@dataclass(frozen=True)
class TrackerConfig:
    """Times in seconds, distances in metres or in shares of the person's size in the image.

    ``lost_s``, ``lost_new_s`` and ``search_s`` last one and a half frame periods at least.
    """

    confirm_s: float = setting(0.1, 'a track is NEW until it is this old', range=(0.0, 10.0))
    lost_s: float = setting(1.5, 'a track not seen for longer is LOST', range=(0.0, 60.0))
    lost_new_s: float = setting(0.3, 'the same for a track that is still NEW', range=(0.0, 60.0))
    search_s: float = setting(
        1.0, 'how long the box of an unseen track is offered', range=(0.0, 60.0)
    )
    gate_m: float = setting(0.6, 'largest mean joint distance to a track, m', range=(0.01, 100.0))
    gate_2d: float = setting(0.4, 'the same in the image, shares of body size', range=(0.01, 100.0))
    depth_share: float = setting(
        0.1, 'gate_m grows with the distance by this share', range=(0.0, 1.0)
    )
    speed_m_s: float = setting(2.0, 'how fast the gates widen while unseen, m/s', range=(0.0, 20.0))
    max_speed_m_s: float = setting(4.0, 'speed limit of a predicted body, m/s', range=(0.0, 20.0))
    velocity_s: float = setting(0.2, 'time constant of the velocity estimate', range=(0.001, 10.0))
    coast_s: float = setting(
        0.4, 'time constant with which a prediction stops', range=(0.001, 10.0)
    )
    depth_weight: float = setting(
        0.4, 'weight of distances along the viewing ray', range=(0.0, 1.0)
    )
    duplicate_2d: float = setting(0.1, 'poses closer than this are one person', range=(0.0, 1.0))
    duplicate_depth: float = setting(
        0.25, 'unless their depths differ by this share', range=(0.0, 1.0)
    )
    padding: float = setting(
        0.15, 'padding of predicted boxes, share of each side', range=(0.0, 2.0)
    )
    min_visible: float = setting(
        0.05, 'share of a box that must lie in the image', range=(0.0, 1.0)
    )
    remember_s: float = setting(
        8.0, 'somebody LOST who comes back within this gets the old id; 0: never', range=(0.0, 60.0)
    )

    def __post_init__(self) -> None:
        """Validate ranges."""
        check_fields(self)
