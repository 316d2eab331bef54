"""A simulated landscape: the class of any place, from its coordinates alone.

Everything is a hash of the place and the seed. Nothing is drawn from a state, so that any part
can be made at any time, in any order, and comes out the same. x runs east and y runs south, in
metres from the area's north-western corner.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

VERSION = 1
"""Raised when the same seed gives other pixels."""
CELL = 10
"""Metres, and label pixels, along one side of a cell."""
CROP, GRASS, BROADLEAF, CONIFER, SCRUB, BARE, BUILDING, ROAD, WATER = range(1, 10)
TOWN = 10  # a kind of field, never a class: buildings, streets and gardens

HALF = 6.5  # from the centre of a cell to that of its farthest label pixel, and a little more
LEAN = 2.5  # no more than this many metres does the distance to coast or outline change in one
WARP, WARP_SCALE, WARP_LEAN = 40.0, 600.0, 1.4  # bends of roads and streams
ROAD_HALF, STREAM_HALF = 3.0, 1.5
SQUARE = 40.0
ROAD_SHARE, STREAM_SHARE = 0.85, 0.65  # of the edges between cells of the plane
PLOT = 24.0  # side of a plot in a town
STREET = 6.0


def compiled(function: Function) -> Function:
    """Compile without fast-math: sums in another order would differ from block to block.

    Only for functions that call none of another file, since what is kept on disk is compiled
    again when its own file changes, and not when another one does.
    """
    compiler: Any = numba.njit(nogil=True, cache=True)
    result: Function = compiler(function)
    return result


@compiled
def mix(value: Any) -> Any:
    """Finaliser of splitmix64 (Steele et al. 2014): a uint64 to one that looks unrelated."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def hashed(key: Any, i: Any, j: Any) -> Any:
    """uint64 of a place on a lattice."""
    row = np.uint64(j) * np.uint64(0xD1B54A32D192ED03)
    return mix(key + np.uint64(i) * np.uint64(0x9E3779B97F4A7C15) + row)


@compiled
def unit(value: Any) -> Any:
    """A number in [0, 1) from the high bits of a uint64."""
    return np.float64(value >> np.uint64(11)) * 2.0**-53


@compiled
def bell(value: Any) -> Any:
    """A number of mean 0, variance 1 and nearly normal distribution from a uint64."""
    sixteen = np.uint64(0xFFFF)
    total = np.float64(value & sixteen) + np.float64((value >> np.uint64(16)) & sixteen)
    total += np.float64((value >> np.uint64(32)) & sixteen) + np.float64(value >> np.uint64(48))
    return (total / 65535.0 - 2.0) * 1.7320508075688772


@compiled
def noise(x: float, y: float, scale: float, key: Any) -> Any:
    """Smooth noise in [-1, 1]; it changes by no more than 3 / scale a metre along x or y."""
    gx, gy = x / scale, y / scale
    i, j = math.floor(gx), math.floor(gy)
    u, v = gx - i, gy - j
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    a, b = unit(hashed(key, i, j)), unit(hashed(key, i + 1, j))
    c, d = unit(hashed(key, i, j + 1)), unit(hashed(key, i + 1, j + 1))
    north, south = a + (b - a) * u, c + (d - c) * u
    return 2.0 * (north + (south - north) * v) - 1.0


class World(NamedTuple):
    """What numba needs to know of one area; lengths in metres."""

    key: np.uint64
    size: float
    """Side of the area."""
    east: float
    """Direction of the sea: -1, 0 or 1 eastwards."""
    south: float
    coast: float
    """Where the coast is, as a share of the way towards the sea."""
    peak: float
    """Where the mountains end, likewise."""
    field: float
    road: float
    stream: float
    region: float
    cloud: float


