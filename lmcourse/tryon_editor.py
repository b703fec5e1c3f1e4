"""A try-on that is edited by its landmarks: figure 10 of SAL-VTON.

A ``Fitting`` is a person and a garment in the hands of a network. Its landmarks are
found once; ``edited`` moves those of a part, or a single one, or sets some absent, and
``picture`` draws the person anew. ``Editor`` makes a widget of it.
"""

from collections.abc import Mapping

import torch
from ipywidgets import Button
from torch import Tensor

from lmcourse.experiments.salvton_figures import COLLAR, DOWN, HEM, REACH, SLEEVES
from lmcourse.fitting_room import (
    NAMES,
    PAINT,
    PARTS,
    PEOPLE,
    Wall,
    caption,
    dotted,
    drawn,
    network,
    on_white,
    one,
    part_of,
    triplets,
)
from lmcourse.widgets import DragPoints, Explorer, dropdown
from lmlib.geometry import pixel_grid
from lmlib.methods.salvton import Links, Salvton, links_of
from lmlib.methods.salvton.flows import ABSENT, OCCLUDED, VISIBLE
from lmlib.samples import Batch

# A handle moves landmarks of a part, each by a share of how far it is dragged.
HANDLES: dict[str, dict[int, float]] = {
    "collar": COLLAR,
    "left cuff": {15: 1.0, 16: 1.0, 13: 0.66, 14: 0.66, 11: 0.33, 12: 0.33},
    "right cuff": {25: 1.0, 26: 1.0, 23: 0.66, 24: 0.66, 21: 0.33, 22: 0.33},
    "hem": HEM,
}
CHOICES = ("as they are", "left one absent", "right one absent", "both absent")
ALL = -1  # in place of a landmark's number: the handles
STATES = {"as found": None, "visible": VISIBLE, "occluded": OCCLUDED, "absent": ABSENT}


class Fitting:
    """One person, one garment and a network; ``batch`` holds one triplet or pair.

    The garment is cut out by its mask and put on white, as networks know garments: on a
    photograph there are shadows around it, and the mask's edge is soft.
    ``links`` are those that the network finds; with ``annotated``, those of the batch.
    """

    def __init__(self, method: Salvton, batch: Batch, annotated: bool = False):
        mask = (batch["garment_mask"] >= 0.5).float()
        garment = on_white(torch.cat([batch["garment"], mask], 1))
        batch = batch | {"garment": garment, "garment_mask": mask}
        self.method, self.batch = method, batch
        seen = batch["image"], batch["garment"]
        self.links = links_of(batch) if annotated else method.find(*seen)
        self.start = self.handles(self.links)
        self.found = self.picture(self.links)  # most edits are compared with it

    def handles(self, links: Links) -> Tensor:
        """Where the handles are, ``(4, 2)``: the middle of what follows them fully."""
        places = []
        for shares in HANDLES.values():
            full = [k for k, share in shares.items() if share == 1]
            places.append(links.person[0, full].mean(0))
        return torch.stack(places).clamp(-0.97, 0.97)

    def edited(
        self,
        handles: Tensor | None = None,
        sleeves: str = CHOICES[0],
        places: Mapping[int, Tensor] | None = None,
        states: Mapping[int, int] | None = None,
    ) -> Links:
        """The landmarks after the handles were dragged to ``handles (4, 2)``.

        ``places`` of single landmarks, ``(2,)`` each, and their ``states`` (absent,
        occluded, visible) hold whatever handles and sleeves say.
        """
        if sleeves not in CHOICES:
            raise ValueError(f"sleeves are {', '.join(CHOICES)}; got {sleeves!r}")
        person = self.links.person.clone()
        if handles is not None:
            for by, shares in zip(handles - self.start, HANDLES.values(), strict=True):
                for k, share in shares.items():
                    person[0, k] += share * by
        attribute = self.links.attribute.clone()
        for side, numbers in SLEEVES.items():
            if side in sleeves or "both" in sleeves:
                attribute[:, list(numbers)] = ABSENT
        for k, place in (places or {}).items():
            person[0, k] = place
        for k, state in (states or {}).items():
            attribute[0, k] = state
        return self.links._replace(person=person, attribute=attribute)

    def picture(self, links: Links | None = None) -> Tensor:
        """The person in the garment, ``(3, H, W)``; by default as found."""
        if links is None:
            return self.found
        return drawn(self.method, self.batch, links)[0].clamp(0, 1)

    def near(self, links: Links, reach: float = REACH) -> Tensor:
        """Pixels ``(H, W)`` within ``reach`` of a landmark that differs from the found
        ones, where it was or where it is now."""
        moved = (links.person != self.links.person).any(-1)
        moved = (moved | (links.attribute != self.links.attribute))[0]
        height, width = self.batch["image"].shape[-2:]
        near = torch.zeros(height, width, dtype=torch.bool)
        stretch = torch.tensor([width / height, 1.0])  # so that a reach is a circle
        for points in (self.links.person, links.person):
            far = pixel_grid(height, width).view(-1, 1, 2) - points[0, moved]
            near |= ((far * stretch).norm(dim=-1) < reach).any(1).view(height, width)
        return near


