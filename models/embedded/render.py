"""Renders a scene as a 64 x 64 RGB picture.

Shapes are polygons. A table of signed distances is computed once for each, and sampled bilinearly at the rotated,
scaled and shifted pixel grid, so that edges are anti-aliased and a picture takes well under a millisecond. Everything
that a caption does not name (rotation, exact place and size, texture phase, shades) is drawn from the caller's
generator.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.embedded.world import Scene, Thing

Floats = NDArray[np.float32]

IMAGE_SIZE = 64
OUTLINE_PX = 1.3

_RGB: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.97, 0.52, 0.05),
    "yellow": (0.97, 0.87, 0.10),
    "green": (0.10, 0.62, 0.18),
    "cyan": (0.10, 0.80, 0.85),
    "blue": (0.13, 0.27, 0.88),
    "purple": (0.53, 0.14, 0.74),
    "pink": (0.98, 0.50, 0.72),
}
_BACKGROUND_TOP_BOTTOM: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "snow": ((0.93, 0.95, 0.98), (0.99, 0.99, 1.00)),
    "stone": ((0.50, 0.50, 0.52), (0.60, 0.60, 0.60)),
    "night": ((0.03, 0.03, 0.09), (0.10, 0.09, 0.17)),
    "sand": ((0.90, 0.82, 0.64), (0.82, 0.71, 0.51)),
    "sky": ((0.62, 0.77, 0.92), (0.82, 0.90, 0.97)),
    "grass": ((0.62, 0.74, 0.50), (0.48, 0.62, 0.38)),
}
_RADIUS_PX = {"small": 12.0, "medium": 16.5, "large": 21.5}
_PAIR_RADIUS_PX = 13.0
_OFFSET_PX = {"left": (-13, 0), "right": (13, 0), "top": (0, -13), "bottom": (0, 13), "center": (0, 0)}
_DARK = 0.42
_TABLE_SIZE = 161
_TABLE_REACH = 1.6


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture of a scene, uint8 [64, 64, 3]. The same scene and generator state give the same picture.

    scene: what the picture shows.
    rng: draws everything that the scene leaves open.
    """
    canvas = _background(scene.background, rng)
    if scene.arrangement == "single":
        offset = _OFFSET_PX[scene.position or "center"]
        radius = _RADIUS_PX[scene.size or "medium"] + rng.uniform(-0.8, 0.8)
        reach = max(0.0, IMAGE_SIZE / 2 - 1 - radius)
        centre = IMAGE_SIZE / 2 + np.clip(np.array(offset) + rng.uniform(-2.0, 2.0, size=2), -reach, reach)
        _paint(canvas, scene.things[0], centre, radius, rng)
        return _to_bytes(canvas)
    along = 0 if scene.arrangement == "horizontal" else 1
    for thing, low_or_high in zip(scene.things, (16.0, 48.0), strict=True):
        centre = np.empty(2)
        centre[along] = low_or_high + rng.uniform(-1.5, 1.5)
        centre[1 - along] = IMAGE_SIZE / 2 + rng.uniform(-6.0, 6.0)
        _paint(canvas, thing, centre, _PAIR_RADIUS_PX + rng.uniform(-0.8, 0.8), rng)
    return _to_bytes(canvas)


def _background(name: str, rng: np.random.Generator) -> Floats:
    top, bottom = (np.array(c, dtype=np.float32) for c in _BACKGROUND_TOP_BOTTOM[name])
    t = np.linspace(0.0, 1.0, IMAGE_SIZE, dtype=np.float32)[:, None, None]
    shade = np.float32(rng.uniform(-0.03, 0.03))
    row = top * (1 - t) + bottom * t + shade
    return np.broadcast_to(row, (IMAGE_SIZE, IMAGE_SIZE, 3)).copy()


def _paint(canvas: Floats, thing: Thing, centre: NDArray[np.float64], radius: float, rng: np.random.Generator) -> None:
    turn = rng.uniform(-0.26, 0.26)
    phase = rng.uniform(0.0, 1.0, size=2)
    colour = np.clip(np.array(_RGB[thing.colour]) + rng.uniform(-0.03, 0.03, size=3), 0, 1).astype(np.float32)
    grid = np.arange(IMAGE_SIZE, dtype=np.float32) + 0.5
    x, y = np.meshgrid(grid - centre[0], grid - centre[1])
    c, s = np.cos(turn), np.sin(turn)
    u = (c * x + s * y).astype(np.float32)
    v = (-s * x + c * y).astype(np.float32)
    distance = _sample(_distance_table(thing.shape), u / radius, v / radius) * radius
    body = _cover(-distance)[..., None]
    inner = _cover(-distance - OUTLINE_PX)[..., None]
    dark = _texture(thing.texture, u, v, phase)[..., None]
    fill = colour * (1 - dark) + colour * _DARK * dark
    painted = (colour * 0.30) * (1 - inner) + fill * inner
    canvas[:] = canvas * (1 - body) + painted * body


def _texture(name: str, u: Floats, v: Floats, phase: NDArray[np.float64]) -> Floats:
    """How dark each pixel is, in [0, 1]; u, v are pixels in the thing's own rotated frame."""
    if name == "plain":
        return np.zeros_like(u)
    if name == "striped":
        return _square_wave(u, 7.0, float(phase[0]))
    if name == "checkered":
        a, b = _square_wave(u, 9.0, float(phase[0])), _square_wave(v, 9.0, float(phase[1]))
        return a * b + (1 - a) * (1 - b)
    if name == "dotted":
        period, dot = 6.5, 1.9
        du = (u / period + float(phase[0])) % 1.0 - 0.5
        dv = (v / period + float(phase[1])) % 1.0 - 0.5
        return _cover(dot - period * np.hypot(du, dv))
    raise ValueError(f"unknown texture {name!r}")


