"""The networks that are looked at, and the pictures that open the notebooks.

A gallery takes the network that was trained longest among those that ship.
"""

from functools import cache, lru_cache

import torch
from torch import Tensor

from lmcourse.boards import Board
from lmcourse.experiments import dve, lmdis, seqmt_galleries
from lmcourse.experiments.cells import few, in_chunks, kept_file, load_cell
from lmcourse.experiments.seqmt_images import in_wrists
from lmlib.geometry import Affine
from lmlib.methods.dve import crop
from lmlib.palette import COLOURS
from lmscenes import Hands
from lmscenes.faces import five_points

DRAWING = (
    ("lmdis-faces64", "K10,gallery"),
    ("lmdis-faces", "K10,long"),
)
MATCHING = (("dve-faces70", "C64+DVE"), ("dve-faces", "C64+DVE"))
PEOPLE = (100_005, 100_012, 100_017, 100_028, 100_034)  # test images


def first_kept(*cells: tuple[str, str]) -> tuple[str, str]:
    """The first (experiment, setting) whose network ships; the last one if none."""
    there = [cell for cell in cells if kept_file(*cell).is_file()]
    return there[0] if there else cells[-1]


@cache
def drawing_network():
    """The network of Zhang et al. 2018 that draws faces best, without gradients."""
    return load_cell(*first_kept(*DRAWING)).requires_grad_(False)


@cache
def matching_network():
    """The network of Thewlis et al. 2019 that matches faces best."""
    return load_cell(*first_kept(*MATCHING)).requires_grad_(False)


def pair_of_matchers() -> str:
    """The experiment whose networks with and without exchange are compared."""
    both = ("C64+DVE", "C64")
    large = all(kept_file("dve-faces70", setting).is_file() for setting in both)
    return "dve-faces70" if large else "dve-faces"


def mouth_points(method, count: int = 3) -> list[int]:
    """Numbers of the landmarks that lie nearest to the mouth, over 60 test faces."""
    some = lmdis.face_images(method.config.size, range(100_000, 100_060)).all
    centre = some["landmarks"][:, 3:].mean((0, 1))  # of the corners of the mouth
    away = (method.landmarks(some["image"]).mean(0) - centre).norm(dim=-1)
    return away.argsort()[:count].tolist()


def with_mouth(points: Tensor, which: list[int], lower: float) -> Tensor:
    """Landmarks ``(B, K, 2)`` with some of them moved down, in units of [-1, 1]."""
    moved = points.clone()
    moved[:, which, 1] += lower
    return moved


# -- Openings: a picture before the first line of code ---------------------------------


def _faces(method, numbers=PEOPLE) -> Tensor:
    parts = [lmdis.face_images(method.config.size, range(n, n + 1)) for n in numbers]
    return torch.cat([part.all["image"] for part in parts])


def open_method() -> None:
    """20: faces with the points that a network found, and drawn again from these."""
    method = drawing_network()
    images = _faces(method)
    points, vectors = method.encode(images)
    board = Board(len(images), 2, sides=("what it sees", "what it draws"))
    board.put(images)
    for column, found in enumerate(points):
        board.mark(found, column, size=55)
    board.put(method.decode(points, vectors), row=1)
    count = points.shape[1]
    board.show(
        f"Above: five drawn faces with the {count} landmarks that a network discovered "
        "without any label. Below: the same faces drawn again from these points and a "
        "short vector for each, and from nothing else.",
        first=True,
    )


def open_editor() -> None:
    """23: the same people with their mouths moved."""
    method = drawing_network()
    images = _faces(method)
    points, vectors = method.encode(images)
    mouth = mouth_points(method)
    board = Board(len(images), 2, sides=("drawn again", "mouth pulled down"))
    board.put(method.decode(points, vectors))
    asked = with_mouth(points, mouth, 0.2)
    board.put(method.decode(asked, vectors), row=1)
    for column in range(len(images)):  # the mouth below stays free of marks
        board.lines(points[column, mouth], asked[column, mouth], column)
        board.rings(points[column, mouth], column, ms=7)
    board.show(
        "Above: five faces drawn from ten landmarks and their vectors. Below: the same "
        "faces after three points at the mouth were pulled down, as far as the red "
        "lines above; all other points and all vectors are as they were.",
        first=True,
    )


# -- Descriptors -----------------------------------------------------------------------