def change(before: Tensor, after: Tensor) -> Tensor:
    """How much each pixel ``(H, W)`` of a picture ``(3, H, W)`` changed."""
    return (after - before).abs().mean(0)


def locality(before: Tensor, after: Tensor, near: Tensor) -> float:
    """The share of all change that lies near what was edited."""
    changed = change(before, after)
    return (changed[near].sum() / changed.sum().clamp(min=1e-9)).item()


class Editor:
    """Marks to drag over the person, and the try-on beside it.

    They are the four handles or, after ``take(k)``, landmark k alone, which stays where
    it is put. ``choose(number)`` takes another of the fittings, ``set_sleeves`` and
    ``set_state`` say what the sleeves, and the landmark that was taken, are.
    """

    def __init__(self, fittings: list[Fitting], size: int = 340):
        self.fittings, self.number, self.sleeves = fittings, 0, CHOICES[0]
        self.landmark = ALL
        self._unedited()
        self.hand = DragPoints(
            self.fitting.batch["image"][0],
            self.fitting.start,
            names=[*HANDLES],
            size=size,
            draw=self.draw,
            output_size=(5.2, 3.7),  # beside the picture, on a page of 840 pixels
            alt="a person with four handles, collar, cuffs and hem, or with one of the "
            "landmarks, to drag; beside it the person in the garment before and after",
        )

    @property
    def fitting(self) -> Fitting:
        """The one that is shown."""
        return self.fittings[self.number]

    def _unedited(self) -> None:
        self.handles = self.taken = self.fitting.start  # taken: where the marks began
        self.places: dict[int, Tensor] = {}
        self.states: dict[int, int] = {}

    def links(self, points: Tensor) -> Links:
        """The landmarks with the marks at ``points (4, 2)`` or, of one, ``(1, 2)``."""
        handles, places = points, self.places
        if self.landmark != ALL:
            handles = self.handles
            if not torch.equal(points, self.taken):
                places = places | {self.landmark: points[0]}
        return self.fitting.edited(handles, self.sleeves, places, self.states)

    def draw(self, fig, points: Tensor) -> dict[str, float]:
        """The try-on as it was and as it is with the marks there."""
        fitting, links = self.fitting, self.links(points)
        before, after = fitting.picture(), fitting.picture(links)
        wall = Wall(2, fig=fig, heads=("as found", "edited"))
        wall.put([before, after])
        wall.landmarks(links.person[0], links.attribute[0], 1, size=5)
        parts = PARTS if self.landmark == ALL else [part_of(self.landmark)]
        for at, part in zip(points, parts, strict=True):
            wall.plot(at, "o", 1, ms=15, mfc="none", mec=PAINT[part], mew=2)
        changed = change(before, after).mean().item()
        inside = locality(before, after, fitting.near(links)) if changed else 1.0
        return {"change (%)": 100 * changed, "of it near the edit (%)": 100 * inside}

    def take(self, landmark: int) -> None:
        """Drag this landmark alone, or the handles if it is ``ALL``."""
        points = self.hand.tensor()
        if self.landmark == ALL:
            self.handles = points
        elif not torch.equal(points, self.taken):
            self.places[self.landmark] = points[0]
        self.landmark = landmark
        self._show_marks()

    def choose(self, number: int) -> None:
        """Another person and garment, unedited."""
        self.number = number
        self._unedited()
        self._show_marks()

    def _show_marks(self) -> None:
        """Of what is dragged, where it is by now."""
        k, picture = self.landmark, self.fitting.batch["image"][0]
        if k == ALL:
            names, points = [*HANDLES], self.handles
        else:
            edits = self.handles, self.sleeves, self.places, self.states
            links = self.fitting.edited(*edits)
            names, points = [NAMES[k]], links.person[0, k : k + 1]
            picture = dotted(picture, links, without=k)
        self.taken, before = points.clamp(*self.hand.limits), self.hand.points
        self.hand.set_image(picture)
        self.hand.names, self.hand.points = names, self.taken.tolist()
        if self.hand.points == before:  # it has not been told
            self.hand.redraw()

    def set_sleeves(self, sleeves: str) -> None:
        """``CHOICES`` says what they can be."""
        self.sleeves = sleeves
        self.hand.redraw()

    def set_state(self, state: int | None) -> None:
        """Of the landmark that was taken: one of ``STATES``; None is as found."""
        if self.landmark == ALL:
            return
        if state is None:
            self.states.pop(self.landmark, None)
        else:
            self.states[self.landmark] = state
        self.hand.redraw()


