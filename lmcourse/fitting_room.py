"""What the try-on notebooks share: triplets, pictures of people, and the networks.

All pictures of a ``Wall`` are one matplotlib axes, so that a widget redraws quickly.
Cells are 3 wide and 4 high, as the pictures are::

    wall = Wall(3, heads=("garment", "person", "try-on"))
    wall.put([garment, person, made])
    wall.landmarks(links.person, links.attribute, column=2)
    wall.show("A garment, a person, and the person in the garment")
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

import lmlib
import lmscenes
from lmcourse.boards import Board, enlarged
from lmcourse.budget import budget
from lmcourse.experiments.cells import checkpoints
from lmcourse.plots import as_array, cell_text, draw_image, say
from lmlib.checkpoints import read_metadata
from lmlib.geometry import from_pixels, pixel_grid, to_pixels
from lmlib.methods.salvton import STAGES, Salvton, SalvtonConfig
from lmlib.methods.salvton.flows import ABSENT, VISIBLE, Links, squares, warp
from lmlib.methods.salvton.patches import Patches
from lmlib.palette import COLOURS
from lmlib.samples import Batch, Stored
from lmlib.training import fit

NAMES = lmscenes.Tryon.names
PARTS = {  # of a garment: numbers of its landmarks
    "collar": tuple(range(7)),
    "left sleeve": tuple(range(7, 17)),
    "right sleeve": tuple(range(17, 27)),
    "waist and hem": tuple(range(27, 32)),
}
MARKS = dict(zip(PARTS, ("o", "s", "D", "^"), strict=True))
PAINT = dict(zip(PARTS, (COLOURS[0], COLOURS[1], COLOURS[2], COLOURS[4]), strict=True))
RIM = 2  # pixels of white on each side of a picture
KEYS = ("target", "garment", "garment_mask", "target_mask", "garment_landmarks")
KEYS += ("garment_present", "attribute")


# -- triplets --------------------------------------------------------------------------


@cache
def _drawn(numbers: tuple[int, ...], size: tuple[int, int], knobs: tuple) -> Batch:
    return lmscenes.Tryon(size, **dict(knobs)).batch(torch.tensor(numbers))


def triplets(numbers: Iterable[int], size=(128, 96), **knobs) -> Batch:
    """Triplets of the scene ``Tryon``; what was drawn before is not drawn again."""
    return dict(_drawn(tuple(numbers), tuple(size), tuple(sorted(knobs.items()))))


def one(batch: Batch, number: int) -> Batch:
    """The triplet in this place of a batch, as a batch of one."""
    return {name: value[number : number + 1] for name, value in batch.items()}


def cloth_of(batch: Batch) -> Tensor:
    """Flat garments with their masks as a fourth channel, ``(B, 4, H, W)``."""
    return torch.cat([batch["garment"], batch["garment_mask"]], 1)


def on_white(cloth: Tensor) -> Tensor:
    """Colours ``(..., 3, H, W)`` of warped garments ``(..., 4, H, W)``; white where
    there is no cloth."""
    colours, mask = cloth.split([3, 1], -3)
    return colours * mask + 1 - mask


# -- networks --------------------------------------------------------------------------


def _best(stages: tuple[str, ...]) -> tuple[Path, dict] | None:
    """The file and metadata of the network with these stages that ships and has seen
    the largest images; the longest trained if there are several."""
    found = []
    for path in sorted(checkpoints().glob("salvton*")):
        said = read_metadata(path)
        if {*stages} <= {*said["config"]["stages"]}:
            found.append((said["config"]["size"], said.get("steps") or 0, path, said))
    return max(found, key=lambda each: each[:2])[2:] if found else None


def shipped(stages: tuple[str, ...] = STAGES) -> Salvton | None:
    """The best network with these stages that ships; None if there is none."""
    found = _best(stages)
    if found is None:
        return None
    return lmlib.load(found[0], "cpu").method.eval().requires_grad_(False)


@cache
def brief(stages: tuple[str, ...] = STAGES, steps: int = 120) -> Salvton:
    """A network of 64x48 pixels, trained here and now, for a minute or two."""
    steps = budget(quick=2, class_=steps, full=20 * steps)
    data = practice()
    torch.manual_seed(0)
    method = Salvton(replace(SalvtonConfig.tryon_class(), stages=stages))
    fit(method, data, data.indices, steps, progress=False)
    return method.cpu().eval().requires_grad_(False)


@cache
def practice(size: tuple[int, int] = (64, 48)) -> Stored:
    """A few hundred triplets to train on, drawn once."""
    count = budget(quick=8, class_=240, full=2000)
    return Stored(lmscenes.Tryon(size), range(count), KEYS)


@cache
def network() -> Salvton:
    """A network with all three stages: the best that ships, or a briefly trained
    one."""
    return shipped() or brief()


def about(method: Salvton) -> str:
    """Its size, and how long it was trained."""
    size = "{} × {} pixels (height × width)".format(*method.config.shape)
    found = _best(method.config.stages)
    if found is None or found[1]["config"]["size"] != method.config.size:
        return f"a network for {size}, trained here, briefly"
    return f"a network for {size}, trained for {found[1].get('steps'):,} steps"


def seen(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """What a network is given: people, garments and the garments' masks."""
    return batch["image"], batch["garment"], batch["garment_mask"]