EIGHT = (36, 42, 30, 48, 54, 19, 24, 8)  # eyes, nose, mouth, brows, chin: of 68
ASKING, ANSWERING = 6, (9, 15, 17, 28)  # of the test faces


@torch.no_grad()
def matched_eight(method, asking: int = ASKING, answering=ANSWERING):
    """Faces ``(1 + N, 3, n, n)``, eight points of each, and those found on the others.

    Returns images, true points ``(1 + N, 8, 2)`` and matches ``(N, 8, 2)``.
    """
    numbers = [dve.MATCHED[n] for n in (asking, *answering)]
    batch = dve.face_scene(method.config.frame).batch(numbers)
    images, points = crop(batch["image"], batch["landmarks"][:, EIGHT], method.config)
    others = images[1:]
    first = images[:1].expand(len(others), -1, -1, -1)
    asked = points[:1].expand(len(others), -1, -1)
    return images, points, method.match(first, asked, others)


def open_matches() -> None:
    """30: eight points of one face, found on four others."""
    images, points, found = matched_eight(matching_network())
    heads = ("eight points", *["found on another"] * len(found))
    board = Board(len(images), heads=heads)
    board.put(images)
    board.mark(points[0], size=60)
    for column, places in enumerate(found, start=1):
        board.mark(places, column, size=60)
    board.show(
        "Eight points that somebody marked on one drawn face, and where a network that "
        "never saw a mark finds them on four other people: each in its own colour and "
        "shape.",
        first=True,
    )


def open_exchange() -> None:
    """32: the same, without the exchange above and with it below."""
    experiment = pair_of_matchers()
    board = Board(5, 2, sides=("without exchange", "with exchange"))
    for row, setting in enumerate(("C64", "C64+DVE")):
        method = load_cell(experiment, setting).requires_grad_(False)
        images, points, found = matched_eight(method)
        board.put(images, row=row)
        board.mark(points[0], row=row, size=50)
        for column, places in enumerate(found, start=1):
            off = (places - points[column]).norm(dim=-1)
            eyes = (points[column, 0] - points[column, 1]).norm()
            wrong = off > 0.25 * eyes
            board.lines(places[wrong], points[column, wrong], column, row)
            board.mark(places, column, row, size=50)
    board.show(
        "Eight points of the face on the left, found on four other people by two "
        "networks that differ in one step of their training. Red lines lead from wrong "
        "matches to where the point is.",
        first=True,
    )


def open_colours() -> None:
    """31: descriptors of five faces as colours, which go along with the face."""
    method = matching_network()
    images, points, _ = matched_eight(method)
    heads = ("as it is", "tilted", "moved left", "moved right", "enlarged")
    angle, scale = torch.tensor([0.0, -0.4, 0, 0, 0]), torch.tensor([1.0, 1, 1, 1, 1.3])
    shift = torch.tensor([(0.0, 0.0), (0, 0), (-0.3, 0), (0.3, 0), (0, 0)])
    warp = Affine.from_parameters(angle, scale, shift)
    images, noses = warp.image(images, padding="border"), warp.points(points[:, 2:3])
    with torch.no_grad():
        vectors = method.descriptors(images)
    board = Board(len(images), 2, heads, sides=("a face", "its vectors"))
    board.put(images)
    board.put(as_colours(vectors), row=1)
    for column, nose in enumerate(noses):
        for row in range(2):
            board.rings(nose, column, row)
    board.show(
        "Five drawn faces, four of them tilted, moved or enlarged, and below them what "
        f"a network says of each place: {vectors.shape[1]} numbers, shown as "
        "colours. The tip of the nose (ring) lies on violet or blue wherever it is, on "
        "everybody, and nobody marked a nose.",
        first=True,
    )


def as_colours(vectors: Tensor) -> Tensor:
    """Descriptors ``(B, C, h, w)`` as ``(B, 3, h, w)`` in [0, 1]: three directions in
    which they vary most, the same for all images."""
    flat = vectors.permute(0, 2, 3, 1).flatten(0, 2)
    flat = flat - flat.mean(0)
    parts = flat @ torch.linalg.eigh(flat.T @ flat)[1][:, -3:].flip(1)
    low, high = parts.quantile(0.02, dim=0), parts.quantile(0.98, dim=0)
    parts = ((parts - low) / (high - low)).clamp(0, 1)
    shape = (len(vectors), *vectors.shape[-2:])
    return parts.T.unflatten(1, shape).transpose(0, 1)


