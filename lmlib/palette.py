"""The colours of landmarks, the same in every figure, widget and overlay."""

# Okabe and Ito's colours, told apart by most colour-blind readers; black is left out,
# as scenes are black.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#f0e442")


def colour(number: int) -> str:
    """Colour of landmark ``number`` as ``#rrggbb``; they repeat after seven."""
    return COLOURS[number % len(COLOURS)]