def drawn(method: Salvton, batch: Batch, links: Links | None = None) -> Tensor:
    """People in their garments as the generator draws them, ``(B, 3, H, W)``."""
    return method.try_on(*seen(batch), links)


@torch.no_grad()
def glued(method: Salvton, batch: Batch, links: Links | None = None) -> Tensor:
    """People with their bent garments laid over them, ``(B, 3, H, W)``: cut out by the
    warped mask, and without a generator."""
    links = method.find(*seen(batch)[:2]) if links is None else links
    colours, cut = method.warps(*seen(batch), links).fused.split([3, 1], 1)
    return cut * colours + (1 - cut) * batch["image"]


# -- walls -----------------------------------------------------------------------------


class Wall(Board):
    """A board whose cells are as high as pictures of people: 3 to 4.

    ``high``: how high a cell is, where 4 is as high as a picture.
    """

    rim, widest, letters, coarse = RIM, 224, 10.5, 40

    def __init__(self, *layout, high: float = 4.0, **more):
        self.unit = 3.0, high
        super().__init__(*layout, **more)

    def landmarks(
        self,
        points: Tensor,
        attribute: Tensor,
        column: int = 0,
        row: int = 0,
        size: float = 6,
        which: Iterable[int] = range(32),
    ) -> None:
        """Landmarks ``(32, 2)``, a colour and a shape for each part of a garment;
        hollow if occluded, not there if absent (``attribute (32,)``) or outside."""
        places = self.on(points, column, row)
        shown = {k for k in which if points[k].abs().max() <= 1.03}
        for part, numbers in PARTS.items():
            for state, filled in ((1, False), (VISIBLE, True)):
                k = [n for n in numbers if attribute[n] == state and n in shown]
                look = {"ms": size, "mew": 1.0 if filled else 1.6, "zorder": 6}
                look |= {"mfc": PAINT[part] if filled else "none"}
                look |= {"mec": "white" if filled else PAINT[part]}
                if k:
                    self.ax.plot(*places[k].T, MARKS[part], ls="", **look)

    def links(self, links: Links, which: Iterable[int], left: int, right: int) -> None:
        """Lines from the garment's landmarks in cell ``left`` to the person's in cell
        ``right``, of one triplet."""
        starts, ends = self.on(links.garment[0], left), self.on(links.person[0], right)
        for part, numbers in PARTS.items():
            for k in {*numbers} & {*which}:
                if links.active[0, k]:
                    path = torch.stack([starts[k], ends[k]])
                    self.ax.plot(*path.T, "-", c=PAINT[part], lw=1.3, zorder=5)

    def plot(self, points: Tensor, look: str = "o", column=0, row=0, **more) -> None:
        """Points ``(N, 2)`` or one, drawn by matplotlib's ``plot``."""
        places = self.on(points.reshape(-1, 2), column, row)
        self.ax.plot(*places.T, look, **({"zorder": 6} | more))

    def number(
        self, points: Tensor, k: int, down: float, column: int = 0, row: int = 0
    ) -> None:
        """The number of landmark k, ``down`` below it, where a cell is 3 wide."""
        x, y = self.on(points[k], column, row).tolist()
        look = {"fontsize": 10, "ha": "center", "va": "center", "zorder": 7}
        look["bbox"] = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.8}
        self.ax.text(max(x, 0.12), y + down, str(k), **look)

    def boxes(
        self, centres: Tensor, sides: Tensor, colours, column: int = 0, row: int = 0
    ) -> None:
        """Rectangles around points ``(N, 2)``; ``sides (N, 2)`` in shares of the
        picture's width and height."""
        middle = self.on(centres, column, row)
        extent = sides * torch.tensor(self.unit)
        for (x, y), (w, h), paint in zip(
            middle.tolist(), extent.tolist(), colours, strict=True
        ):
            look = {"fill": False, "ec": paint, "lw": 1.8, "zorder": 5}
            self.ax.add_patch(Rectangle((x - w / 2, y - h / 2), w, h, **look))