@torch.no_grad()
def open_across() -> None:
    """33: five points of a person, found on people and on animals."""
    method = load_cell("dve-animals", "C64+DVE5").requires_grad_(False)
    config = method.config
    people = dve.face_scene(config.frame).batch([dve.MATCHED[n] for n in (ASKING, 28)])
    scene = dve.animal_scene(config.frame, "face")
    herd = scene.batch(dve.MATCHED[:90])
    clear = herd["visible"][:, :5].float().sum(1) - herd["pose"][:, 0].abs() / 100
    species = range(int(herd["label"].max()) + 1)
    best = [int(clear.where(herd["label"] == s, -9.0).argmax()) for s in species]
    images, points = crop(people["image"], five_points(people["landmarks"]), config)
    animals, _ = crop(
        herd["image"][best[1:5]], herd["landmarks"][best[1:5], :5], config
    )
    others = torch.cat([images[1:], animals])
    first = images[:1].expand(len(others), -1, -1, -1)
    found = method.match(first, points[:1].expand(len(others), -1, -1), others)
    names = [type(scene).species_names[s] for s in species][1:5]
    board = Board(
        6, heads=("five points", "found on a person", *(f"a {n}" for n in names))
    )
    board.put(torch.cat([images[:1], others]))
    board.mark(points[0], size=50)
    for column, places in enumerate(found, start=1):
        board.mark(places, column, size=50)
    board.show(
        "Five points of one person, and where a network that was trained without any "
        "mark finds them on another person and on animals of four species.",
        first=True,
    )


def open_failures() -> None:
    """22: landmarks of three networks on the same faces: sound, collapsed, frozen."""
    settings = {
        "all terms": "K10",
        "no separation": "K10,no-separation",
        "no equivariance": "K10,no-equivariance",
    }
    board = Board(5, 3, sides=tuple(settings))
    for row, setting in enumerate(settings.values()):
        method = load_cell("lmdis-faces", setting).requires_grad_(False)
        images = _faces(method)
        board.put(images, row=row)
        for column, points in enumerate(method.landmarks(images)):
            board.mark(points, column, row, size=45)
    board.show(
        "Ten landmarks on five faces, by three networks. All terms: they spread over "
        "the face and follow it. Without separation they lie on top of each other in "
        "a few places. Without equivariance they stand in the same places of "
        "the picture whatever the face does.",
        first=True,
    )


# -- Hands -----------------------------------------------------------------------------

HANDS = seqmt_galleries.PROBLEMS["seqmt-hands64"]
FINGERS = tuple(range(first, first + 4) for first in range(1, 20, 4))
NOT_RED = (*COLOURS[:3], *COLOURS[4:6])  # of fingers: red is for errors
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)  # of test images, from the best


@cache
@torch.no_grad()
def hands_found() -> dict[str, Tensor]:
    """The test hands of the network for 64 pixels, from the best to the worst.

    ``number (N,)`` of the picture, ``image (N, 1, 64, 64)``, ``points`` found and
    ``truth (N, 25, 2)``, ``seen (N, 25)``, how far ``off (N, 25)`` in percent of the
    wrist's width, ``error (N,)``, its mean over what is seen, and the gestures
    ``named`` and ``label (N,)``.
    """
    method = load_cell(HANDS.name, *HANDS.kept)
    tests = HANDS.stored("", few(HANDS.tests[""][1], quick=60)).all
    points, truth = in_chunks(method.landmarks, tests["image"], 60), tests["landmarks"]
    off, seen = 100 * in_wrists(points, truth), tests["visible"]
    error = (off * seen).sum(1) / seen.sum(1)
    found = {"image": tests["image"], "points": points, "truth": truth, "seen": seen}
    found |= {"named": method.classify(points).argmax(1), "label": tests["label"]}
    found |= {"off": off, "error": error, "number": torch.arange(len(points))}
    order = error.argsort()
    return {name: values[order] for name, values in found.items()}


@lru_cache(64)
def _in_colour(number: int, side: int = 200) -> Tensor:
    """A test hand as it looked before it became small and grey ``(3, side, side)``."""
    scene = Hands(side, **HANDS.tests[""][0].keywords)
    return scene.batch(range(number, number + 1))["image"][0]


