"""Interactive parts: sliders, draggable landmarks, live training."""

from lmcourse.widgets.explorer import *  # noqa: F403