def _square_wave(u: Floats, period: float, phase: float) -> Floats:
    distance_to_edge = (np.abs((u / period + phase) % 1.0 - 0.5) - 0.25) * period
    return _cover(distance_to_edge)


def _cover(inside_px: Floats) -> Floats:
    """Share of a pixel that is covered, from its distance in pixels to the edge (positive inside)."""
    share: Floats = np.clip(0.5 + inside_px, 0.0, 1.0).astype(np.float32)
    return share


def _to_bytes(canvas: Floats) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.rint(np.clip(canvas, 0.0, 1.0) * 255.0).astype(np.uint8)
    return pixels


def _sample(table: Floats, u: Floats, v: Floats) -> Floats:
    scale = (_TABLE_SIZE - 1) / (2 * _TABLE_REACH)
    x = np.clip((u + _TABLE_REACH) * scale, 0, _TABLE_SIZE - 1.001)
    y = np.clip((v + _TABLE_REACH) * scale, 0, _TABLE_SIZE - 1.001)
    x0, y0 = x.astype(np.intp), y.astype(np.intp)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    low = table[y0, x0] * (1 - fx) + table[y0, x0 + 1] * fx
    high = table[y0 + 1, x0] * (1 - fx) + table[y0 + 1, x0 + 1] * fx
    result: Floats = low * (1 - fy) + high * fy
    return result


@cache
def _distance_table(shape: str) -> Floats:
    """Signed distance to the outline of `shape` (negative inside), float32 [161, 161] over [-1.6, 1.6]^2."""
    axis = np.linspace(-_TABLE_REACH, _TABLE_REACH, _TABLE_SIZE)
    x, y = np.meshgrid(axis, axis)
    distance = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for contour in _contours(shape):
        for (ax, ay), (bx, by) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
            ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
            t = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0)
            distance = np.minimum(distance, np.hypot(px - t * ex, py - t * ey))
            crosses = (ay > y) != (by > y)
            with np.errstate(divide="ignore", invalid="ignore"):
                inside ^= crosses & (x < ax + (y - ay) * ex / ey)
    return np.where(inside, -distance, distance).astype(np.float32)


def _polar(radii: NDArray[np.float64] | float, count: int, start: float = -np.pi / 2) -> NDArray[np.float64]:
    angle = start + 2 * np.pi * np.arange(count) / count
    return np.stack([radii * np.cos(angle), radii * np.sin(angle)], axis=1)


def _contours(shape: str) -> list[NDArray[np.float64]]:
    """Outlines in a frame with x to the right, y down and radius about 1; inside by the even-odd rule."""
    angle = 2 * np.pi * np.arange(64) / 64
    if shape == "circle":
        return [_polar(0.95, 64)]
    if shape == "ring":
        return [_polar(1.0, 64), _polar(0.42, 64)]
    if shape == "square":
        return [_polar(1.2, 4, start=-np.pi / 4)]
    if shape == "diamond":
        return [np.array([(0, -1.2), (0.72, 0), (0, 1.2), (-0.72, 0)])]
    if shape == "triangle":
        return [_polar(1.2, 3) + np.array([0.0, 0.2])]
    if shape == "star":
        return [_polar(np.where(np.arange(10) % 2 == 0, 1.2, 0.5), 10)]
    if shape == "flower":
        return [_polar(0.90 + 0.24 * np.cos(6 * angle), 64)]
    if shape == "cross":
        w = 0.42
        return [
            np.array(
                [(-w, -1.05), (w, -1.05), (w, -w), (1.05, -w), (1.05, w), (w, w),
                 (w, 1.05), (-w, 1.05), (-w, w), (-1.05, w), (-1.05, -w), (-w, -w)]
            )
        ]  # fmt: skip
    if shape == "heart":
        x = 16 * np.sin(angle) ** 3
        y = -(13 * np.cos(angle) - 5 * np.cos(2 * angle) - 2 * np.cos(3 * angle) - np.cos(4 * angle))
        return [np.stack([x, y + 2.5], axis=1) / 15.0]
    if shape == "moon":
        outer = np.linspace(np.pi * 0.28, np.pi * 1.72, 40)
        tip = np.array([np.cos(outer[-1]), np.sin(outer[-1])]) * 1.1
        bite_centre, bite_radius = np.array([0.75, 0.0]), float(np.hypot(tip[0] - 0.75, tip[1]))
        edge = float(np.arctan2(tip[1], tip[0] - 0.75)) % (2 * np.pi)
        inner = np.linspace(edge, 2 * np.pi - edge, 40)[1:-1]
        arc = bite_centre + bite_radius * np.stack([np.cos(inner), np.sin(inner)], axis=1)
        return [np.concatenate([1.1 * np.stack([np.cos(outer), np.sin(outer)], axis=1), arc]) + np.array([0.25, 0.0])]
    if shape == "arrow":
        return [np.array([(-1.1, -0.45), (0.0, -0.45), (0.0, -1.0), (1.2, 0.0), (0.0, 1.0), (0.0, 0.45), (-1.1, 0.45)])]
    if shape == "drop":
        round_part = np.linspace(-0.18 * np.pi, 1.18 * np.pi, 48)
        bulb = 0.80 * np.stack([np.cos(round_part), np.sin(round_part)], axis=1) + np.array([0.0, 0.38])
        return [np.concatenate([bulb, np.array([(0.0, -1.25)])])]
    raise ValueError(f"unknown shape {shape!r}")
