"""What the try-on notebooks share: walls, the laboratory, the editor."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from lmcourse import fitting_room as room
from lmcourse import tryon_editor as editing
from lmcourse.tryon_lab import Lab, Setting, coarse, costs, some_search
from lmlib.geometry import to_pixels
from lmlib.methods.salvton import Salvton, SalvtonConfig, links_of
from lmlib.methods.salvton.flows import standing, warp
from lmlib.methods.salvton.patches import windows

SIZE = 64, 48


@cache
def some():
    return room.triplets((100_007, 100_011, 100_012), SIZE)


@cache
def fitting(number=0):
    torch.manual_seed(0)
    method = Salvton(replace(SalvtonConfig.tryon_class(), ngf=8)).eval()
    return editing.Fitting(method, room.one(some(), number), annotated=True)


# -- pictures --------------------------------------------------------------------------


def test_every_landmark_belongs_to_one_part():
    numbers = [k for part in room.PARTS.values() for k in part]
    assert sorted(numbers) == list(range(32)) == list(range(len(room.NAMES)))
    assert "cuff" in room.NAMES[15] and room.part_of(15) == "left sleeve"


def test_a_wall_puts_points_where_pictures_have_them():
    wall = room.Wall(3, 2, side=100)
    corners = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    found = wall.on(corners, column=2, row=1)
    rim = 3 * room.RIM / 100
    wanted = torch.tensor([[6 + rim, 4 + rim], [9 - rim, 8 - rim]])
    torch.testing.assert_close(found, wanted)


def test_a_wall_draws_no_absent_landmark_and_hollows_occluded_ones():
    wall = room.Wall(1)
    attribute = torch.zeros(32, dtype=torch.long)
    attribute[3], attribute[15] = 2, 1
    wall.landmarks(torch.zeros(32, 2), attribute)
    drawn = wall.ax.get_lines()
    assert len(drawn) == 2
    assert {line.get_markerfacecolor() == "none" for line in drawn} == {True, False}


def test_a_chart_tells_all_places_apart():
    chart = room.chart(24, 18, squares=0)
    colours = chart.flatten(1).T
    apart = torch.cdist(colours, colours) + torch.eye(len(colours))
    assert apart.min() > 0.01


def test_a_cut_out_patch_shows_the_pixels_of_the_image():
    images = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    point = torch.tensor([[[0.1, -0.2]]])
    cut = windows(point, SIZE, (5, 7))
    x, y = to_pixels(point[0, 0], SIZE).round().long().tolist()
    shown = room.cut_out(images, cut, 0, (5, 7))
    torch.testing.assert_close(shown, images[0, :, y - 2 : y + 3, x - 3 : x + 4])
    middle = room.in_patch(point[0, 0], cut, 0, (5, 7))
    assert middle.abs().max() < 1 / 5  # within half a pixel of the patch's middle


@pytest.mark.parametrize("cell", [(10, 6), (0, 0), (31, 23)])  # row and column
def test_a_window_of_a_map_holds_a_place_where_its_cell_is(cell):
    light = torch.zeros(1, 32, 24)
    light[0][cell] = 1
    place = 2 * (torch.tensor([cell[1], cell[0]]) + 0.5) / torch.tensor([24, 32]) - 1
    piece, inside = room.window_of(light, place)
    assert piece.shape == (1, 12, 9)
    x, y = to_pixels(inside(place), (12, 9)).round().long().tolist()
    assert piece[0, y, x] == 1


def test_the_fitted_turn_is_that_of_an_affine_flow():
    turn = torch.tensor([[0.8, -0.5], [0.4, 1.2]])
    here = to_pixels(standing(torch.zeros(1, 1, *SIZE)).permute(0, 2, 3, 1), SIZE)
    flow = here @ turn.T + torch.tensor([3.0, -2.0])
    flow = (2 * flow + 1) / torch.tensor([48.0, 64.0]) - 1
    cut = windows(torch.tensor([[[0.2, 0.3]]]), SIZE, (9, 9))
    mask = torch.ones(1, 1, *SIZE)
    found = room.fitted_turn(flow.permute(0, 3, 1, 2), mask, cut, 0)
    torch.testing.assert_close(found, turn, rtol=1e-3, atol=1e-3)


# -- the laboratory --------------------------------------------------------------------


def test_a_coarse_flow_keeps_an_affine_flow_inside():
    flow = 0.8 * standing(torch.zeros(1, 1, *SIZE)) + 0.05
    found = coarse(flow, torch.ones(1, 1, *SIZE), 8)
    inside = (found - flow)[:, :, 8:-8, 8:-8].abs().max()
    assert inside < 1e-5


def test_the_laboratory_answers_as_geometry_demands():
    lab = Lab(some())
    assert lab.gain(Setting(landmarks=0)).abs().max() < 1e-5
    assert lab.gain(Setting(permuted=True)).mean() < 0
    doses = [lab.gain(Setting(jitter=j)).mean() for j in (0.0, 1.0, 2.0, 4.0)]
    assert doses == sorted(doses, reverse=True)
    warm, hot = (lab.gain(Setting(temperature=t)).mean() for t in (1.0, 100.0))
    assert hot < warm
    whole = lab.psnr(warp(some()["garment"], some()["flow"])).mean()
    assert whole > lab.psnr(lab.warps(Setting())[0]).mean()


def test_memory_is_what_is_held_at_one_time():
    def step():
        kept = torch.ones(2, 2**18)  # 2 MB
        for _ in range(3):
            kept = kept + torch.ones(2**18)  # 1 MB, and 2 for the sum
        return kept

    memory, seconds = costs(step)
    assert 4.9 < memory < 5.3 and seconds >= 0


def test_the_plain_search_finds_the_same_and_takes_more_memory():
    plain, ours = (some_search((64, 48), (13, 11), 4, p) for p in (True, False))
    torch.testing.assert_close(plain(), ours(), rtol=1e-4, atol=1e-4)
    assert costs(plain)[0] > 3 * costs(ours)[0]


# -- the editor ------------------------------------------------------------------------


def test_handles_take_their_neighbours_along_and_nothing_else():
    fit = fitting()
    handles = fit.start.clone()
    handles[0] += torch.tensor([0.0, 0.2])  # the collar
    step = fit.edited(handles).person - fit.links.person
    for k in range(32):
        wanted = 0.2 * editing.HANDLES["collar"].get(k, 0.0)
        torch.testing.assert_close(step[0, k], torch.tensor([0.0, wanted]))


def test_sleeves_are_set_absent_on_the_person_only():
    fit = fitting()
    links = fit.edited(sleeves="left one absent")
    assert (links.attribute[0, 9:17] == 0).all()
    torch.testing.assert_close(links.attribute[:, 17:], fit.links.attribute[:, 17:])
    torch.testing.assert_close(links.present, fit.links.present)
    both = fit.edited(sleeves="both absent").attribute[0]
    assert (both[9:17] == 0).all() and (both[19:27] == 0).all()
    with pytest.raises(ValueError, match="sleeves are"):
        fit.edited(sleeves="gone")


def test_an_edit_changes_the_picture_and_no_edit_does_not():
    fit = fitting()
    before = fit.picture()
    torch.testing.assert_close(fit.picture(fit.edited(fit.start)), before)
    links = editing.edit(fit, "longer hem")
    assert editing.change(before, fit.picture(links)).max() > 0
    near = fit.near(links)
    assert 0 < near.float().mean() < 0.8
    assert not fit.near(fit.links).any()


def test_glue_changes_nothing_outside_of_the_warped_mask():
    fit = fitting()
    method, batch = fit.method, fit.batch
    parts = (batch[name] for name in ("image", "garment", "garment_mask"))
    cut = method.warps(*parts, fit.links).fused[:, 3:]
    made = room.glued(method, batch, fit.links)
    outside = (cut == 0).expand_as(made)
    assert outside.any() and not outside.all()
    torch.testing.assert_close(made[outside], batch["image"][outside])
    assert (made != batch["image"]).any()
    assert (made[0] != fit.picture()).any()


def test_locality_is_the_share_of_change_that_is_near():
    before, after = torch.zeros(3, 2, 2), torch.zeros(3, 2, 2)
    after[:, 0, 0], after[:, 1, 1] = 0.3, 0.1
    near = torch.tensor([[True, False], [False, False]])
    assert abs(editing.locality(before, after, near) - 0.75) < 1e-6


def test_the_editor_draws_what_the_hand_does():
    editor = editing.Editor([fitting(0), fitting(2)])
    assert editor.hand.value["change (%)"] == 0
    moved = [list(p) for p in editor.hand.points]
    moved[3][1] -= 0.3
    editor.hand.points = moved
    assert editor.hand.value["change (%)"] > 0
    editor.choose(1)
    assert editor.hand.value["change (%)"] == 0
    editor.set_sleeves("both absent")
    assert (links_of(editor.fitting.batch).attribute > 0).any()
    assert editor.hand.value["change (%)"] > 0


def test_drop_downs_choose_the_person_and_the_sleeves():
    editor = editing.Editor([fitting(0), fitting(2)])
    chooser = editing.choices(editor)
    chooser.controls["number"].value = 1
    assert editor.number == 1 and editor.fitting is editor.fittings[1]
    assert editor.hand.value["change (%)"] == 0
    chooser.controls["sleeves"].value = "both absent"
    assert editor.sleeves == "both absent" and editor.hand.value["change (%)"] > 0
    drag = chooser.controls["landmark"]
    drag.options = drag.options[:3]  # all 32 take long
    chooser.sweep()  # ends where it began
    assert (editor.number, editor.sleeves) == (1, "both absent")


def test_a_garment_is_put_on_white_as_the_command_does():
    batch = dict(room.one(some(), 0))
    mask = batch["garment_mask"]
    shadow = 0.7 + 0.3 * mask  # all that is beside the garment is grey
    photographed = batch | {
        "garment": batch["garment"] * shadow,
        "garment_mask": 0.1 + 0.8 * mask,  # as JPEG and resizing make it
    }
    clean = editing.Fitting(fitting().method, batch, annotated=True)
    made = editing.Fitting(fitting().method, photographed, annotated=True)
    for name in ("garment", "garment_mask"):
        torch.testing.assert_close(made.batch[name], clean.batch[name])
    torch.testing.assert_close(made.picture(), clean.picture())
    assert (photographed["garment"] != batch["garment"]).any()  # the caller's stays


# -- a single landmark -----------------------------------------------------------------


@cache
def shipped():
    method = room.network()
    batch = room.triplets((100_009,), method.config.shape)
    return editing.Fitting(method, batch)


@pytest.mark.parametrize("k", [3, 12, 24, 28])
def test_one_landmark_changes_the_picture_near_it(k):
    fit = shipped()
    moved = fit.links.person[0, k] + torch.tensor([0.08, 0.08])
    links = fit.edited(places={k: moved})
    assert (links.person != fit.links.person).any(-1).sum() == 1
    changed = editing.change(fit.picture(), fit.picture(links))
    near = fit.near(links)
    assert changed[near].mean() > 5 * changed[~near].mean() > 0
    assert near.float().mean() < 0.12


def test_an_absent_landmark_is_switched_off():
    fit, k = shipped(), 12
    gone = {k: editing.ABSENT}
    links = fit.edited(states=gone)
    assert links.attribute[0, k] == editing.ABSENT
    picture = fit.picture(links)
    assert editing.change(fit.picture(), picture)[fit.near(links)].max() > 0.02
    cut = fit.method.warps(*room.seen(fit.batch), links).local
    assert not cut.active[0, k] and not cut.flow[0, k].any()
    maps = fit.method.maps(links)[0]
    assert (maps[k] == -1).all() and (maps[13] != -1).any()


def test_a_landmark_stays_where_the_hand_put_it():
    editor = editing.Editor([fitting(0), fitting(2)])
    editor.take(3)
    assert len(editor.hand.points) == len(editor.hand.names) == 1
    assert editor.hand.value["change (%)"] == 0  # to take it moves nothing
    x, y = editor.hand.points[0]
    editor.hand.points = [[x + 0.2, y - 0.1]]
    assert editor.hand.value["change (%)"] > 0
    editor.take(15)
    editor.set_state(editing.ABSENT)
    editor.take(editing.ALL)
    assert len(editor.hand.points) == 4 and {*editor.places} == {3}
    points = [list(p) for p in editor.hand.points]
    points[0][1] += 0.2  # the collar takes 4 along, and no longer 3
    editor.hand.points = points
    links, found = editor.links(editor.hand.tensor()), editor.fitting.links
    torch.testing.assert_close(links.person[0, 3], torch.tensor([x + 0.2, y - 0.1]))
    step = links.person[0, 4] - found.person[0, 4]
    torch.testing.assert_close(step, torch.tensor([0.0, 0.2]))
    assert links.attribute[0, 15] == editing.ABSENT
    editor.take(4)  # where the collar took it
    torch.testing.assert_close(editor.hand.tensor()[0], links.person[0, 4])
    assert editor.hand.value["change (%)"] > 0
    editor.choose(1)
    assert editor.hand.value["change (%)"] == 0 and editor.landmark == 4


def test_menus_take_a_landmark_say_what_it_is_and_put_all_back():
    editor = editing.Editor([fitting(0)])
    chooser = editing.choices(editor)
    drag, state = chooser.controls["landmark"], chooser.controls["state"]
    assert state.disabled
    drag.value = 5
    assert editor.hand.names == [room.NAMES[5]] and not state.disabled
    state.value = editing.ABSENT
    drag.value = 6
    assert state.value is None and editor.states == {5: editing.ABSENT}
    drag.value = 5
    assert state.value == editing.ABSENT
    assert editor.hand.value["change (%)"] > 0
    chooser.box.children[-1].click()
    assert state.value is None and not editor.states
    assert editor.hand.value["change (%)"] == 0 and drag.value == 5
    drag.value = editing.ALL
    assert state.disabled and len(editor.hand.points) == 4


def test_dots_are_where_landmarks_are_but_for_the_one_in_hand():
    fit = fitting()
    person = fit.links.person.clone()
    person[0, 3], person[0, 15] = torch.tensor([0.5, 0.5]), torch.tensor([-0.5, -0.5])
    attribute = torch.zeros_like(fit.links.attribute)
    attribute[0, [3, 15]] = editing.VISIBLE
    links = fit.links._replace(person=person, attribute=attribute)
    blank = torch.zeros(3, *SIZE)
    made = room.dotted(blank, links, without=15, high=256)
    y, x = made.amax(0).nonzero().float().mean(0).tolist()
    assert abs(x - 0.75 * 192) < 2 and abs(y - 0.75 * 256) < 2
    assert made.shape == (3, 256, 192) and not blank.any()
