"""Warps without training, to sweep what a local flow depends on.

A coarse mean of the true flow stands in for a global flow, and each landmark's patch
is carried over by the best affine map. So only geometry is left: how large patches are,
how many landmarks take part, how exactly they lie, whether they join what belongs
together, and how sharply a pixel looks.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from lmcourse.experiments.cells import load_cell
from lmcourse.experiments.salvton import moved
from lmcourse.experiments.salvton_whole import some_rough
from lmcourse.fitting_room import (
    PEOPLE,
    Wall,
    cloth_of,
    fitted_turn,
    on_white,
    one,
    seen,
    shipped,
    triplets,
)
from lmcourse.plots import COLOURS, figure, show
from lmlib.methods.salvton import Links, Salvton, links_of, worn_garment
from lmlib.methods.salvton.flows import warp
from lmlib.methods.salvton.parser_free import cut_out
from lmlib.methods.salvton.patches import blend, log_box, match, windows
from lmlib.methods.salvton_baselines import spline_flow
from lmlib.samples import Batch
from lmlib.tryon_metrics import end_point_error, psnr

CARRY = 0.5  # how strongly offsets count, in 1/px^2
OFF_PEOPLE = (100_033, 100_027)
NEAR = 0.1  # how fast a patch's attention falls, in 1/px^2


@dataclass(frozen=True)
class Setting:
    """What the local flow of the laboratory depends on."""

    patch: float = 0.16  # share of the image's sides
    landmarks: int = 32  # how many take part
    jitter: float = 0.0  # deviation of the person's landmarks in pixels
    temperature: float = 1.0  # of the search in a patch
    permuted: bool = False  # join landmarks of different parts


@dataclass
class Lab:
    """Some triplets with exact flows, and the warps of a ``Setting``."""

    batch: Batch
    cells: int = 16  # pixels a cell of the coarse flow
    seed: int = 0
    size: tuple[int, int] = field(init=False)
    whole: Tensor = field(init=False)  # the garment as the coarse flow reads it
    turns: Tensor = field(init=False)

    def __post_init__(self):
        self.size = tuple(self.batch["image"].shape[-2:])
        flow, mask = self.batch["flow"], self.batch["target_mask"]
        self.flow = coarse(flow, mask, self.cells)
        self.whole = warp(cloth_of(self.batch), self.flow)
        links = links_of(self.batch)
        window = tuple(int(0.15 * side) // 2 * 2 + 1 for side in self.size)
        count, landmarks = links.person.shape[:2]
        self.turns = torch.eye(2).repeat(count, landmarks, 1, 1)
        for n in range(count):
            own = one(self.batch, n)
            cut = windows(own["landmarks"], self.size, window)
            for k in links.active[n].nonzero().flatten().tolist():
                place = own["flow"], own["target_mask"], cut
                garment = links.garment[n, k]
                self.turns[n, k] = fitted_turn(*place, k, garment)

    def links(self, setting: Setting) -> Links:
        """The annotated landmarks after what the setting does to them."""
        links = links_of(self.batch)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(links.person.shape[1], generator=generator)
        noise = torch.randn(links.person.shape, generator=generator)
        unit = 2 / torch.tensor([self.size[1], self.size[0]])
        attribute = links.attribute.clone()
        attribute[:, order[setting.landmarks :]] = 0
        links = links._replace(
            person=links.person + setting.jitter * unit * noise, attribute=attribute
        )
        if setting.permuted:
            links = links._replace(
                garment=links.garment.roll(11, 1), present=links.present.roll(11, 1)
            )
        return links

    def warps(self, setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
        """``W_f (B, 4, H, W)``, its flow, and where patches are ``(B, 1, H, W)``."""
        links = self.links(setting)
        window = tuple(int(setting.patch * s) // 2 * 2 + 3 for s in self.size)
        mine = windows(links.person, self.size, window)
        side = torch.tensor([self.size[1], self.size[0]]) * setting.patch
        sides = side.expand(*links.present.shape, 2)
        silent = self.batch["image"][:, :1] * 0
        beta = torch.full((links.person.shape[1],), CARRY / setting.temperature)
        # Where a patch is read is not cut: only how far it is painted.
        wide = windows(links.garment, self.size, tuple(2 * s + 1 for s in window))
        found = match(
            silent, silent, mine, wide, 9 * sides, self.turns, beta, links.active
        )
        near = -NEAR * mine.offsets.square().sum(-1)
        laid = blend(
            cloth_of(self.batch), mine, found, near,
            log_box(mine.offsets, sides), links.active,
        )  # fmt: skip
        gate = 1 - laid.covered
        return (
            gate * self.whole + laid.covered * laid.warped,
            gate * self.flow + laid.covered * laid.flow,
            laid.covered,
        )

    def psnr(self, cloth: Tensor, where: Tensor | None = None) -> Tensor:
        """PSNR in dB of garments ``(B, 3|4, H, W)``, ``(B,)``; by default inside of the
        true masks."""
        mask = self.batch["target_mask"] if where is None else where
        return psnr(cloth[:, :3], self.batch["target"], mask)

    def gain(self, setting: Setting) -> Tensor:
        """How many dB patches add to the coarse flow, ``(B,)``."""
        return self.psnr(self.warps(setting)[0]) - self.psnr(self.whole)

    def off(self, flow: Tensor) -> Tensor:
        """End-point errors of flows in pixels, ``(B,)``."""
        batch = self.batch
        return end_point_error(flow, batch["flow"], batch["target_mask"])


def coarse(flow: Tensor, mask: Tensor, cell: int) -> Tensor:
    """The mean of flows ``(B, 2, H, W)`` over cells of so many pixels, inside of masks;
    empty cells take the mean of their neighbours."""
    share = F.avg_pool2d(mask, cell)
    mean = F.avg_pool2d(flow * mask, cell) / share.clamp(min=1e-6)
    known = (share > 0).float()
    for _ in range(max(mean.shape[-2:])):
        near = F.avg_pool2d(known, 3, 1, 1)
        fill = F.avg_pool2d(mean * known, 3, 1, 1) / near.clamp(min=1e-6)
        mean = mean * known + fill * (1 - known)
        known = torch.maximum(known, (near > 0).float())
    how = {"mode": "bilinear", "align_corners": False}
    return F.interpolate(mean, size=flow.shape[-2:], **how)


# -- what a local flow costs -----------------------------------------------------------


def some_search(
    size: tuple[int, int], window: tuple[int, int], landmarks: int, plain: bool
) -> Callable[[], Tensor]:
    """A local flow of random features of an image, 16 numbers a pixel, to be measured;
    ``plain`` as in ``match``."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 1, 16, *size, generator=generator)
    points = 1.4 * torch.rand(2, 1, landmarks, 2, generator=generator) - 0.7
    sides = torch.tensor(window[::-1]).float().expand(1, landmarks, 2)
    turns = torch.eye(2).expand(1, landmarks, 2, 2)
    beta, active = torch.full((landmarks,), 0.1), torch.ones(1, landmarks).bool()

    def search() -> Tensor:
        cut = (windows(each, size, window) for each in points)
        return match(*features, *cut, sides, turns, beta, active, plain=plain)

    return search


