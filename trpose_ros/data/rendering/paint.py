"""Paint for rendered people: skin tones, hair, cloth textures, and clothes painted onto the skin.

The pack has no photographs of skin and few garments. Tones are mixed from tables, textures of
garments are tinted or patterned, and tight clothes are painted on the vertices of the skin mesh,
moved out a little. Colours on vertices are linear, textures are sRGB 0..255.
"""

from __future__ import annotations

import cv2
import numpy as np

TEXTURE_SIDE = 256

# Tones from light to dark, sRGB; a person is somewhere between two neighbours.
SKIN_TONES = np.array(
    [
        [238, 203, 180],
        [224, 178, 148],
        [198, 146, 112],
        [158, 106, 76],
        [112, 72, 52],
        [80, 52, 40],
    ],
    np.float32,
)
HAIR_TONES = np.array(
    [[28, 22, 20], [52, 36, 26], [92, 62, 40], [140, 100, 60], [190, 150, 96], [120, 120, 122]],
    np.float32,
)


def srgb_to_linear(colour: np.ndarray) -> np.ndarray:
    """Return 0..255 sRGB as linear 0..1, with the exponent 2 that the shader inverts."""
    return np.square(np.asarray(colour, np.float32) / 255.0)


def between(tones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a colour (3,) 0..255 somewhere between two neighbours of a table (T, 3)."""
    position = rng.uniform(0, len(tones) - 1)
    low = int(position)
    share = position - low
    mixed = tones[low] * (1 - share) + tones[min(low + 1, len(tones) - 1)] * share
    return mixed * rng.uniform(0.94, 1.06, 3).astype(np.float32)


def cloth_tone(rng: np.random.Generator) -> np.ndarray:
    """Return a colour (3,) 0..255, mostly muted: people seldom wear pure primaries."""
    colour = rng.uniform(10, 245, 3)
    share = rng.uniform(0.15, 0.9)
    return (colour.mean() + (colour - colour.mean()) * share).astype(np.float32)


def plain_texture(colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a (256, 256, 4) uint8 texture of one colour with a little grain."""
    texture = np.full((TEXTURE_SIDE, TEXTURE_SIDE, 4), 255, np.uint8)
    grain = cv2.resize(rng.normal(1, 0.12, (64, 64)).astype(np.float32), (TEXTURE_SIDE,) * 2)
    texture[..., :3] = np.clip(colour * grain[..., None], 0, 255)
    return texture


def gained(texture: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return an RGBA texture with its colours multiplied by ``gain``."""
    out = texture.copy()
    out[..., :3] = np.clip(texture[..., :3].astype(np.float32) * gain, 0, 255)
    return out


def tinted(texture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Keep the folds of a texture (its lightness), replace its colour."""
    light = texture[..., :3].astype(np.float32).mean(axis=2)
    solid = texture[..., 3] > 127
    relative = light / max(float(light[solid].mean()) if solid.any() else 1.0, 20.0)
    out = texture.copy()
    out[..., :3] = np.clip(relative[..., None] ** 0.8 * colour, 0, 255)
    return out


def procedural_pattern(rng: np.random.Generator) -> np.ndarray:
    """Return a (256, 256, 3) float32 cloth pattern 0..255: stripes, checks, dots or blotches."""
    side = TEXTURE_SIDE
    first, second = cloth_tone(rng), cloth_tone(rng)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    kind = int(rng.integers(5))
    period = float(rng.choice([8, 12, 16, 24, 32, 48]))
    if kind == 0:
        mask = (y % period) < period * rng.uniform(0.2, 0.7)
    elif kind == 1:
        mask = (x % period) < period * rng.uniform(0.2, 0.7)
    elif kind == 2:
        mask = ((x % period) < period / 2) ^ ((y % period) < period / 2)
    elif kind == 3:
        mask = np.hypot(x % period - period / 2, y % period - period / 2) < period * 0.3
    else:
        noise = cv2.resize(rng.normal(size=(12, 12)).astype(np.float32), (side, side))
        mask = noise > 0
    return np.where(mask[..., None], first, second).astype(np.float32)


def skin_colour(vertices: np.ndarray, body: dict, rng: np.random.Generator) -> np.ndarray:
    """Return the linear colours (V, 3) of skin: one tone, blotches, redder hands, feet, head."""
    tone = srgb_to_linear(np.clip(between(SKIN_TONES, rng), 20, 250))
    phase = rng.uniform(0, 6.28, (6, 1)).astype(np.float32)
    wave = rng.normal(0, 1, (6, 3)).astype(np.float32)
    wave *= np.array([8, 8, 8, 25, 25, 25], np.float32)[:, None]
    blotch = np.sin(wave @ vertices.T + phase).mean(axis=0)
    colour = tone * (1 + 0.10 * blotch[:, None])
    extremity = _share(body, ('LeftHand', 'RightHand', 'Head', 'LeftFoot', 'RightFoot'))
    reddish = np.array([1.06, 0.95, 0.92], np.float32)
    return (colour * (1 + extremity[:, None] * (reddish - 1))).astype(np.float32)


def _share(body: dict, bones: tuple[str, ...]) -> np.ndarray:
    wanted = np.isin(body['joint_names'], bones)
    return (wanted[body['weight_index']] * body['weight'].astype(np.float32)).sum(axis=1)


def paint_face(colour, vertices, body, hair_colour, rng) -> None:
    """Paint brows, lips and a close-cropped scalp onto the skin vertices, in place."""
    eyes = vertices[np.unique(body['render_vert'][body['is_eye']])]
    eye_x, eye_z = float(np.abs(eyes[:, 0]).mean()), float(eyes[:, 2].mean())
    front = float(eyes[:, 1].min())
    x = np.abs(vertices[:, 0])
    y, z = vertices[:, 1], vertices[:, 2]
    face = y < front + 0.03
    brow = face & (np.abs(z - eye_z - 0.021) < 0.006) & (np.abs(x - eye_x) < 0.022)
    lips = face & (np.abs(z - eye_z + 0.072) < 0.008) & (x < 0.024)
    colour[brow] *= 0.35 + 0.2 * srgb_to_linear(hair_colour)
    colour[lips] *= np.array([0.85, 0.55, 0.55], np.float32)
    if rng.random() < 0.75:  # hair roots below the hair mesh, or a shaved head
        scalp = (_share(body, ('Head',)) > 0.5) & (z > eye_z + 0.045)
        scalp |= (_share(body, ('Head',)) > 0.5) & (z > eye_z - 0.03) & (y > front + 0.09)
        colour[scalp] = srgb_to_linear(hair_colour) * 0.8 + colour[scalp] * 0.2


def paint_clothes(colour, vertices, body, shape, rng) -> np.ndarray:
    """Paint tight clothes onto the skin in place; return how far each vertex moves out (m)."""
    heads = dict(zip((str(n) for n in body['joint_names']), body['joint_head'][shape], strict=True))
    trunk = ('LowerBack', 'Spine', 'Spine1', 'LeftShoulder', 'RightShoulder')
    arms = ('LeftArm', 'RightArm', 'LeftForeArm', 'RightForeArm')
    legs = ('LeftUpLeg', 'RightUpLeg', 'LeftLeg', 'RightLeg')
    reach = np.abs(vertices[:, 0])
    shoulder, wrist = heads['LeftArm'][0], heads['LeftHand'][0]
    sleeve = float(rng.choice([0.0, 0.3, 0.45, 0.95]))
    top = (_share(body, trunk) > 0.5) | (
        (_share(body, (*arms, *trunk)) > 0.5) & (reach < shoulder + sleeve * (wrist - shoulder))
    )
    neck = heads['Neck'][2] - 0.01
    top &= vertices[:, 2] < neck + 0.15 * (vertices[:, 1] + 0.05)
    ankle, hip = heads['LeftFoot'][2], heads['LeftUpLeg'][2]
    cut = ankle + float(rng.choice([0.02, 0.12, 0.5, 0.75])) * (hip - ankle)
    waist = heads['LowerBack'][2] + 0.02
    bottom = (_share(body, (*legs, 'Hips', 'LHipJoint', 'RHipJoint')) > 0.4) | (
        (_share(body, ('LowerBack',)) > 0.3) & (vertices[:, 2] < waist)
    )
    bottom &= (vertices[:, 2] > cut) & (vertices[:, 2] < waist + 0.03) & (reach < 0.45)
    if not (top.any() and bottom.any()):
        raise ValueError(f'body {shape} of the pack has no trunk or leg vertices')
    fold = 1 + 0.06 * np.sin(vertices @ rng.normal(0, 60, 3).astype(np.float32))[:, None]
    for region in (top, bottom):
        tone = srgb_to_linear(cloth_tone(rng))
        colour[region] = (tone * fold[region]).astype(np.float32)
    if rng.random() < 0.4:  # stripes across the shirt
        band = top & ((vertices[:, 2] * rng.uniform(6, 18)) % 1.0 < 0.4)
        colour[band] = srgb_to_linear(cloth_tone(rng))
    inflate = np.where(top, rng.uniform(0.004, 0.012), 0.0)
    return np.where(bottom, rng.uniform(0.004, 0.014), inflate).astype(np.float32)


def inflated(vertices: np.ndarray, corner: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Return vertices (V, 3) moved ``amount`` (V,) metres along their normals."""
    if not amount.any():
        return vertices
    a, b, c = (vertices[corner[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    normal = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(normal, corner[:, i], face)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return vertices + normal * amount[:, None]