def world(size: int, seed: int) -> World:
    """The world of one area.

    Lengths are those of a real landscape where the area has room for them; in a small area
    they shrink, so that it holds every class all the same.

    Parameters
    ----------
    size : cells along one side
    seed : another seed is another place, of the same classes, spectra and climate
    """
    side = float(size * CELL)
    key = np.uint64(mix(np.uint64((seed + 0x6D61706D696C6C) % 2**64)))
    directions = [(e, s) for e in (-1.0, 0.0, 1.0) for s in (-1.0, 0.0, 1.0) if e or s]
    east, south = directions[int(key) % 8]
    corner = east != 0 and south != 0
    return World(
        key,
        side,
        east,
        south,
        coast=0.75 if corner else 0.87,
        peak=0.6 if corner else 0.42,
        field=min(max(side / 16, 150.0), 250.0),
        road=min(max(side / 4, 300.0), 900.0),
        stream=min(max(side / 4, 300.0), 1600.0),
        region=min(max(side / 4, 300.0), 4000.0),
        cloud=min(side / 4, 2400.0),
    )


@compiled
def salt(world: Any, number: int) -> Any:
    """The key of one feature of the world."""
    return mix(world.key + np.uint64(number))


@compiled
def towards_sea(x: float, y: float, world: Any) -> Any:
    """0 at the side or corner farthest from the sea, 1 at the one that faces it."""
    along = (x / world.size - 0.5) * world.east + (y / world.size - 0.5) * world.south
    return 0.5 + along / (abs(world.east) + abs(world.south))


@compiled
def sea(x: float, y: float, world: Any) -> Any:
    """Metres into the sea, at most LEAN times too many; negative on land.

    The coast only moves to and fro along its own line, so that all the sea is one.
    """
    depth = (towards_sea(x, y, world) - world.coast) * world.size
    # far from the coast its details do not matter
    if abs(depth) > 0.044 * world.size + HALF * LEAN:
        return depth - math.copysign(0.044 * world.size, depth)
    s = x * world.south - y * world.east
    bays = 0.03 * world.size * noise(s, 0.0, 0.25 * world.size, salt(world, 1))
    bays += min(40.0, 0.01 * world.size) * noise(s, 0.0, 500.0, salt(world, 2))
    bays += min(8.0, 0.004 * world.size) * noise(s, 0.0, 70.0, salt(world, 3))
    return depth + bays


@compiled
def inside(x: float, y: float, world: Any) -> Any:
    """Metres into the area's outline, which lies within its square; negative outside."""
    size, margin, ripple = world.size, 0.02 * world.size, min(20.0, 0.004 * world.size)
    nearest = size
    for side in range(4):
        along, depth = (y, x) if side % 2 else (x, y)
        depth = size - depth if side > 1 else depth
        if depth > 0.05 * size + HALF * LEAN:
            nearest = min(nearest, depth - 0.05 * size)
            continue
        edge = margin * (1.0 + 0.7 * noise(along, 0.0, 0.15 * size, salt(world, 10 + side)))
        edge += ripple * noise(along, 0.0, 300.0, salt(world, 14 + side))
        nearest = min(nearest, depth - edge)
    return nearest


@compiled
def tilted(x: float, y: float, scale: float, key: Any) -> Any:
    """Noise whose squares do not lie along the rows and columns of the grid."""
    return noise(0.8 * x + 0.6 * y, 0.8 * y - 0.6 * x, scale, key)


@compiled
def elevation(x: float, y: float, world: Any) -> Any:
    """Up to about 1.3; mountains begin at 0.45, on the side away from the sea."""
    slope = (world.peak - towards_sea(x, y, world)) / world.peak
    return slope + 0.3 * tilted(x, y, world.region, salt(world, 20))


@compiled
def kind(x: float, y: float, name: Any, world: Any) -> Any:
    """Class of the field around the seed (x, y), or TOWN."""
    chance = unit(mix(name))
    if elevation(x, y, world) > 0.45:
        return choice(chance, 0.10, 0.05, 0.35, 0.25)
    if tilted(x, y, 0.6 * world.region, salt(world, 21)) > 0.5:
        return TOWN
    if chance < 0.008:
        return WATER
    moisture = tilted(x, y, world.region, salt(world, 22))
    if moisture > 0.25:
        return choice(chance, 0.15, 0.50, 0.20, 0.12)
    if moisture < -0.3:
        return choice(chance, 0.10, 0.0, 0.10, 0.40) if chance < 0.8 else CROP
    return choice(chance, 0.18, 0.10, 0.03, 0.03) if chance < 0.4 else CROP


