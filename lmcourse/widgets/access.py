"""What a widget needs to be read aloud, and to notice that nobody looks any more."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import traitlets

try:
    import anywidget
except ImportError:  # everything but dragging works without; see DragPoints.show
    anywidget = None

GONE = "Not connected to a kernel: run this cell to make it live again."
_CSS = f"""
.lmlib-box.jupyter-widgets-disconnected::after {{
  content: "{GONE}"; order: -1; color: #b00020; font-weight: bold; }}
.lmlib-box.jupyter-widgets-disconnected::before,
.lmlib-box .jupyter-widgets-disconnected::before {{ display: none; }}
"""

if anywidget:

    class Access(anywidget.AnyWidget):
        """Invisible; it gives the box it lies in names of sliders and an alt text.

        Its views answer when they are asked whether they are there.
        """

        alt = traitlets.Unicode().tag(sync=True)
        _esm = Path(__file__).with_name("access.js").read_text(encoding="utf-8")
        _css = _CSS

        def __init__(self, **settings):
            super().__init__(**settings)
            self.answers = 0
            self.on_msg(self._hear)

        def _hear(self, *_) -> None:
            self.answers += 1


def access(alt: str) -> list:
    """The part to put into a box with a picture of this ``alt`` text, as a list."""
    return [Access(alt=alt)] if anywidget else []


async def watch(access, going_on: Callable[[], bool], leave: Callable, every=5.0):
    """Call ``leave`` when views that have answered stay silent three times in a row.

    A closed tab tells nobody. It is asked on the loop that hears the answers: while a
    long cell runs, both wait. Ends when ``going_on()`` is false.
    """
    seen, silent = False, 0
    while going_on():
        before = access.answers
        access.send("Are you there?")
        await asyncio.sleep(every)
        answered = access.answers > before
        seen, silent = seen or answered, 0 if answered else silent + 1
        if seen and silent == 3 and going_on():
            leave()
            return