def put_hand(board: Board, share: float, column: int = 0, row: int = 0) -> int:
    """The test hand that a ``share`` of all are better than, in colour, with what was
    found; its row in ``hands_found``.

    Dots are points that can be seen, crosses hidden ones; red lines lead to the truth,
    those of hidden points, dashed, in large pictures only.
    """
    found = hands_found()
    one, here = round(share * (len(found["number"]) - 1)), (column, row)
    board.put(_in_colour(found["number"][one].item()), *here)
    points, seen = found["points"][one], found["seen"][one]
    for finger, shade in zip(FINGERS, NOT_RED, strict=True):
        chain = points[list(finger)]
        board.lines(chain[:-1], chain[1:], *here, color=shade, lw=1.5)
    truth, large = found["truth"][one], board.side > 250
    red = {"color": "#ff2020", "zorder": 4.5}
    board.lines(points[seen], truth[seen], *here, lw=2.4, **red)
    if large:  # in small pictures they would hide the hand
        board.lines(points[~seen], truth[~seen], *here, lw=1.4, dashes=(3, 2), **red)
    size = board.side / 14
    look = {"edgecolors": "black", "linewidths": 0.5, "zorder": 5}
    board.ax.scatter(*board.on(points[seen], *here).T, s=size, c="white", **look)
    look |= {"marker": "X", "s": 2.2 * size, "c": "#ff2020", "linewidths": 0.7}
    board.ax.scatter(*board.on(points[~seen], *here).T, **look)
    named, true = (Hands.classes[found[name][one]] for name in ("named", "label"))
    board.say(named if named == true else f"{named}, in truth {true}", *here)
    return one


def by_rule() -> tuple[Board, list[tuple[float, str, int, int]]]:
    """A board for six test images that nobody picked: the share of all that are
    better, in numbers and in words, and the column and row of each."""
    columns, cells = len(SHARES) // 2, []
    for place, share in enumerate(SHARES):
        row, column = divmod(place, columns)
        words = f"{100 * share:.0f} % are better" if share < 1 else "the worst"
        cells.append((share, words, column, row))
    return Board(columns, 2, side=290), cells


def show_hands() -> None:
    """Six test hands, from the best to the worst."""
    board, cells = by_rule()
    for share, words, column, row in cells:
        put_hand(board, share, column, row)
        board.say(words, column, row, top=True)
    board.show(
        "Six drawn hands that the network had not seen, in colour, with the 25 points "
        "it found in small grey pictures of them, joined along each finger. Red lines "
        "lead to the truth, dashed ones from its guesses at hidden points, the red "
        "crosses. Below, the gesture it names from these points alone.",
    )


# -- 21 and 62 -------------------------------------------------------------------------


@torch.no_grad()
def open_leaving() -> None:
    """21: landmarks before the first step and after training."""
    method = drawing_network()
    images = _faces(method)
    torch.manual_seed(0)
    fresh = type(method)(method.config).train()  # with the statistics of these images
    board = Board(len(images), 2, sides=("before the first step", "after training"))
    for row, net in enumerate((fresh, method)):
        board.put(images, row=row)
        for column, points in enumerate(net.landmarks(images)):
            board.mark(points, column, row, size=55)
    board.show(
        "Ten landmarks on five faces. Before the first step they crowd around the "
        "middle of each picture; after training each has its own part of the face. "
        "Nobody has ever said which.",
        first=True,
    )


@torch.no_grad()
def open_scaling() -> None:
    """62: faces drawn again by a network of minutes, and by one of hours."""
    networks = {
        "40 px, 600 steps": load_cell("lmdis-faces", "K10"),
        "64 px, 6,000 steps": load_cell("lmdis-faces64", "K10,gallery"),
    }
    board = Board(len(PEOPLE), 3, sides=("faces", *networks))
    board.put(_faces(networks["64 px, 6,000 steps"]))
    for row, method in enumerate(networks.values(), start=1):
        board.put(method.decode(*method.encode(_faces(method))), row=row)
    board.show(
        "Five faces, and the same five drawn again from ten landmarks and their "
        "vectors, by one method: trained for 600 steps on 40 pixels, and a larger "
        "network for 6,000 steps on 64. Only the second has eyes.",
        first=True,
    )


def to_tensor(pixels) -> Tensor:
    """``(3, H, W)`` bytes as floats in [0, 1]."""
    return torch.from_numpy(pixels.copy()).float() / 255
