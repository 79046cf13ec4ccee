"""A z-buffer rasteriser on the CPU: skinning, visibility and shading of triangle meshes in numba.

Cameras look along +z (x right, y down), pixel centres are integers. One pass over the triangles
keeps, per pixel, the nearest triangle and its barycentric coordinates (hair textures are alpha
tested there); a second pass shades the kept fragments: texture times vertex colour, a sky-to-ground
ambient term, one directional light with a soft terminator, a small highlight. Everything is
sequential and seedless, so the same input gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from trpose_ros.data.rendering.bodies import Figure

NEAR_M = 0.08  # triangles with a corner nearer than this are left out


@dataclass(frozen=True)
class Light:
    """Light of a scene; directions in the world frame (z up), colours linear."""

    ambient_sky: np.ndarray  # (3,)
    ambient_ground: np.ndarray  # (3,)
    sun: np.ndarray  # (3,) colour
    direction: np.ndarray  # (3,) unit vector towards the light
    gloss: float = 0.05


@dataclass(frozen=True)
class Raster:
    """One rendered layer."""

    rgb: np.ndarray  # (H, W, 3) float32 linear 0..1 (may exceed 1)
    depth_m: np.ndarray  # (H, W) float32, inf where nothing was hit
    owner: np.ndarray  # (H, W) int16, number of the figure, -1 none


def random_light(rng: np.random.Generator) -> Light:
    """Draw a light: from overcast to a hard low sun, warm or cold."""
    warmth = rng.normal(0, 0.12)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(10, 80))
    direction = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    strength = rng.uniform(0.1, 1.1)
    ambient = rng.uniform(0.35, 0.85)
    return Light(
        ambient_sky=ambient * (2 - tint) * rng.uniform(0.95, 1.05, 3),
        ambient_ground=ambient * tint * rng.uniform(0.3, 0.7),
        sun=strength * tint,
        direction=direction,
        gloss=float(rng.uniform(0.0, 0.12)),
    )


def render(
    figures: list[Figure],
    matrices: list[np.ndarray],
    rotation: np.ndarray,
    position_m: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    light: Light,
    posed: list[np.ndarray] | None = None,
) -> Raster:
    """Render posed figures.

    matrices holds one (31, 3, 4) set of skinning transforms per figure; ``rotation`` (3, 3) turns
    world into camera directions, ``position_m`` is the camera's place in the world; size is
    (width, height). ``posed`` holds what posed_vertices gives, where it is known already. Returns a
    Raster of that size.
    """
    width, height = size
    inverse_depth = np.zeros((height, width), np.float32)
    owner = np.full((height, width), -1, np.int16)
    rgb = np.zeros((height, width, 3), np.float32)
    rotation = np.ascontiguousarray(rotation, np.float32)
    camera = np.asarray(position_m, np.float32)
    pinhole = np.array(
        [intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]], np.float32
    )
    lamp = np.stack([light.ambient_sky, light.ambient_ground, light.sun, light.direction])
    lamp = lamp.astype(np.float32)
    for number, (figure, bones) in enumerate(zip(figures, matrices, strict=True)):
        vertices = posed[number] if posed else posed_vertices(figure, bones)
        normals = _vertex_normals(vertices, figure.corner_vertex)
        seen = _to_camera(vertices, rotation, camera)
        triangle = np.full((height, width), -1, np.int32)
        bary = np.zeros((height, width, 2), np.float32)
        _rasterise(
            seen,
            figure.corner_vertex,
            figure.corner_uv,
            figure.material,
            figure.textures,
            figure.two_sided,
            figure.depth_bias,
            pinhole,
            inverse_depth,
            triangle,
            bary,
        )
        _shade(
            triangle,
            bary,
            seen,
            normals,
            figure.colour,
            figure.corner_vertex,
            figure.corner_uv,
            figure.material,
            figure.textures,
            lamp,
            np.float32(light.gloss),
            rotation,
            pinhole,
            rgb,
            owner,
            number,
        )
    with np.errstate(divide='ignore'):
        depth = 1 / inverse_depth  # of zero, nothing hit: infinite
    return Raster(rgb=rgb, depth_m=depth, owner=owner)


def posed_vertices(figure: Figure, bones: np.ndarray) -> np.ndarray:
    """Return the (V, 3) float32 world vertices of a figure posed by (31, 3, 4) transforms."""
    return _skin(figure.rest, figure.weight_index, figure.weight, bones)


def to_camera(vertices: np.ndarray, rotation: np.ndarray, position_m: np.ndarray) -> np.ndarray:
    """Return (V, 3) float32 world vertices in the camera frame."""
    rotation = np.ascontiguousarray(rotation, np.float32)
    return _to_camera(vertices, rotation, np.asarray(position_m, np.float32))


@numba.njit(cache=True)
def bounds(points):
    """Return the smallest and the largest coordinates of (N, C) points, (2, C)."""
    out = np.empty((2, points.shape[1]), points.dtype)
    out[0] = points[0]
    out[1] = points[0]
    for n in range(points.shape[0]):
        for a in range(points.shape[1]):
            out[0, a] = min(out[0, a], points[n, a])
            out[1, a] = max(out[1, a], points[n, a])
    return out


@numba.njit(cache=True)
def image_bounds(seen, near):
    """Return bounds of x/z and y/z, (2, 2), of (V, 3) camera points; z is clipped at near."""
    out = np.array([[1e9, 1e9], [-1e9, -1e9]], np.float32)
    for n in range(seen.shape[0]):
        z = max(seen[n, 2], near)
        for a in range(2):
            value = seen[n, a] / z
            out[0, a] = min(out[0, a], value)
            out[1, a] = max(out[1, a], value)
    return out


@numba.njit(cache=True, fastmath=True)
def _skin(rest, index, weight, bones):
    out = np.empty_like(rest)
    for v in range(rest.shape[0]):
        x, y, z = rest[v, 0], rest[v, 1], rest[v, 2]
        for a in range(3):
            total = np.float32(0.0)
            for k in range(4):
                w = weight[v, k]
                if w > 0:
                    m = bones[index[v, k]]
                    total += w * (m[a, 0] * x + m[a, 1] * y + m[a, 2] * z + m[a, 3])
            out[v, a] = total
    return out


@numba.njit(cache=True, fastmath=True)
def _vertex_normals(vertices, corner):
    out = np.zeros_like(vertices)
    for t in range(corner.shape[0]):
        a, b, c = corner[t, 0], corner[t, 1], corner[t, 2]
        ux, uy = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1]
        vx, vy = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1]
        uz, vz = vertices[b, 2] - vertices[a, 2], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for v in range(out.shape[0]):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2) + 1e-12
        for i in range(3):
            out[v, i] /= length
    return out


@numba.njit(cache=True, fastmath=True)
def _to_camera(vertices, rotation, position):
    out = np.empty_like(vertices)
    for v in range(vertices.shape[0]):
        x = vertices[v, 0] - position[0]
        y = vertices[v, 1] - position[1]
        z = vertices[v, 2] - position[2]
        for a in range(3):
            out[v, a] = rotation[a, 0] * x + rotation[a, 1] * y + rotation[a, 2] * z
    return out


@numba.njit(cache=True, fastmath=True)
def _rasterise(
    seen,
    corner,
    uv,
    material,
    textures,
    two_sided,
    bias,
    pinhole,
    inverse_depth,
    triangle,
    bary,
):
    height, width = inverse_depth.shape
    fx, fy, cx, cy = pinhole
    side = textures.shape[1]
    for t in range(corner.shape[0]):
        a, b, c = corner[t, 0], corner[t, 1], corner[t, 2]
        za, zb, zc = seen[a, 2], seen[b, 2], seen[c, 2]
        if za < NEAR_M or zb < NEAR_M or zc < NEAR_M:
            continue
        xa, ya = fx * seen[a, 0] / za + cx, fy * seen[a, 1] / za + cy
        xb, yb = fx * seen[b, 0] / zb + cx, fy * seen[b, 1] / zb + cy
        xc, yc = fx * seen[c, 0] / zc + cx, fy * seen[c, 1] / zc + cy
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        m = material[t]
        # With y down, outward (counter-clockwise) faces have negative area when seen from outside.
        if area > -1e-9 and not two_sided[m]:
            continue
        if abs(area) < 1e-9:
            continue
        x0 = max(0, int(np.ceil(min(xa, xb, xc))))
        x1 = min(width - 1, int(np.floor(max(xa, xb, xc))))
        y0 = max(0, int(np.ceil(min(ya, yb, yc))))
        y1 = min(height - 1, int(np.floor(max(ya, yb, yc))))
        if x0 > x1 or y0 > y1:
            continue
        inverse = 1.0 / area
        wa, wb, wc = 1.0 / (za + bias[m]), 1.0 / (zb + bias[m]), 1.0 / (zc + bias[m])
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                lb = ((x - xa) * (yc - ya) - (xc - xa) * (y - ya)) * inverse
                lc = ((xb - xa) * (y - ya) - (x - xa) * (yb - ya)) * inverse
                la = 1.0 - lb - lc
                if la < -1e-5 or lb < -1e-5 or lc < -1e-5:
                    continue
                w = la * wa + lb * wb + lc * wc
                if w <= inverse_depth[y, x]:
                    continue
                pb, pc = lb * wb / w, lc * wc / w
                pa = 1.0 - pb - pc
                u = pa * uv[t, 0, 0] + pb * uv[t, 1, 0] + pc * uv[t, 2, 0]
                v = pa * uv[t, 0, 1] + pb * uv[t, 1, 1] + pc * uv[t, 2, 1]
                column = int(u * side) % side
                row = int((1.0 - v) * side) % side
                if textures[m, row, column, 3] < 110:
                    continue
                inverse_depth[y, x] = w
                triangle[y, x] = t
                bary[y, x, 0] = pb
                bary[y, x, 1] = pc


@numba.njit(cache=True, fastmath=True)
def _shade(
    triangle,
    bary,
    seen,
    normals,
    colour,
    corner,
    uv,
    material,
    textures,
    lamp,
    gloss,
    rotation,
    pinhole,
    rgb,
    owner,
    number,
):
    height, width = triangle.shape
    side = textures.shape[1]
    for y in range(height):
        for x in range(width):
            t = triangle[y, x]
            if t < 0:
                continue
            owner[y, x] = number
            pb, pc = bary[y, x, 0], bary[y, x, 1]
            pa = 1.0 - pb - pc
            a, b, c = corner[t, 0], corner[t, 1], corner[t, 2]
            nx = pa * normals[a, 0] + pb * normals[b, 0] + pc * normals[c, 0]
            ny = pa * normals[a, 1] + pb * normals[b, 1] + pc * normals[c, 1]
            nz = pa * normals[a, 2] + pb * normals[b, 2] + pc * normals[c, 2]
            # The viewing ray in world directions, to turn back faces of cloth and hair around.
            rx, ry = (x - pinhole[2]) / pinhole[0], (y - pinhole[3]) / pinhole[1]
            vx = rotation[0, 0] * rx + rotation[1, 0] * ry + rotation[2, 0]
            vy = rotation[0, 1] * rx + rotation[1, 1] * ry + rotation[2, 1]
            vz = rotation[0, 2] * rx + rotation[1, 2] * ry + rotation[2, 2]
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
            facing = nx * vx + ny * vy + nz * vz
            sign = (1.0 if facing <= 0 else -1.0) / length
            nx, ny, nz = nx * sign, ny * sign, nz * sign
            view = 1.0 / np.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx * view, vy * view, vz * view
            towards = nx * lamp[3, 0] + ny * lamp[3, 1] + nz * lamp[3, 2]
            diffuse = max(0.0, (towards + 0.25) / 1.25)
            grazing = 1.0 + (nx * vx + ny * vy + nz * vz)
            # Half vector between the light and the direction back to the camera.
            hx, hy, hz = lamp[3, 0] - vx, lamp[3, 1] - vy, lamp[3, 2] - vz
            half = (nx * hx + ny * hy + nz * hz) / (np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-6)
            shine = gloss * max(0.0, half) ** 24 * (diffuse > 0)
            up = 0.5 + 0.5 * nz
            dim = 1.0 - 0.35 * max(0.0, grazing) ** 3
            u = pa * uv[t, 0, 0] + pb * uv[t, 1, 0] + pc * uv[t, 2, 0]
            v = pa * uv[t, 0, 1] + pb * uv[t, 1, 1] + pc * uv[t, 2, 1]
            m = material[t]
            column = int(u * side) % side
            row = int((1.0 - v) * side) % side
            for k in range(3):
                texel = textures[m, row, column, k] * (1.0 / 255.0)
                tint = pa * colour[a, k] + pb * colour[b, k] + pc * colour[c, k]
                ambient = (lamp[0, k] * up + lamp[1, k] * (1 - up)) * dim
                lit = ambient + lamp[2, k] * diffuse
                rgb[y, x, k] = texel * texel * tint * lit + shine * lamp[2, k]
