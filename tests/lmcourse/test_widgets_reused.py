"""Nothing of an earlier frame survives: reused axes are as good as new.

Each ``draw`` below leaves the axes in another mess. Whatever was drawn before, a
picture must be, to the last bit, the one that a new figure shows.
"""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import ticker
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from lmcourse import plots
from lmcourse.widgets.reused import Kept, ReusedFigure

SIZE = (5, 2.5)


def plain(fig):
    left, right = fig.subplots(1, 2)
    left.plot([0, 1, 3], [2, 5, 4])
    plots.draw_image(right, np.linspace(0, 1, 64).reshape(8, 8), "an image")


def titles(fig):
    left, right = fig.subplots(1, 2)
    left.set_title("middle", fontsize=14, color="red", pad=12)
    left.set_title("left", loc="left")
    right.set_title("right", loc="right", y=0.8, rotation=20)
    left.set(xlabel="x", ylabel="y")
    left.xaxis.labelpad, left.yaxis.labelpad = 9, 1
    right.set_xlabel("top", loc="left")
    right.xaxis.set_label_position("top")


def limits(fig):
    left, right = fig.subplots(1, 2)
    left.set(xlim=(-7, 12), ylim=(5, -5))
    left.plot([0, 10], [1, 2])
    right.margins(0.4, 0)
    right.plot([0, 1e6], [1e-9, 3e-9])  # offset and power beside the axis
    right.autoscale(False)


def logarithmic(fig):
    left, right = fig.subplots(1, 2)
    left.loglog([1e-4, 1e5], [1, 10])
    left.grid(which="both")
    right.set(xscale="symlog", yscale="logit", xlim=(-100, 100), ylim=(0.01, 0.99))
    right.minorticks_on()


def legends(fig):
    left, right = fig.subplots(1, 2)
    for k in range(9):
        left.plot([0, 1], [k, k + 1], label=f"curve {k}")
    left.legend(ncols=2, title="nine")
    right.add_artist(
        right.legend(handles=[Circle((0, 0))], labels=["one"], loc="lower left")
    )
    right.legend(handles=[Line2D([], [])], labels=["two"])


def points(fig):
    left, right = fig.subplots(1, 2)
    plots.draw_points(left, np.eye(2), ["a", "b"], labels=True)
    left.legend()
    right.scatter(range(5), range(5), c=range(5), s=200, alpha=0.4)


def ticks(fig):
    left, right = fig.subplots(1, 2)
    left.set_xticks([0, 1], ["zero", "one"], rotation=60, color="blue")
    left.tick_params(
        axis="y", length=9, width=3, labelsize=15, direction="in", right=True
    )
    left.yaxis.set_major_locator(ticker.MultipleLocator(0.05))
    left.yaxis.set_major_formatter("{x:.3f} m")
    right.tick_params(labelbottom=False, labeltop=True, bottom=False, top=True)
    right.xaxis.set_minor_locator(ticker.MultipleLocator(0.01))
    right.yaxis.set_ticks_position("right")
    right.yaxis.set_tick_params(which="both", grid_color="red", grid_alpha=0.5)
    right.get_yticklabels()[0].set_color("orange")


def spines(fig):
    left, right = fig.subplots(1, 2)
    left.spines[["top", "right"]].set_visible(False)
    left.spines["left"].set(position=("data", 0.5), color="green", linewidth=4)
    left.spines["bottom"].set_bounds(0.2, 0.4)
    right.set_frame_on(False)
    right.set_facecolor("yellow")
    right.patch.set_alpha(0.3)


def off(fig):
    left, right = fig.subplots(1, 2)
    left.axis("off")
    left.plot([0, 1])
    right.set_visible(False)


def shape(fig):
    left, right = fig.subplots(1, 2)
    left.set_aspect("equal", anchor="NE")
    left.imshow(np.eye(3), cmap="viridis")
    right.set_box_aspect(2)
    right.set_position([0.6, 0.6, 0.2, 0.3])
    right.set(xlim=(3, -3), axisbelow=True)
    right.invert_yaxis()


def styles(fig):
    left, right = fig.subplots(1, 2)
    left.set_prop_cycle(color=["pink", "brown"])
    left.plot([0, 1])
    left.set_zorder(5)
    right.plot([0, 1])
    right.plot([1, 0])  # the second colour of the cycle, then the third
    right.text(0.5, 0.5, "text", transform=right.transAxes, bbox={"fc": "w"})
    right.annotate("note", (0.5, 0.5), (20, 20), textcoords="offset points",
                   arrowprops={"arrowstyle": "->"})  # fmt: skip
    right.set_rasterization_zorder(1)


