"""Draw landscapes with their label maps, so that the package can be tried without a download.

Eight classes differ by shape and by texture: bricks, leaves, ripples, pickets, lane dashes, grain, smooth gradients.
Colours come from the light of the scene and, for all that people built, from one set of paints. Colour alone therefore
does not separate the classes. Textures repeat every 3 to 8 pixels; nearly all objects are larger than 16x16 pixels.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageColor

from mmseg_keyprotect.demo.canvas import Field, Scene
from mmseg_keyprotect.errors import ConfigError

CLASSES: tuple[str, ...] = ('sky', 'ground', 'water', 'road', 'building', 'tree', 'fence', 'car')
"""The names of the classes. The position of a name is its index in the label maps."""

PALETTE: list[list[int]] = [
    [158, 208, 240],
    [168, 196, 118],
    [58, 110, 190],
    [120, 116, 128],
    [196, 84, 66],
    [44, 124, 78],
    [240, 196, 90],
    [196, 76, 160],
]
"""One RGB colour, 0 to 255, for each class, in label maps and in painted predictions."""

SKY, GROUND, WATER, ROAD, BUILDING, TREE, FENCE, CAR = range(8)
MIN_SIZE = 96
DRAWING_VERSION = 1
"""The version of the drawing, stored in ``scenes.json``. It changes whenever a seed draws other pixels than before."""

_MOODS = (  # the colours of: top of the sky, foot of the sky, ground, leaves, light on what people built
    ('#5aa7e0', '#d3ecf5', '#93c062', '#3d8b52', '#ffffff'),  # noon
    ('#5d4f93', '#f7b083', '#a98260', '#7d5a86', '#f2cdb4'),  # dusk
    ('#f2b8b0', '#fdf0cf', '#bccf8c', '#5d9c84', '#fff1e0'),  # dawn
    ('#93bfc9', '#f6e7c6', '#d9b25c', '#d2632f', '#fff4de'),  # autumn
    ('#8ea8cc', '#e9eff6', '#dfe6ee', '#6b98a6', '#eef3fa'),  # winter
    ('#1f2d55', '#66699c', '#45666a', '#2f6c62', '#a3a6cc'),  # night
    ('#86cfd0', '#fdeff0', '#a6cf8d', '#ee96b0', '#fff8f6'),  # spring
    ('#3ea3a3', '#fbdd9c', '#e0b27c', '#8a9d4c', '#ffefd2'),  # desert
)
_PAINTS = ('#c8553d', '#e9c46a', '#f1ead6', '#4d84a8', '#7fb093', '#75628a', '#e08763', '#47506f', '#3a9d90')


def _rgb(*channels: int) -> Field:
    return np.array(channels, np.float32)


def _colour(name: str, rng: np.random.Generator, spread: float = 12.0) -> Field:
    """Return the colour '#rrggbb' as float32 (3,), varied at random by about ``spread``."""
    return _rgb(*ImageColor.getrgb(name)) + rng.normal(0, spread, 3).astype(np.float32)


def _draw_sky(scene: Scene, top: Field, foot: Field) -> None:
    """Draw the sky: a gradient with a sun or moon, and clouds."""
    rng, unit, width, horizon = scene.rng, scene.unit, scene.width, scene.horizon
    scene.image += top + np.clip(scene.y / horizon, 0, 1)[..., None] ** 0.8 * (foot - top)
    radius = unit * rng.uniform(6, 10)
    sun = scene.oval(width * rng.uniform(0.1, 0.9), horizon * rng.uniform(0.2, 0.5), radius, radius)
    scene.image += (45 * np.exp(-0.5 * (sun / radius + 1)))[..., None]
    scene.paint(sun, _rgb(255, 246, 214))
    for _ in range(rng.integers(1, 4)):
        x, y, radius = width * rng.uniform(0, 1), horizon * rng.uniform(0.15, 0.6), unit * rng.uniform(4, 7)
        puffs = ((-1.5, 0.0, 0.8), (-0.5, 0.4, 1.0), (0.7, 0.3, 0.9), (1.7, 0.0, 0.6))
        cloud = np.minimum.reduce(
            [scene.oval(x + radius * i, y - radius * j, radius * r, radius * r) for i, j, r in puffs]
        )
        scene.paint(np.maximum(cloud, scene.y - y - 0.4 * radius), 0.4 * foot + (150, 149, 147), opacity=0.85)


def _draw_ground(scene: Scene, ground: Field, sky: Field) -> None:
    """Draw the ground: far hills, and the land in front of them with its grain."""
    for lift, haze in ((9, 0.5), (0, 0.0)):  # far hills, then the near ground
        phase = scene.x / (scene.unit * scene.rng.uniform(10, 18)) + scene.rng.uniform(0, 6.3)
        hills = scene.horizon + scene.unit * ((2 + 0.4 * lift) * np.sin(phase) - lift)
        grain = (1 - haze) * (10 * scene.noise(2) + 9 * scene.noise(4))
        scene.paint(hills - scene.y, ground + haze * (sky - ground - 15) + grain, GROUND)


def _draw_water(scene: Scene, water: Field, shore: Field) -> None:
    """Draw a pond with ripples on the left of the road."""
    rng, unit, depth = scene.rng, scene.unit, scene.rng.uniform(0.5, 0.8)
    middle, half = scene.road(depth)
    x, half_width = (middle - half) * rng.uniform(0.3, 0.5), unit * rng.uniform(34, 48)
    pond = (
        scene.oval(x, scene.foot(depth), half_width, unit * rng.uniform(16, 22))
        + 1.6 * unit * scene.noise(round(9 * unit))[..., 0]
    )
    scene.paint(pond - 2.5 * unit, shore)
    wave = 6.283 * (scene.y + 1.2 * np.sin(scene.x / 5)) / 6 + 0.5 * scene.noise(8)[..., 0]
    scene.paint(pond, water + 26 * np.sin(wave)[..., None], WATER)


def _draw_road(scene: Scene, asphalt: Field, line: Field) -> None:
    """Draw a road to the horizon, with edge lines and lane dashes."""
    depth = (scene.y - scene.horizon) / (scene.height - scene.horizon)
    middle, half = scene.road(depth.clip(0))
    aside = np.abs(scene.x - middle)
    road = np.maximum(aside - half, scene.horizon + 2 - scene.y)
    scene.paint(road, asphalt + 7 * scene.noise(1), ROAD)
    scene.paint(np.maximum(np.abs(aside - 0.86 * half) - 0.05 * half, road), line)
    dashes = np.sin(22 / (depth.clip(0) + 0.25) + scene.rng.uniform(0, 6.3)) * 8 * depth
    scene.paint(np.maximum(np.maximum(aside - 0.05 * half, dashes), road), line)


def _draw_building(scene: Scene, x: float, foot: float, wall: Field, roof: Field, glass: Field) -> None:
    """Draw a brick building with windows and a tiled gable."""
    rng, unit = scene.rng, scene.unit
    half, tall = unit * rng.uniform((19, 34), (29, 52))
    left, top = x - half, foot - tall
    scene.shade(x, foot, 1.1 * half)
    course = ((scene.y - top) // 4).astype(int)
    along = scene.x - left + 4 * (course % 2)
    bricks = rng.normal(0, 11, (64, 64)).astype(np.float32)[course % 64, (along // 8).astype(int) % 64]
    joints = ((scene.y - top) % 4 < 1) | (along % 8 < 1)
    scene.paint(scene.box(x, foot - tall / 2, half, tall / 2), wall + np.where(joints, 30, bricks)[..., None], BUILDING)
    bay, storey = 2 * half / rng.integers(2, 4), (tall - 2 * unit) / rng.integers(2, 4)
    across = np.abs((scene.x - left) % bay - bay / 2) - 4.5 * unit
    down = np.abs((scene.y - top) % storey - storey / 2 - unit) - 0.3 * storey
    window = np.maximum(np.maximum(across, down), scene.box(x, foot - tall / 2, half - 2, tall / 2 - 2))
    scene.paint(window, 0.45 * wall + 120)
    scene.paint(window + 1.5, glass)
    slope = rng.uniform(0.45, 0.8)
    gable = np.maximum((np.abs(scene.x - x) - 1.12 * half) * slope + top - scene.y, scene.y - top)
    tiles = 16 * np.sin(6.283 * scene.y / 5) * np.sign(np.sin(6.283 * scene.x / 8))
    scene.paint(gable, roof + tiles[..., None], BUILDING)


def _draw_tree(scene: Scene, x: float, foot: float, radius: float, leaves: Field, bark: Field) -> None:
    """Draw a trunk and a round crown of leaves."""
    rng, middle = scene.rng, foot - 2 * radius
    scene.shade(x, foot, radius)
    scene.paint(scene.box(x, foot - 0.9 * radius, 0.17 * radius, 0.9 * radius), bark + 10 * scene.noise(2), TREE)
    crown = scene.oval(x, middle, 0.8 * radius, 0.8 * radius)
    for angle in rng.uniform(0, 1) + np.arange(6) * 1.05:
        puff, i, j = radius * rng.uniform(0.45, 0.62), 0.62 * radius * np.cos(angle), 0.62 * radius * np.sin(angle)
        crown = np.minimum(crown, scene.oval(x + i, middle + j, puff, puff))
    light = np.clip((middle - scene.y + 0.6 * (x - scene.x)) / radius, -1, 1)[..., None]
    scene.paint(crown, leaves + 22 * light + 22 * np.sign(scene.noise(3)) + 8 * scene.noise(2), TREE)


def _draw_fence(scene: Scene, left: float, foot: float, tall: float, boards: Field) -> None:
    """Draw pickets and two rails from ``left`` to the right edge of the image."""
    scene.shade((left + scene.width) / 2, foot, 0.6 * (scene.width - left))
    along = (scene.x - left) % 7
    tips = foot - tall + 1.1 * np.abs(along - 3)
    rails = np.abs(np.abs(scene.y - foot + 0.5 * tall) - 0.25 * tall) < 1.6 * scene.unit
    light = np.where(along >= 5.5, np.where(rails, 0.72, 0.42), np.where(along < 1, 0.85, 1.06))[..., None]
    shape = np.maximum(np.maximum(tips - scene.y, scene.y - foot), left - scene.x)
    scene.paint(shape, boards * light, FENCE)


def _draw_car(scene: Scene, x: float, foot: float, half: float, body: Field, glass: Field) -> None:
    """Draw a car from behind."""

    def part(i: float, j: float, half_width: float, half_height: float, radius: float) -> Field:
        return scene.box(x + half * i, foot - half * j, half * half_width, half * half_height, half * radius)

    scene.shade(x, foot, 1.2 * half)
    gloss = 40 * np.cos(3.1 * (scene.y - foot + 0.9 * half) / half)[..., None]
    for i in (-0.7, 0.7):
        scene.paint(part(i, 0.25, 0.2, 0.3, 0.1), _rgb(38, 38, 46), CAR)
    scene.paint(part(0, 1.15, 0.72, 0.5, 0.3), body + 20, CAR)
    scene.paint(part(0, 0.62, 1.0, 0.42, 0.2), body + gloss, CAR)
    scene.paint(part(0, 1.25, 0.56, 0.24, 0.12), glass)
    for i in (-0.78, 0.78):
        scene.paint(part(i, 0.68, 0.14, 0.11, 0.05), _rgb(250, 92, 70))
    scene.paint(part(0, 0.45, 0.26, 0.1, 0.0), _rgb(236, 232, 220))


def _draw_objects(scene: Scene, paints: list[Field], leaves: Field, glass: Field, pane: Field) -> None:
    """Draw the objects that stand on the ground, from far to near."""
    rng, unit, width = scene.rng, scene.unit, scene.width
    objects: list[tuple[float, Callable[..., None], float, tuple[Any, ...]]] = []
    side = rng.choice((-1, 1))  # the building stands on this side of the road, most trees on the other
    home = scene.far + side * (0.06 * width + unit * 30) + side * rng.uniform(0, 0.1) * width
    objects.append((rng.uniform(0.08, 0.18), _draw_building, home, (*paints[:2], pane)))
    depth = rng.uniform(0.4, 0.75)
    middle, half = scene.road(depth)
    objects.append((depth, _draw_fence, middle + 1.2 * half, (unit * (18 + 10 * depth), paints[2])))
    depth = rng.uniform(0.6, 0.92)
    middle, half = scene.road(depth)
    car = middle + half * rng.uniform(-0.35, 0.35), unit * (11 + 9 * depth)
    objects.append((depth, _draw_car, car[0], (car[1], paints[3], glass)))
    for hand in (-side, -side, rng.choice((-1, 1))):
        depth = rng.uniform(0.08, 0.3)
        middle, half = scene.road(depth)
        size = unit * (12 + 14 * depth) * rng.uniform(0.9, 1.15)
        edge = middle + hand * (half + size)
        x = edge + rng.uniform(0, 1) * ((width if hand > 0 else 0) - edge)
        objects.append((depth, _draw_tree, x, (size, leaves + rng.normal(0, 14, 3), 0.5 * paints[4])))
    for depth, draw, x, rest in sorted(objects, key=lambda entry: entry[0]):
        draw(scene, x, scene.foot(depth), *rest)


def draw_scene(
    rng: np.random.Generator, size: tuple[int, int] = (160, 160)
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw one landscape and its label map.

    Args:
        rng: The source of every random choice. A generator in the same state draws the same scene.
        size: (height, width) in pixels, each at least 96. Objects scale with the smaller one, textures do not.

    Returns:
        The image, RGB uint8 (H, W, 3), 0 to 255, and the label map, uint8 (H, W), with indices into ``CLASSES``. No
        pixel has the ignore index 255.

    Raises:
        ConfigError: ``size`` is not two integers of at least 96.

    Example:
        >>> import numpy as np
        >>> image, label = draw_scene(np.random.default_rng(0), (96, 128))
        >>> image.shape, label.shape
        ((96, 128, 3), (96, 128))
    """
    size = check_size(size)
    scene = Scene(rng, size)
    top, foot, ground, leaves, light = (_colour(name, rng) for name in _MOODS[rng.integers(len(_MOODS))])
    paints = [_colour(_PAINTS[i], rng) * light / 255 for i in rng.permutation(len(_PAINTS))]
    glass = 0.4 * top + 40
    _draw_sky(scene, top, foot)
    _draw_ground(scene, ground, foot)
    _draw_water(scene, 0.5 * top + 0.5 * paints[5], 0.8 * ground)
    _draw_road(scene, 0.5 * paints[6] + 0.25 * foot + 20, 0.6 * light + 0.4 * foot)
    _draw_objects(scene, paints, leaves, glass, _rgb(255, 224, 150) if rng.random() < 0.4 else glass)
    slope = rng.uniform(-0.12, 0.12, 2)
    lit = 1 + slope[0] * (2 * scene.y / size[0] - 1) + slope[1] * (2 * scene.x / size[1] - 1)
    image = scene.image * (lit * rng.uniform(0.86, 1.04))[..., None] + rng.normal(0, 3, (*size, 3))
    mirror = slice(None, None, rng.choice((-1, 1)))
    return image.clip(0, 255).astype(np.uint8)[:, mirror].copy(), scene.label[:, mirror].copy()


def check_int(name: str, value: int, minimum: int) -> int:
    """Return the value as an int.

    Raises:
        ConfigError: It is not an integer, or is less than the minimum.
    """
    try:
        number = minimum - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = minimum - 1
    if number < minimum:
        raise ConfigError(f'Expected `{name}` to be an integer of at least {minimum}, but got {value!r}. Set another.')
    return number


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) as two ints.

    Raises:
        ConfigError: It is not a pair of integers of at least 96.
    """
    try:
        height, width = size
    except (TypeError, ValueError):
        raise ConfigError(
            f'Expected `size` to be (height, width), but got {size!r}. Use for example (160, 160).'
        ) from None
    return check_int('size[0]', height, MIN_SIZE), check_int('size[1]', width, MIN_SIZE)
