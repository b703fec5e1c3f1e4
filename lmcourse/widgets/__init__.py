"""Interactive parts: sliders that redraw a picture, draggable landmarks, live training.

Three rules hold for all of them. The picture is one ``widgets.Image`` of fixed size
whose bytes are replaced (no flicker, no stacking). Whatever moves the picture is also
measured, and the numbers stand below it as text. And ``strip`` paints still frames
with the very same function, for GitHub, print and readers who only scroll.
"""

from lmcourse.widgets.controls import (
    TemperatureSlider,
    dropdown,
    slider,
    temperature_slider,
)
from lmcourse.widgets.drag import DragPoints
from lmcourse.widgets.explorer import Explorer
from lmcourse.widgets.live import LiveTraining
from lmcourse.widgets.picture import STILL, film

__all__ = [
    "STILL",
    "DragPoints",
    "Explorer",
    "LiveTraining",
    "TemperatureSlider",
    "dropdown",
    "film",
    "slider",
    "temperature_slider",
]
