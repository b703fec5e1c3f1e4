"""A figure whose panels are kept from frame to frame, and are as good as new in each.

Most of the time of a small figure goes into making its axes: four panels take as long
as all that is drawn in them. So the widgets' figure makes them once. Before a frame,
everything that the last one may have changed is put back, whatever it was: artists,
titles, limits, scales, ticks, spines, legends, property cycles, transforms, callbacks.
"""

import types
from collections.abc import Callable

import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.cbook import CallbackRegistry
from matplotlib.figure import FigureBase

from lmcourse.plots import Panel, Sheet
from lmcourse.widgets.letters import LettersCanvas

_OUTSIDE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.MethodType,
    FigureBase,
    FigureCanvasBase,
)


class Kept:
    """What some objects of matplotlib, and all below them, are like now.

    ``restore()`` makes them so again, in place. Nothing here names an attribute of
    matplotlib's: attributes, lists, dicts, sets and arrays are followed wherever they
    lead. Figures, canvases and what is not matplotlib's own are not followed.
    """

    def __init__(self, roots: list):
        self.dicts, self.lists, self.sets, self.arrays = [], [], [], []
        self.registries = []
        self._seen: dict[int, object] = {}  # kept alive, so that each id is one object
        waiting = []
        for root in roots:
            waiting += self._keep_attributes(root)
        while waiting:
            found = waiting.pop()
            if id(found) not in self._seen and not isinstance(found, _OUTSIDE):
                self._seen[id(found)] = found
                waiting += self._keep(found)

    def _keep(self, found) -> list:
        """Note what ``found`` is like; returns what it leads to."""
        if isinstance(found, dict):
            self.dicts.append((found, dict(found)))
            return [*found, *found.values()]
        if isinstance(found, list | tuple):
            if isinstance(found, list):
                self.lists.append((found, list(found)))
            return list(found)
        if isinstance(found, set):
            self.sets.append((found, set(found)))
            return list(found)
        if isinstance(found, np.ndarray):
            if found.flags.writeable:
                self.arrays.append((found, found.copy()))
            return []
        if isinstance(found, CallbackRegistry):
            # Each artist has one, and hardly one is ever used.
            self.registries.append((found, bool(found.callbacks), Kept([found])))
            return []
        ours = type(found).__module__.startswith("matplotlib.")
        return self._keep_attributes(found) if ours else []

    def _keep_attributes(self, found) -> list:
        self._seen[id(found)] = found
        attributes = getattr(found, "__dict__", {})
        self.dicts.append((attributes, dict(attributes)))
        return list(attributes.values())

    def restore(self) -> None:
        # No attribute is ever missing, not for a moment: some objects (a path, say)
        # serve all figures, and another thread may be drawing one.
        for now, then in self.dicts:
            now.update(then)
            if len(now) > len(then):
                for key in now.keys() - then.keys():
                    del now[key]
        for now, then in self.lists:
            now[:] = then
        for now, then in self.sets:
            now &= then
            now |= then
        for now, then in self.arrays:
            now[...] = then
        for registry, in_use, then in self.registries:
            if in_use or registry.callbacks:
                then.restore()


class _Panels:
    """Axes made by one call, and what they were like then."""

    def __init__(self, call: str, made):
        self.call, self.made = call, made
        self.axes = _flat(made)
        self._ticks, self._groups = self._count_ticks(), self._find_groups()
        self._kept = Kept(self.axes)

    def _sides(self) -> list:
        return [side for ax in self.axes for side in (ax.xaxis, ax.yaxis)]

    def _count_ticks(self) -> list[tuple[int, int]]:
        return [(len(s.majorTicks), len(s.minorTicks)) for s in self._sides()]

    def _find_groups(self) -> list[set]:
        """For each axes and direction the axes that have the same limits."""
        shared = [ax.get_shared_x_axes().get_siblings(ax) for ax in self.axes]
        shared += [ax.get_shared_y_axes().get_siblings(ax) for ax in self.axes]
        return list(map(set, shared))

    @property
    def as_made(self) -> bool:
        """They share limits as at first: none has a twin, or was joined to another."""
        return self._find_groups() == self._groups

    def renew(self):
        """Empty the axes; returns what the call returned."""
        used = self._count_ticks()
        self._kept.restore()
        if any(
            a > c or b > d for (a, b), (c, d) in zip(used, self._ticks, strict=True)
        ):
            # A tick is five artists: keep as many as were needed.
            for side, (major, minor) in zip(self._sides(), used, strict=True):
                side.get_major_ticks(major)
                side.get_minor_ticks(minor)
            self._ticks, self._kept = self._count_ticks(), Kept(self.axes)
        return self.made.copy() if isinstance(self.made, np.ndarray) else self.made


def _flat(made) -> list:
    return np.atleast_1d(made).flatten().tolist()


def _is_plain(value) -> bool:
    """Two such values with the same text are equal."""
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, int | float | str | None)


class ReusedFigure(Sheet):
    """A figure that is drawn anew many times; ``begin()`` empties it for a frame.

    ``subplots`` and ``add_axes`` then return the axes that the same call (the first,
    second, ... of a frame, with equal arguments) returned in the last frame. Another
    call makes new axes, as in any figure, and so does a frame after one in which axes
    were joined: twins, say.
    """

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        LettersCanvas(self)
        self._panels: list[_Panels] = []  # of the calls so far, and in the last frame
        self._calls = 0  # in this frame
        self._empty = Kept([self])

    def begin(self) -> None:
        """Empty the figure: nothing of what it was told since it was made is left."""
        panels, empty = list(self._panels), self._empty
        if not all(each.as_made for each in panels):
            for ax in self.axes:
                ax.remove()  # which also ends what it shares with other axes
            panels = []
        empty.restore()
        self._panels, self._calls, self._empty = panels, 0, empty

    def subplots(self, *arguments, **settings):
        """``Figure.subplots``, with the axes of the last frame where they fit."""
        return self._again(super().subplots, arguments, settings)

    def add_axes(self, *arguments, **settings):
        """``Figure.add_axes``, with the axes of the last frame where they fit."""
        return self._again(super().add_axes, arguments, settings)

    def _again(self, make: Callable, arguments: tuple, settings: dict):
        if not _is_plain([arguments, settings]):
            return make(*arguments, **settings)
        call = f"{make.__name__} {arguments!r} {settings!r}"
        known = self._panels[self._calls : self._calls + 1]
        if known and known[0].call == call:
            self._calls += 1
            made = known[0].renew()
            for ax in known[0].axes:
                super().add_axes(ax)
            return made
        made = make(*arguments, **settings)
        if all(type(ax) is Panel for ax in _flat(made)):
            self._panels[self._calls :] = [_Panels(call, made)]
            self._calls += 1
        return made