def costs(step: Callable[[], object]) -> tuple[float, float]:
    """The largest memory in MB that a step's tensors have at one time, beyond those
    that were there before, and its processor time in seconds, on a CPU."""
    step()
    start = time.process_time()
    step()
    seconds = time.process_time() - start
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # no lines of its own on stderr
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as seen:
        step()
    events = [
        each
        for each in seen.profiler.kineto_results.events()
        if each.name() == "[memory]"
    ]
    events.sort(key=lambda each: each.start_ns())
    held = accumulate(each.nbytes() for each in events)
    return max(held, default=0) / 2**20, seconds


# -- a first picture -------------------------------------------------------------------


def open_training() -> None:
    """51: garments warped by coarse flows, by finer ones, and as they should be."""
    method = shipped(("warps",))
    batch = triplets(PEOPLE[1:], method.config.shape if method else (128, 96))
    cloth, links = cloth_of(batch), links_of(batch)
    if method is None:
        high = batch["image"].shape[-2]
        flows = [
            coarse(batch["flow"], batch["target_mask"], high // n) for n in (4, 8, 32)
        ]
    else:
        flows = method.warps(*seen(batch), links).flows
        size = batch["image"].shape[-2:]
        how = {"size": size, "mode": "bilinear", "align_corners": False}
        flows = [F.interpolate(flow, **how) for flow in flows]
    names = ("the garment", *(f"level {n + 1}" for n in range(len(flows))), "wanted")
    wall = Wall(len(names), len(PEOPLE) - 1, names, high=3.6)
    shown = [cloth, *(warp(cloth, flow) for flow in flows), worn_garment(batch)]
    cut = slice(0, round(batch["image"].shape[-2] * 3.6 / 4))
    for column, pictures in enumerate(shown):
        where = batch["target_mask"] if column else pictures[:, 3:]
        for row, picture in enumerate(on_white(torch.cat([pictures[:, :3], where], 1))):
            wall.put(picture[:, cut], column, row)
    wall.show(
        "Three garments, flat on the left and as they should be worn on the right. In "
        "between: bent by a flow of few cells, of more, and of many, cut out by the "
        "true outline.",
        first=True,
    )


OFF = (0, 1, 2, 4)  # pixels of 64 that landmarks lie off by


def carried(method: Salvton | None, batch: Batch, links: Links) -> Tensor:
    """Garments ``(B, 4, H, W)`` as a network warps them by these landmarks or, for
    None, a thin-plate spline through them."""
    cloth = cloth_of(batch)
    if method is None:
        return warp(cloth, spline_flow(links, tuple(cloth.shape[-2:])))
    with torch.no_grad():
        return method.warps(*seen(batch), links).fused


def open_ablations() -> None:
    """52: a spline and a network on landmarks that lie off farther and farther."""
    network = load_cell("salvton-warps", "deformable@10").eval()
    batch = triplets(OFF_PEOPLE, network.config.shape)
    heads = [f"off by {n} px" if n else "exact landmarks" for n in OFF] + ["wanted"]
    ways = {"spline": None, "network": network}
    wall = Wall(5, 2 * len(OFF_PEOPLE), heads, [*ways] * len(OFF_PEOPLE), high=2.8)
    cut = slice(round(0.3 * network.config.shape[0]), None)  # above is no cloth
    for row, way in enumerate([*ways.values()] * len(OFF_PEOPLE)):
        person = one(batch, row // len(ways))
        for column, pixels in enumerate(OFF):
            links = moved(links_of(person), pixels, 0)
            wall.put(on_white(carried(way, person, links))[0, :, cut], column, row)
        wall.put(on_white(worn_garment(person))[0, :, cut], len(OFF), row)
    wall.show(
        "Two garments as a thin-plate spline and as a trained network put them on "
        "somebody. The landmarks are exact on the left, then off by one, two and four "
        "pixels of 64. The spline's letters are at the right place at first, then bent "
        "and torn; the network's are never quite right, and give way at four.",
        first=True,
    )


STUDENTS = {  # settings of salvton-parser-free
    "teacher": "the teacher",
    "rough": "a student of its rough people",
    "true": "the same, of true people",
    "same": "control: they wear it already",
}


def show_rough() -> None:
    """Parser-free training, from left to right: who is photographed, what the teacher
    sees, what it is given, and its rough people, which the student sees."""
    batch = some_rough()
    heads = ["a photograph", "the teacher sees", "and is given", "it draws, roughly"]
    wall = Wall(5, 3, [*heads, "the student's goal"])
    hole = cut_out(batch["target"], batch["target_mask"])
    columns = batch["target"], hole, batch["garment"], batch["image"], batch["target"]
    for column, pictures in enumerate(columns):
        for row, number in enumerate((1, 2, 4)):
            wall.put(pictures[number], column, row)
    wall.show(
        "Three people: as photographed; with what they wear, and a margin around it, "
        "cut out; somebody else's garment; that garment on them, drawn roughly, with "
        "halos and blurred arms; and the photograph again, which the student is to "
        "draw from the rough picture and the garment that it shows.",
    )


def show_students(found: dict[tuple[str, str], float]) -> None:
    """PSNR of ``STUDENTS``, of the whole picture and inside the garment.

    Args:
        found: (setting, metric) -> value, of table ``salvton-parser-free``.
    """
    names = [name for name in STUDENTS if (name, "psnr") in found][::-1]
    fig, axes = figure(8.8, 0.5 * len(names) + 1, cols=2, sharey=True)
    panels = {"psnr": "whole picture", "psnr_garment": "inside the garment"}
    for ax, (metric, title) in zip(axes, panels.items(), strict=True):
        for y, name in enumerate(names):
            value = found[name, metric]
            ax.plot(value, y, "D", ms=10, color=COLOURS[5])
            ax.text(value + 0.4, y, f"{value:.1f}", va="center", fontsize=12)
        ax.set(xlim=(9, 20.5), ylim=(-0.5, len(names) - 0.5), xlabel="dB")
        ax.set_title(title, fontsize=13)
        ax.grid(axis="y", color="0.9")
    axes[0].set_yticks(
        range(len(names)), [STUDENTS[name] for name in names], fontsize=12
    )
    show(
        fig,
        "PSNR of try-ons by the teacher, by a student of the people whom it dressed, "
        "by a student of true people in other garments, and by the control",
    )