def around(fig):
    left, right = fig.subplots(1, 2)
    left.plot([0, 1], label="a")
    fig.suptitle("above", x=0.3)
    fig.supxlabel("below")
    fig.text(0.5, 0.5, "on the figure")
    fig.legend(loc="upper left")
    fig.patch.set_facecolor("lightblue")
    fig.add_artist(Circle((0.5, 0.5), 0.1, color="red"))


def wired(fig):
    left, right = fig.subplots(1, 2)
    left.callbacks.connect("xlim_changed", lambda ax: ax.set_title("called back"))
    left.set_xlim(0, 3)
    right.add_callback(lambda ax: ax.set_facecolor("red"))


def twins(fig):
    left, right = fig.subplots(1, 2)
    left.plot([0, 1])
    twin = left.twinx()
    twin.plot([100, 50, 7])
    twin.set_ylabel("another scale")
    right.twiny().set_xlim(5, 6)


def bars(fig):
    left, right = fig.subplots(1, 2)
    fig.colorbar(left.imshow(np.eye(4)), ax=left)
    right.inset_axes([0.5, 0.5, 0.4, 0.4]).plot([1, 0, 1])
    right.secondary_xaxis("top", functions=(lambda x: 2 * x, lambda x: x / 2))


def joined(fig):
    left, right = fig.subplots(1, 2)
    right.sharex(left)
    left.set_xlim(20, 30)
    left.tick_params(labelrotation=30)


def fewer(fig):
    left, right = fig.subplots(1, 2)
    left.remove()
    right.plot([3, 1])


def other_grid(fig):
    axes = fig.subplots(2, 3, sharex=True, sharey="row", width_ratios=(1, 2, 1))
    axes[0, 0].plot([5, 9], [1, 8])
    axes[1, 2].set(xlabel="shared", ylim=(0, 3))
    axes[0, 1].label_outer()


def shared_only_now(fig):
    left, right = fig.subplots(1, 2, sharex=True, sharey=True)
    left.plot([5, 9], [1, 8])


def placed(fig):
    ax = fig.add_axes((0.2, 0.2, 0.7, 0.6))
    ax.plot([1, 3, 2], "o--", label="points")
    ax.set_title("placed")


def one_by_one(fig):
    fig.add_subplot(121).plot([0, 3])
    fig.add_subplot(122, projection="polar").plot([0, 3], [1, 2])


def other_kinds(fig):
    polar, solid = fig.subplots(1, 2, subplot_kw={"projection": "polar"})
    polar.plot([0, 3], [1, 2])
    solid.set_rmax(7)


def solid(fig):
    ax = fig.subplots(subplot_kw={"projection": "3d"})
    ax.plot([0, 1], [0, 1], [0, 1])
    ax.set(zlim=(0, 5), title="solid", zlabel="height", zticks=[1, 4])
    ax.view_init(10, 70)


def solid_again(fig):
    fig.subplots(subplot_kw={"projection": "3d"}).plot([0, 1], [1, 0], [0, 1])


def mixed(fig):
    left, right = fig.subplots(1, 2)
    left.plot([0, 1])
    fig.add_axes((0.4, 0.4, 0.2, 0.2)).plot([1, 0])


def failing(fig):
    left, _ = fig.subplots(1, 2)
    left.set(title="half done", xlim=(3, 9))
    raise RuntimeError("in the middle")


DRAWS = (
    plain, titles, limits, logarithmic, legends, points, ticks, spines, off, shape,
    styles, around, wired, twins, bars, joined, fewer, other_grid, shared_only_now,
    placed, one_by_one, other_kinds, solid, solid_again, mixed,
)  # fmt: skip


def new_figure():
    return ReusedFigure(SIZE, dpi=100, facecolor="white", layout="constrained")


def frame(fig, draw) -> np.ndarray:
    fig.begin()
    fig.set_layout_engine("none")
    draw(fig)
    return np.asarray(plots.pixels(fig))


@pytest.fixture(scope="module")
def fresh():
    """The picture that a new figure shows."""
    return {draw: frame(new_figure(), draw) for draw in DRAWS}


def same(one, other):
    return one.tobytes() == other.tobytes()


def test_the_messes_are_different_pictures(fresh):
    assert len({picture.tobytes() for picture in fresh.values()}) == len(DRAWS)