def part_of(number: int) -> str:
    """The part of a garment that a landmark belongs to."""
    return next(part for part, numbers in PARTS.items() if number in numbers)


def caption(fig: Figure, text: str) -> dict[str, float]:
    """One line of words in place of a picture."""
    fig.set_layout_engine("none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.text(0.01, 0.5, text, va="center", fontsize=11)
    return {}


def folded_table(rows: list[dict], title: str) -> None:
    """Display a table as ``plots.paper_and_measured`` does, folded under a title."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [keys, ["---"] * len(keys)]
    lines += [[cell_text(row.get(key)) for key in keys] for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    say(f"<details><summary>{title}</summary>\n\n{table}\n\n</details>")


def save_picture(picture: Tensor, path: Path) -> None:
    """A picture ``(1|3, H, W)`` in [0, 1] as a file."""
    values = (255 * as_array(picture).clip(0, 1)).round().astype("uint8")
    Image.fromarray(values).save(path)


def dotted(picture: Tensor, links: Links, without: int, high: int = 512) -> Tensor:
    """A picture ``(3, H, W)`` of a person, enlarged, with dots where landmarks are, all
    but one: in the colour of their part, rings if occluded, none if absent."""
    height, width = high, high * picture.shape[-1] // picture.shape[-2]
    made = enlarged(picture, (height, width), Wall.coarse).clone()
    pixels = pixel_grid(height, width)
    for k, state in enumerate(links.attribute[0].tolist()):
        if state == ABSENT or k == without:
            continue
        far = (pixels - links.person[0, k]) * torch.tensor([width, height]) / 2
        far = far.norm(dim=-1)
        paint = torch.tensor(to_rgb(PAINT[part_of(k)])).view(3, 1)
        made[:, far < high / 85] = 1.0
        inner = (far < high / 110) & (far > (state != VISIBLE) * high / 220)
        made[:, inner] = paint
    return made


# -- flows to look at ------------------------------------------------------------------


def chart(height: int, width: int, squares: int = 8) -> Tensor:
    """A picture ``(3, H, W)`` in which each place has a colour of its own: red grows to
    the right, green downwards, and squares tell pulled from squeezed."""
    x, y = ((pixel_grid(height, width) + 1) / 2).unbind(-1)
    board = ((x * 0.75 * squares).floor() + (y * squares).floor()) % 2
    paint = torch.stack([0.15 + 0.8 * x, 0.2 + 0.7 * y, 0.9 - 0.7 * x * y])
    return paint * (1 - 0.3 * board)


def flow_picture(flow: Tensor, mask: Tensor | None = None) -> Tensor:
    """``chart`` as flows ``(B, 2, H, W)`` read it: equal colours are equal places of
    the garment. White outside of ``mask``."""
    paint = chart(4 * flow.shape[-2], 4 * flow.shape[-1])
    seen = warp(paint.expand(len(flow), -1, -1, -1), flow)
    return seen if mask is None else seen * mask + 1 - mask


def glow(picture: Tensor, light: Tensor, dark: float = 0.5) -> Tensor:
    """A darker grey picture ``(3, H, W)`` that turns yellow where ``light (H, W)`` is
    1."""
    grey = dark * picture.mean(0, keepdim=True).expand(3, -1, -1)
    yellow = torch.tensor([1.0, 0.93, 0.15]).view(3, 1, 1).expand_as(grey)
    return torch.lerp(grey, yellow, light.clamp(0, 1))


# -- first pictures --------------------------------------------------------------------

PEOPLE = (100_004, 100_009, 100_016, 100_012)  # test triplets with long sleeves, mostly


def in_size(method: Salvton, numbers: Iterable[int]) -> Batch:
    """Triplets as large as a network's images."""
    return triplets(numbers, method.config.shape)


def open_method() -> None:
    """50: garments, people, and the people in the garments."""
    method = shipped()
    people = (*PEOPLE[:3], 100_007)
    batch = triplets(people, method.config.shape if method else (256, 192))
    made = drawn(method, batch) if method else batch["target"]
    sides = ("garment", "person", "in the garment")
    wall = Wall(len(people), 3, sides=sides, side=218, high=3.3)
    for row, pictures in enumerate((batch["garment"], batch["image"], made)):
        cut = slice(0, round(pictures.shape[-2] * 3.3 / 4))
        wall.put(pictures[:, :, cut], row=row)
    who = "a network bends and" if method else "somebody who knows everything"
    wall.show(
        "Above: four garments, laid flat. Middle: four people in other clothes. Below: "
        f"the garments on the people, as {who} puts them on.",
        first=True,
    )


# -- patches ---------------------------------------------------------------------------


def cut_out(images: Tensor, cut: Patches, k: int, window: tuple[int, int]) -> Tensor:
    """The pixels ``(C, *window)`` of landmark k's patch of the first image; white
    outside of it."""
    seen = images[0].flatten(1)[:, cut.pixels[0, k]]
    return torch.where(cut.inside[0, k], seen, 1.0).unflatten(1, window)


def in_patch(point: Tensor, cut: Patches, k: int, window: tuple[int, int]) -> Tensor:
    """A place ``(2,)`` in [-1, 1] of an image, in [-1, 1] of a landmark's patch."""
    centre = to_pixels(cut.places[0, k], cut.size) - cut.offsets[0, k]
    corner = centre[len(centre) // 2] + cut.offsets[0, k, 0]  # the patch's first pixel
    return from_pixels(to_pixels(point, cut.size) - corner, window)


def fitted_turn(
    flow: Tensor, mask: Tensor, cut: Patches, k: int, garment: Tensor | None = None
) -> Tensor:
    """The best A ``(2, 2)`` for a patch of the first image: how offsets on the person
    become offsets on the garment, fitted to its true flow where ``mask`` is.

    With the landmark's place on the ``garment (2,)`` in [-1, 1], A keeps it where it
    is, and other layers of cloth, whose places are far from it, do not count.
    """
    where = cut.pixels[0, k]
    places = to_pixels(flow[0].flatten(1).T[where], cut.size)
    near = (-cut.offsets[0, k].square().sum(-1) / 18).exp()
    weight = (mask[0].flatten()[where] * cut.inside[0, k] * near).sqrt().unsqueeze(1)
    here = cut.offsets[0, k]
    if garment is None:
        here = F.pad(here, (0, 1), value=1.0)  # where the landmark goes is fitted, too
    else:
        places = places - to_pixels(garment, cut.size)
        same = places.norm(dim=-1) < 2 * here.norm(dim=-1) + 1.5
        weight = weight * same.unsqueeze(1)
    if weight.count_nonzero() < 6:
        return torch.eye(2)
    return torch.linalg.lstsq(weight * here, weight * places).solution[:2].T


def window_of(
    light: Tensor, point: Tensor, cells: tuple[int, int] = (12, 9)
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """So many cells (down, across) of a map ``(1, h, w)`` around a place ``(2,)``, and
    what takes places in [-1, 1] of the map to [-1, 1] of these cells."""
    size, window = torch.tensor(light.shape[:0:-1]), torch.tensor(cells[::-1])
    corner = ((point + 1) / 2 * size - window / 2).round().long()
    x, y = corner.clamp(min=0).minimum(size - window).tolist()
    corner = torch.tensor([x, y])
    return (
        light[:, y : y + cells[0], x : x + cells[1]],
        lambda place: 2 * ((place + 1) / 2 * size - corner) / window - 1,
    )


# -- landmarks -------------------------------------------------------------------------


def near_landmarks(links: Links, which: Iterable[int], size: tuple[int, int]) -> Tensor:
    """Pixels ``(B, 1, H, W)`` (bool) in squares of a fifth of the height around the
    active ones of some landmarks of the person."""
    k = [*which]
    value = links.active[:, k].float()
    maps = squares(links.person[:, k], value, size, size[0] / 5, 0.0)
    return maps.amax(1, keepdim=True) > 0.5


def moved_to(links: Links, device) -> Links:
    """The same on another device."""
    return Links(*(part.to(device) for part in links))


def plain_picture(ax: Axes, picture: Tensor) -> None:
    """One picture in axes of a widget's own."""
    draw_image(ax, enlarged(picture, (384, 288), Wall.coarse))