def choices(editor: Editor) -> Explorer:
    """Menus for an editor: which person, what the sleeves are, what is dragged, and
    what a single landmark is; and a button that puts all back."""
    people = [(f"person {n + 1}", n) for n in range(len(editor.fittings))]
    single = [(f"{k} {name}", k) for k, name in enumerate(NAMES)]
    chooser = Explorer(
        lambda fig, number, sleeves, landmark, state: caption(
            fig, f"person {number + 1}, sleeves {sleeves}"
        ),
        "which person is edited, what the sleeves are, and which landmark is dragged",
        size=(6, 0.4),
        number=dropdown("person", people, 0),
        sleeves=dropdown("sleeves", [*CHOICES]),
        landmark=dropdown("drag", [("the handles", ALL), *single]),
        state=dropdown("this landmark is", [*STATES.items()]),
    )
    state = chooser.controls["state"]
    state.disabled = True

    def show_state():  # of the landmark that was taken
        state.disabled = editor.landmark == ALL
        state.value = editor.states.get(editor.landmark)

    def choose(number):
        editor.choose(number)
        show_state()

    def take(landmark):
        editor.take(landmark)
        show_state()

    tells = {"number": choose, "sleeves": editor.set_sleeves, "landmark": take}
    for name, tell in (tells | {"state": editor.set_state}).items():
        chooser.controls[name].observe(
            lambda change, tell=tell: tell(change.new), "value"
        )
    back = Button(description="Put all back", icon="undo", tooltip="as it was found")
    back.on_click(lambda _: choose(editor.number))
    chooser.box.children = (*chooser.box.children, back)
    return chooser


EDITS: Mapping[str, tuple[Mapping[str, tuple[float, float]], str]] = {
    "deeper collar": ({"collar": (0.0, DOWN)}, CHOICES[0]),
    "no sleeves": ({}, CHOICES[3]),
    "longer hem": ({"hem": (0.0, DOWN)}, CHOICES[0]),
    "all three": ({"collar": (0.0, DOWN), "hem": (0.0, DOWN)}, CHOICES[3]),
}


def edit(fitting: Fitting, name: str) -> Links:
    """One of ``EDITS``, the changes of figure 10."""
    moves, sleeves = EDITS[name]
    handles = fitting.start.clone()
    for handle, by in moves.items():
        handles[[*HANDLES].index(handle)] += torch.tensor(by)
    return fitting.edited(handles, sleeves)


def fittings(method: Salvton, batch: Batch, **how: bool) -> list[Fitting]:
    """One for each triplet of a batch; ``how`` is as for ``Fitting``."""
    count = len(batch["image"])
    return [Fitting(method, one(batch, n), **how) for n in range(count)]


def open_editing() -> None:
    """53: two people in their garments, as found and edited."""
    method = network()
    batch = triplets(PEOPLE[2:0:-1], method.config.shape)
    wall = Wall(1 + len(EDITS), 2, ("as found", *EDITS))
    for row, fitting in enumerate(fittings(method, batch)):
        wall.put(fitting.picture(), 0, row)
        for column, name in enumerate(EDITS, start=1):
            wall.put(fitting.picture(edit(fitting, name)), column, row)
    wall.show(
        "Two people in garments that a network put on them, and the same with the "
        "collar's landmarks moved down, the sleeves' set absent, the hem's moved down, "
        "and all of that.",
        first=True,
    )