@compiled
def choice(chance: float, grass: float, broadleaf: float, conifer: float, scrub: float) -> Any:
    """A class by its share of all fields; bare ground where the shares end."""
    if chance < grass:
        return GRASS
    if chance < grass + broadleaf:
        return BROADLEAF
    if chance < grass + broadleaf + conifer:
        return CONIFER
    return SCRUB if chance < grass + broadleaf + conifer + scrub else BARE


@compiled
def gather(x: float, y: float, scale: float, key: Any, reach: float, place: Any, name: Any) -> Any:
    """Seeds of the Voronoi cells that come within `reach` metres of a point; the nearest first.

    Each square of the lattice holds one seed, in its middle: no seed two squares away is the
    nearest, as long as `reach` is a small part of a square.

    Parameters
    ----------
    place, name : (9, 3) x, y and squared distance, and (9,) hashes, which are filled

    Returns
    -------
    Number of seeds.
    """
    i, j = math.floor(x / scale) - 1, math.floor(y / scale) - 1
    first, low = 0, np.uint64(0xFFFFFFFF)
    for k in range(9):
        h = hashed(key, i + k % 3, j + k // 3)
        name[k] = h
        place[k, 0] = (i + k % 3 + 0.22 + 0.56 * 2.0**-32 * np.float64(h & low)) * scale
        place[k, 1] = (j + k // 3 + 0.22 + 0.56 * 2.0**-32 * np.float64(h >> np.uint64(32))) * scale
        place[k, 2] = (x - place[k, 0]) ** 2 + (y - place[k, 1]) ** 2
        first = k if place[k, 2] < place[first, 2] else first
    swap(place, name, 0, first)
    count = 1
    for k in range(1, 9):
        if between(place, 0, k) <= 4.0 * reach * reach:
            swap(place, name, count, k)
            count += 1
    return count


@compiled
def between(place: Any, a: int, b: int) -> Any:
    """Four times the squared distance of the point to the line half way between two seeds."""
    east, south = place[a, 0] - place[b, 0], place[a, 1] - place[b, 1]
    gap = place[b, 2] - place[a, 2]
    return gap * gap / (east * east + south * south)


@compiled
def swap(place: Any, name: Any, a: int, b: int) -> None:
    """Exchange two seeds."""
    for part in range(3):
        place[a, part], place[b, part] = place[b, part], place[a, part]
    name[a], name[b] = name[b], name[a]


@compiled
def nearest(x: float, y: float, place: Any, count: int) -> Any:
    """Which of the seeds is nearest; their distances are brought up to date."""
    best = 0
    for k in range(count):
        place[k, 2] = (x - place[k, 0]) ** 2 + (y - place[k, 1]) ** 2
        best = k if place[k, 2] < place[best, 2] else best
    return best


@compiled
def edge_near(place: Any, name: Any, count: int, reach: float, share: float) -> Any:
    """Whether one of the edges that exist may come within `reach` metres of the point."""
    for a in range(count):
        for b in range(a):
            if between(place, a, b) < 4.0 * reach * reach and unit(mix(name[a] ^ name[b])) < share:
                return True
    return False


@compiled
def on_edge(
    x: float, y: float, place: Any, name: Any, count: int, half: float, share: float
) -> Any:
    """Whether a point is within `half` metres of an edge between seeds; a `share` of them exist."""
    a = nearest(x, y, place, count)
    for b in range(count):
        near = b != a and between(place, a, b) < 4.0 * half * half
        if near and unit(mix(name[a] ^ name[b])) < share:
            return True
    return False


@compiled
def bent(x: float, y: float, world: Any, shift: Any) -> Any:
    """Where a point lies on the plane in which roads and streams are straight."""
    gx, gy = x / WARP_SCALE, y / WARP_SCALE
    i, j = math.floor(gx), math.floor(gy)
    if shift[0, 4] != i or shift[1, 4] != j:  # mostly that of the point before
        shift[0, 4], shift[1, 4] = i, j
        for axis in range(2):
            key = salt(world, 30 + axis)
            for k in range(4):
                shift[axis, k] = 2.0 * WARP * unit(hashed(key, i + k % 2, j + k // 2)) - WARP
    u, v = gx - i, gy - j
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    north, south = 1.0 - v, v
    west, east = 1.0 - u, u
    nw, ne, sw, se = north * west, north * east, south * west, south * east
    dx = nw * shift[0, 0] + ne * shift[0, 1] + sw * shift[0, 2] + se * shift[0, 3]
    dy = nw * shift[1, 0] + ne * shift[1, 1] + sw * shift[1, 2] + se * shift[1, 3]
    return x + dx, y + dy


@compiled
def town(x: float, y: float, name: Any) -> Any:
    """Class of a point in a town: buildings on plots along streets, each quarter at its angle.

    x and y count from the seed of the quarter, whose hash is `name`.
    """
    turn = unit(mix(name + np.uint64(1)))
    cos, sin = (1.0 - turn * turn) / (1.0 + turn * turn), 2.0 * turn / (1.0 + turn * turn)
    u = (cos * x + sin * y) / PLOT
    v = (cos * y - sin * x) / PLOT
    i, j = math.floor(u), math.floor(v)
    u, v = (u - i) * PLOT, (v - j) * PLOT
    if (i % 4 == 0 and u < STREET) or (j % 3 == 0 and v < STREET):
        return ROAD
    h = hashed(name, i, j)
    width = 6.0 + 14.0 * unit(h)
    height = 6.0 + 14.0 * unit(mix(h + np.uint64(1)))
    left = (PLOT - width) * unit(mix(h + np.uint64(2)))
    top = (PLOT - height) * unit(mix(h + np.uint64(3)))
    built = left <= u < left + width and top <= v < top + height
    return BUILDING if built and unit(mix(h + np.uint64(4))) < 0.85 else GRASS


class Memory(NamedTuple):
    """Room to work in, one for each thread."""

    place: Any
    """(3, 9, 3) seeds of fields, roads and streams: x, y, squared distance."""
    name: Any
    """(3, 9) their hashes."""
    fine: Any
    """(10, 10) classes of the label pixels of a cell."""
    kinds: Any
    """(9,) kinds of the fields."""
    known: Any
    """(64,) fields met before."""
    kind: Any
    """(64,) their kinds."""
    shift: Any
    """(2, 5) bends at the corners of a square of the lattice; last the square's place."""
    lines: Any
    """(512, 3) squares met before, x and y, and whether a road or stream comes near."""


def memory() -> Memory:
    """Empty room."""
    return Memory(
        place=np.zeros((3, 9, 3)),
        name=np.zeros((3, 9), np.uint64),
        fine=np.zeros((CELL, CELL), np.uint8),
        kinds=np.zeros(9, np.int64),
        known=np.zeros(64, np.uint64),
        kind=np.zeros(64, np.int64),
        shift=np.full((2, 5), np.inf),
        lines=np.full((512, 3), np.iinfo(np.int64).min),
    )


@compiled
def field_kinds(x: float, y: float, world: Any, memory: Any) -> Any:
    """The fields that come into a cell and their kinds, into `memory`; their number."""
    place, name = memory.place[0], memory.name[0]
    count = gather(x, y, world.field, salt(world, 40), HALF, place, name)
    for k in range(count):
        slot = int(name[k] & np.uint64(63))  # the next cell mostly has the same fields
        if memory.known[slot] != name[k]:
            memory.known[slot] = name[k]
            memory.kind[slot] = kind(place[k, 0], place[k, 1], name[k], world)
        memory.kinds[k] = memory.kind[slot]
    return count


@compiled
def lines_within(x: float, y: float, half: float, world: Any, memory: Any) -> Any:
    """Seeds between which roads and streams may come within `half` metres; 0 for none."""
    place, name = memory.place, memory.name
    u, v = bent(x, y, world, memory.shift)
    reach = half * WARP_LEAN
    wide = reach + 4.0 * ROAD_HALF  # to have both sides of an edge that is not the nearest seed's
    roads = gather(u, v, world.road, salt(world, 41), wide, place[1], name[1])
    streams = gather(u, v, world.stream, salt(world, 42), wide, place[2], name[2])
    if not edge_near(place[1], name[1], roads, reach + ROAD_HALF, ROAD_SHARE):
        roads = 0
    if not edge_near(place[2], name[2], streams, reach + STREAM_HALF, STREAM_SHARE):
        streams = 0
    return roads, streams


@compiled
def lines_near(x: float, y: float, world: Any, memory: Any) -> Any:
    """Seeds between which roads and streams may come into a cell; their numbers, 0 for none.

    Most cells lie in a square of SQUARE metres that no line comes near, and ask no further.
    """
    i, j = math.floor(x / SQUARE), math.floor(y / SQUARE)
    slot = memory.lines[(i + 181 * j) % 512]
    if slot[0] != i or slot[1] != j:
        centre_x, centre_y = (i + 0.5) * SQUARE, (j + 0.5) * SQUARE
        some = lines_within(centre_x, centre_y, 0.7072 * SQUARE + HALF, world, memory)
        slot[0], slot[1], slot[2] = i, j, max(some[0], some[1])
    return lines_within(x, y, HALF, world, memory) if slot[2] else (0, 0)


@compiled
def line_pixels(
    x: float, y: float, lines: Any, world: Any, places: Any, names: Any, shift: Any, fine: Any
) -> None:
    """Roads and streams of a cell into `fine`, 0 elsewhere; roads bridge streams."""
    roads, streams = lines
    for r in range(CELL):
        for c in range(CELL):
            u, v = bent(x + (c - 4.5), y + (r - 4.5), world, shift)
            if on_edge(u, v, places[0], names[0], roads, ROAD_HALF, ROAD_SHARE):
                fine[r, c] = ROAD
            elif on_edge(u, v, places[1], names[1], streams, STREAM_HALF, STREAM_SHARE):
                fine[r, c] = WATER
            else:
                fine[r, c] = 0


@compiled
def ground_pixels(
    x: float, y: float, fields: int, place: Any, name: Any, kinds: Any, fine: Any
) -> None:
    """Fields of a cell, and what stands on them in a town, where `fine` is 0."""
    for r in range(CELL):
        for c in range(CELL):
            if fine[r, c] == 0:
                px, py = x + (c - 4.5), y + (r - 4.5)
                k = nearest(px, py, place, fields)
                fine[r, c] = kinds[k]
                if kinds[k] == TOWN:
                    fine[r, c] = town(px - place[k, 0], py - place[k, 1], name[k])


@compiled
def shore_pixels(x: float, y: float, coast: bool, within: bool, world: Any, fine: Any) -> None:
    """Sea over what lies in it, and nothing outside the outline."""
    for r in range(CELL):
        for c in range(CELL):
            px, py = x + (c - 4.5), y + (r - 4.5)
            if coast and sea(px, py, world) > 0.0:
                fine[r, c] = WATER
            if not within and inside(px, py, world) < 0.0:
                fine[r, c] = 0


@compiled
def cell(x: float, y: float, world: Any, memory: Any) -> Any:
    """Classes of the 10 x 10 m around a centre, into `memory.fine`.

    Looks at the whole before its parts: most cells are of one class, and are not filled.
    `memory.name[0, 0]` becomes the hash of the field at the centre, 0 in the sea.

    Returns
    -------
    The class of all pixels, or -1 where they may differ.
    """
    shore, border = sea(x, y, world), inside(x, y, world)
    memory.name[0, 0] = np.uint64(0)
    if border < -HALF * LEAN:
        return 0
    within, coast = border > HALF * LEAN, shore > -HALF * LEAN
    if within and shore > HALF * LEAN:
        return WATER
    fields = field_kinds(x, y, world, memory)
    lines = lines_near(x, y, world, memory)
    uniform = within and not coast and fields == 1 and max(lines) == 0
    if uniform and memory.kinds[0] != TOWN:
        return memory.kinds[0]
    place, name, fine = memory.place, memory.name, memory.fine
    fine[:] = 0
    if max(lines) > 0:  # views are made here, once: in the loops over pixels they would cost most
        places, names = (place[1], place[2]), (name[1], name[2])
        line_pixels(x, y, lines, world, places, names, memory.shift, fine)
    ground_pixels(x, y, fields, place[0], name[0], memory.kinds, fine)
    if coast or not within:
        shore_pixels(x, y, coast, within, world, fine)
    return -1
