"""Diagrams: boxes where the layout says, texts inside, arrows that touch no others."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from lmcourse.diagrams import ROLES, SMALL, Arrow, Node, diagram, show_diagram
from lmcourse.plots import draw_image, pixels

IMAGE, MAP = np.zeros((1, 20, 20)), np.eye(20)
LAYOUT = """
    image  network maps   points
    warped network .      loss
"""
NODES = {
    "image": Node("image", "1 × 60 × 60", "given", [IMAGE], 0.8),
    "warped": Node("the same image,\nwarped", "1 × 60 × 60", "given"),
    "network": Node("network", "five layers", "learned"),
    "maps": Node("maps", r"softmax of $\beta M$", pictures=[MAP, MAP], size=0.6),
    "points": Node("landmarks", "5 × 2"),
    "loss": Node("distance", "", "loss"),
}
ARROWS = [
    "image -> network",
    "warped -> network",
    "network -> maps",
    "maps -> points: soft-argmax",
    "points --> loss: compared",
]


def drawn(layout=LAYOUT, nodes=NODES, arrows=ARROWS, **look):
    fig = diagram(layout, nodes, arrows, "An image and its copy go one way", **look)
    fig.canvas.draw()
    return fig


def found(fig, kind, prefix):
    """Extents in pixels of the artists of a kind, by the names in their gid."""
    artists = [a for a in fig.axes[0].get_children() if isinstance(a, kind)]
    named = [(str(a.get_gid()), a) for a in artists]
    return [
        (name.split(":")[1], a.get_window_extent())
        for name, a in named
        if name.startswith(prefix)
    ]


def boxes(fig):
    return dict(found(fig, FancyBboxPatch, "box:"))


def inside(inner, outer, slack=0.5):
    return (
        inner.x0 >= outer.x0 - slack
        and inner.x1 <= outer.x1 + slack
        and inner.y0 >= outer.y0 - slack
        and inner.y1 <= outer.y1 + slack
    )


def test_boxes_stand_in_the_order_of_the_layout_and_do_not_overlap():
    places = boxes(drawn())
    assert places.keys() == NODES.keys()
    assert not any(a.overlaps(b) for a, b in combinations(places.values(), 2))
    left = [places[name].x0 for name in ("image", "network", "maps", "points")]
    assert left == sorted(left)
    assert places["warped"].y1 < places["image"].y0  # below; pixels count upwards
    tall = places["network"]
    assert tall.y0 <= places["warped"].y0 and tall.y1 >= places["image"].y1


def test_texts_and_pictures_stay_inside_their_boxes():
    fig = drawn()
    places = boxes(fig)
    texts = found(fig, fig.axes[0].text(0, 0, "").__class__, "text:")
    assert len(texts) == 11  # six titles, five with lines below
    assert all(inside(extent, places[name]) for name, extent in texts)
    pictures = [
        (ax.get_gid().split(":")[1], ax.get_window_extent()) for ax in fig.axes[1:]
    ]
    assert [name for name, _ in pictures] == ["image", "maps", "maps"]
    assert all(inside(extent, places[name]) for name, extent in pictures)
    covered = [extent for _, extent in texts + pictures]
    assert not any(a.overlaps(b) for a, b in combinations(covered, 2))


def test_no_letter_is_small_and_the_page_is_as_wide_as_asked():
    fig = drawn(width=9.5)
    sizes = [text.get_fontsize() for text in fig.axes[0].texts]
    assert min(sizes) == SMALL >= 11
    assert pixels(fig).width == 950


def ends(fig):
    arrows = [a for a in fig.axes[0].patches if isinstance(a, FancyArrowPatch)]
    transform = fig.axes[0].transData.transform
    return [transform(a._path_original.vertices) for a in arrows]


def test_arrows_begin_and_end_at_the_edges_of_their_boxes():
    fig = drawn()
    places = boxes(fig)
    for text, corners in zip(ARROWS, ends(fig), strict=True):
        arrow = Arrow.parse(text)
        for name, (x, y) in ((arrow.start, corners[0]), (arrow.end, corners[-1])):
            box = places[name]
            at_side = min(abs(x - box.x0), abs(x - box.x1)) < 1
            at_top = min(abs(y - box.y0), abs(y - box.y1)) < 1
            assert at_side != at_top, text
            assert inside(type(box)([[x, y], [x, y]]), box, 1), text


def test_labels_keep_clear_of_boxes():
    fig = drawn()
    labels = found(fig, fig.axes[0].text(0, 0, "").__class__, "label:")
    assert [name for name, _ in labels] == ["maps", "points"]
    for _, label in labels:
        assert not any(label.overlaps(box) for box in boxes(fig).values())


@pytest.mark.parametrize("bend", ["under", "over"])
def test_an_arrow_can_go_round_what_is_between(bend):
    with pytest.raises(ValueError, match="runs through 'maps'"):
        drawn("image maps points", _three(), ["image -> points"])
    fig = drawn("image maps points", _three(), [Arrow("image", "points", "T", bend)])
    (corners,) = ends(fig)
    between = boxes(fig)["maps"]
    across = corners[1][1]
    assert across == corners[2][1]
    assert across < between.y0 if bend == "under" else across > between.y1


def _three():
    return {name: NODES[name] for name in ("image", "maps", "points")}


@pytest.mark.parametrize("bend", ["hv", "vh", "hvh", "vhv"])
def test_bends_leave_and_arrive_as_their_letters_say(bend):
    pair = {"a": Node("first"), "b": Node("second")}
    (corners,) = ends(drawn("a .\n. b", pair, [Arrow("a", "b", bend=bend)]))
    level = [
        "h" if abs(y1 - y0) < 1e-6 else "v" for (_, y0), (_, y1) in pairwise(corners)
    ]
    assert "".join(level) == bend


def test_roles_differ_in_colour_shape_and_edge_and_are_explained():
    colours, radii, edges, words = zip(*ROLES.values(), strict=True)
    assert len(set(colours)) == len(set(zip(radii, edges, strict=True))) == len(ROLES)
    fig = drawn()
    shown = {text.get_text() for text in fig.axes[0].texts}
    assert set(words) <= shown
    bare = drawn(legend=False)
    assert not set(words) & {text.get_text() for text in bare.axes[0].texts}
    assert pixels(bare).height < pixels(fig).height
    assert "loss" not in {
        t.get_text() for t in drawn("a", {"a": Node("x")}, []).axes[0].texts
    }


def test_the_same_diagram_is_the_same_picture():
    assert np.array_equal(pixels(drawn()), pixels(drawn()))


def test_a_picture_may_be_a_function_of_its_axes():
    node = Node("face", pictures=[lambda ax: draw_image(ax, IMAGE, None)])
    (ax,) = drawn("a", {"a": node}, []).axes[1:]
    assert len(ax.images) == 1


def test_in_a_notebook_it_has_alt_text(monkeypatch):
    from lmcourse import diagrams

    seen = []
    monkeypatch.setattr(diagrams, "show", lambda fig, alt: seen.append(alt))
    show_diagram(LAYOUT, NODES, ARROWS, "What flows where")
    assert seen == ["What flows where"]


WIDE = {name: Node("a very long title " * 2) for name in "abcd"}


@pytest.mark.parametrize(
    ("layout", "nodes", "arrows", "says"),
    [
        ("a b\nc", {}, [], "equally many words"),
        ("a b", {"a": Node("x")}, [], "'b' must be both"),
        ("a", {"a": Node("x"), "c": Node("y")}, [], "'c' must be both"),
        ("a b\nb a", {"a": Node("x"), "b": Node("y")}, [], "no rectangle"),
        ("a", {"a": Node("x")}, ["a -> z"], "'z', which is not"),
        ("a", {"a": Node("x")}, ["a to a"], "an arrow reads"),
        ("a b c d", WIDE, [], "the page has 9.0"),
        (
            "a b\nc .",
            {name: Node(name) for name in "abc"},
            [Arrow("a", "c", "words that are much too long for " + "a gap " * 20)],
            "leaves the page|lies on",
        ),
        ("a b", {"a": Node("x"), "b": Node("y")}, [Arrow("a", "b", bend="z")], "bend"),
    ],
)
def test_what_cannot_be_drawn_well_is_an_error(layout, nodes, arrows, says):
    with pytest.raises(ValueError, match=says):
        drawn(layout, nodes, arrows)


def test_unknown_roles_and_missing_captions_are_errors():
    with pytest.raises(ValueError, match="unknown role"):
        Node("x", role="other")
    with pytest.raises(ValueError, match="alt text"):
        diagram("a", {"a": Node("x")}, [], " ")