@pytest.mark.parametrize("mess", DRAWS, ids=lambda draw: draw.__name__)
def test_nothing_survives_a_mess(mess, fresh):
    fig = new_figure()
    for number, draw in enumerate((plain, mess, mess, plain)):
        assert same(frame(fig, draw), fresh[draw]), f"frame {number}: {draw.__name__}"


def test_nothing_survives_in_any_order(fresh):
    order = np.random.default_rng(0).choice(len(DRAWS), 40)
    fig = new_figure()
    for before, draw in zip([None, *order], order, strict=False):
        told = f"{draw} after {before}"
        assert same(frame(fig, DRAWS[draw]), fresh[DRAWS[draw]]), told


def test_axes_that_are_not_matplotlibs_own_are_new_each_time(fresh):
    fig = new_figure()
    assert same(frame(fig, solid), fresh[solid])
    assert same(frame(fig, solid_again), fresh[solid_again])


def test_a_frame_after_a_failed_one_is_clean(fresh):
    fig = new_figure()
    frame(fig, plain)
    with pytest.raises(RuntimeError, match="in the middle"):
        frame(fig, failing)
    assert same(frame(fig, plain), fresh[plain])


def test_the_same_axes_come_back_and_in_the_same_shape():
    fig, seen = new_figure(), []

    def draw(fig):
        axes = fig.subplots(2, 2)
        seen.append(axes)
        axes[0, 0].plot([0, 1])
        axes[1] = None  # the array is the caller's

    for _ in range(3):
        frame(fig, draw)
    assert seen[1].shape == (2, 2) and seen[1][0, 0] is seen[2][0, 0] is fig.axes[0]
    assert len(fig.axes) == 4 and len(fig.axes[0].lines) == 1


def test_other_arguments_make_other_axes():
    fig, seen = new_figure(), []
    for ratios in ((1, 2), (1, 2), (2, 1), (2, 1)):
        frame(
            fig, lambda fig, r=ratios: seen.append(fig.subplots(1, 2, width_ratios=r))
        )
    first, second, third, fourth = (axes[0] for axes in seen)
    assert first is second and third is fourth and first is not third
    widths = [ax.get_position().width for ax in (first, third)]
    assert widths[1] == pytest.approx(2 * widths[0])


def test_shared_limits_stay_shared():
    fig = new_figure()
    for low in (0, 5, 9):

        def draw(fig, low=low):
            axes = fig.subplots(2, 1, sharex=True)
            axes[0].plot([low, low + 1], [0, 1])
            assert axes[1].get_xlim() == axes[0].get_xlim()
            assert low - 1 < axes[1].get_xlim()[0] < low

        frame(fig, draw)


def test_ticks_are_made_once():
    fig, seen = new_figure(), []
    for _ in range(4):
        frame(fig, lambda fig: fig.subplots().loglog([1, 1000], [1, 10]))
        seen.append(fig.axes[0].xaxis.get_minor_ticks())
    assert len(seen[-1]) > 15
    assert all(one is other for one, other in zip(*seen[-2:], strict=True))


def test_a_frame_is_let_go():
    """Hours of training draw many frames: nothing of them may pile up."""
    fig, artists = new_figure(), []

    def draw(fig):
        left, right = fig.subplots(1, 2)
        artists.append(weakref.ref(left.plot([0, 1])[0]))
        artists.append(weakref.ref(right.imshow(np.eye(3))))
        artists.append(weakref.ref(left.legend(labels=["a"])))

    for _ in range(5):
        frame(fig, draw)
    gc.collect()
    listening = len(fig.axes[0].transData._parents)
    assert sum(artist() is not None for artist in artists) == 3  # the last frame's
    for _ in range(20):
        frame(fig, draw)
    gc.collect()
    assert len(fig.axes[0].transData._parents) == listening


def test_whatever_holds_values_is_put_back():
    inner = SimpleNamespace(number=1)
    root = SimpleNamespace(
        numbers=[1, 2], names={"a": [3]}, kinds={4, 5}, grid=np.eye(2), inner=inner
    )
    numbers, names, kinds, grid = root.numbers, root.names, root.kinds, root.grid
    kept = Kept([root])
    numbers.append(9)
    names["b"], names["a"][0] = 9, 9
    kinds ^= {5, 9}
    grid += 9
    root.numbers, root.more, inner.number = "gone", 9, 9
    kept.restore()
    assert root.numbers is numbers and numbers == [1, 2] and names == {"a": [3]}
    assert kinds == {4, 5} and (grid == np.eye(2)).all() and not hasattr(root, "more")
    assert inner.number == 9  # not matplotlib's: not followed
