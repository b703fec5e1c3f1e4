"""A student's first hour in a real browser: sliders, dragging, live training.

JupyterLab runs on a copy of the notebooks; headless Chromium presses keys and moves the
mouse. Each test reads what changed on the page *and* what the kernel holds.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from tools import chromium

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
SECONDS = 1000  # Playwright counts milliseconds
PRELUDE = """
import json
import lmcourse.widgets as lw
def every(kind):  # that a variable is called
    found = [v for k, v in get_ipython().user_ns.items() if k[0] != "_"]
    return list({id(v): v for v in found if isinstance(v, kind)}.values())
"""
SMALL = "a_few_widgets"  # a notebook of one widget of each kind
CELLS = (
    """
import torch
from lmcourse import plots
from lmcourse.widgets import *
def draw(fig, beta, n, which, noise):
    left, right = fig.subplots(1, 2)
    right.plot([0, beta], [0, n])
    long = {f"a measured number with a long name, the {k}th": k * n for k in range(5)}
    return long | {"n": n}
explorer = Explorer(
    draw, "two panels, in one of them a line", size=(8, 3), beta=temperature_slider(),
    n=slider("n", 0, 9, 3), which=dropdown("which of the two", ["one", "other"]),
    noise=slider("noise (% of the eyes' distance)", 0.1, 10.0, 1.0, log=True))
explorer.show()""",
    """
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmscenes import Shapes
config = SeqMtConfig(
    size=20, landmarks=2, classes=2, channels=4, kernels=(3, 1), hidden=(8,))
def watch(fig, method, history):
    fig.subplots().plot([row["step"] for row in history])
    return {"rows": len(history)}
live = LiveTraining(
    lambda: SeqMt(config), Shapes(size=20), range(64), 10**6, watch, batch_size=8)
live.show()""",
    """
drag = DragPoints(
    torch.rand(3, 40, 80), [[-0.5, 0.0], [0.5, 0.0]], draw=lambda fig, points: {
        f"number {k} of a line that gets longer": points[0, 0]
        for k in range(1 + 5 * (points[0, 0] > -0.49))},
    output_size=(4, 3), alt="two points on noise")
drag.show()""",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory, chromium_executable):
    """Address and token of a JupyterLab on a copy of the notebooks."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(NOTEBOOKS, home / "notebooks")
    small = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source.strip()) for source in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(small, home / "notebooks" / f"{SMALL}.ipynb")
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "LMLIB_BUDGET": "quick",
        "PYTHONPATH": str(ROOT),
        "LMLIB_ROOT": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--expose-app-in-browser", "--LabApp.news_url=", "--port", str(port)]
    command += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home}"]
    with (home / "log.txt").open("w") as log:
        server = subprocess.Popen(
            command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, home)
            yield f"http://127.0.0.1:{port}", token
        finally:
            server.terminate()  # the server ends its kernels first
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_for(address: str, server: subprocess.Popen, home: Path) -> None:
    end = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                text = (home / "log.txt").read_text()
                pytest.fail(f"JupyterLab did not start:\n{text[-3000:]}")
            time.sleep(0.3)


@pytest.fixture(scope="module")
def page(lab):
    with chromium.open_page(1400, 1000) as page:
        page.set_default_timeout(60 * SECONDS)
        yield page


class Notebook:
    """One notebook, opened and run to its end."""

    def __init__(self, page, lab, name: str):
        made_here = name == SMALL
        assert made_here or (NOTEBOOKS / f"{name}.ipynb").is_file(), f"no {name}"
        self.page = page
        address, token = lab
        page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?token={token}&reset")
        page.wait_for_function(
            """() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session
                ?.kernel?.status === "idle" """
        )
        page.evaluate(
            """() => Promise.race([
                jupyterapp.commands.execute("notebook:run-all-cells"),
                new Promise((_, stop) => setTimeout(
                    () => stop(new Error("the notebook ran for two minutes")), 120000)),
            ])"""
        )
        cells = page.evaluate(
            "() => jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON()"
        )["cells"]
        outputs = [(o, c["source"]) for c in cells for o in c.get("outputs", [])]
        assert outputs, f"{name} printed nothing"
        for output, source in outputs:
            if output["output_type"] == "error":
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
                pytest.fail(f"{name}: this cell raised\n{source}\n\n{trace}")

    def python(self, code: str):
        """Run code in the kernel; the JSON it prints."""
        text = self.page.evaluate(
            """async (code) => {
                const kernel = jupyterapp.shell.currentWidget.sessionContext.session
                    .kernel;
                const future = kernel.requestExecute({code, store_history: false});
                let text = "";
                future.onIOPub = (m) => {
                    if (m.content.name === "stdout") text += m.content.text;
                    if (m.header.msg_type === "error") text += m.content.evalue;
                };
                await future.done;
                return text;
            }""",
            PRELUDE + code,
        )
        return json.loads(text)

    def close(self):
        self.page.evaluate(
            "() => jupyterapp.shell.currentWidget?.sessionContext?.shutdown()"
        )


@pytest.fixture
def notebook(page, lab):
    opened = []

    def open_notebook(name):
        opened.append(Notebook(page, lab, name))
        return opened[-1]

    yield open_notebook
    for each in opened:
        each.close()


def widget(page, kind: str, with_text: str | None = None):
    """The first widget of this class that is on the page, scrolled into view."""
    found = page.locator(f".{kind}")
    if with_text:
        found = found.filter(has_text=with_text)
    found.first.wait_for(state="attached")
    found.first.scroll_into_view_if_needed()
    return found.first


def picture(widget) -> str:
    """A digest of the picture's bytes."""
    data = widget.locator("img.lmlib-picture").first.evaluate(
        """async (img) => {
            const bytes = new Uint8Array(await (await fetch(img.src)).arrayBuffer());
            return Array.from(bytes).join(",");
        }"""
    )
    return hashlib.sha256(data.encode()).hexdigest()


def numbers(widget) -> dict[str, float]:
    """The measured numbers beside the picture."""
    shown = widget.locator(".lmlib-measured [data-name]").evaluate_all(
        "all => all.map(one => [one.dataset.name, Number(one.textContent)])"
    )
    return dict(shown)


def until(condition, what: str, seconds: float = 30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.1)


@contextmanager
def redrawn(widget, what: str):
    """What is done inside changes the picture."""
    before = picture(widget)
    yield
    until(lambda: picture(widget) != before, f"{what}: the picture changes", 20)


def test_the_temperature_slider_by_keyboard(notebook, page):
    book = notebook("01_heatmaps_and_soft_argmax")
    explorer = widget(page, "lmlib-explorer", "temperature T")
    handle = explorer.locator(".noUi-handle").first
    before, image = numbers(explorer), picture(explorer)
    name = next(name for name in before if "entropy" in name.lower())
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    until(lambda: numbers(explorer)[name] > before[name], "entropy rises with T")
    until(lambda: picture(explorer) != image, "the picture changes")

    def in_python():
        values = book.python("print(json.dumps([e.value for e in every(lw.Explorer)]))")
        shown = numbers(explorer)
        return any(
            set(value) == set(shown)
            and all(value[k] == pytest.approx(shown[k], rel=2e-3) for k in shown)
            for value in values
        )

    until(in_python, "the kernel holds the numbers on the page")
    page.keyboard.press("Home")  # T at its lowest: the map is one peak
    until(lambda: numbers(explorer)[name] < before[name], "entropy falls with T")


def test_a_point_is_dragged_and_nudged(notebook, page):
    book = notebook("02_warps_and_equivariance")
    drag = widget(page, "lmlib-drag")
    point = drag.locator("g[role=slider]").first
    output = page.locator(".lmlib-drag-box", has=drag).first

    def points():
        return book.python(
            "print(json.dumps([d.points for d in every(lw.DragPoints)]))"
        )

    start, image = points(), picture(output)
    box = point.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y + 10, steps=4)
    page.mouse.up()
    until(lambda: points() != start, "the kernel sees the drag")
    until(lambda: picture(output) != image, "the picture follows the drag")
    moved = point.bounding_box()
    assert moved["x"] - box["x"] == pytest.approx(20, abs=2)
    assert moved["y"] - box["y"] == pytest.approx(10, abs=2)

    time.sleep(0.3)  # the last message of the drag is on its way
    dragged, image = points(), picture(output)
    point.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    until(lambda: points() != dragged, "the kernel sees the keys")
    until(lambda: picture(output) != image, "the picture follows the keys")
    assert point.evaluate("g => document.activeElement === g"), "focus was lost"
    time.sleep(0.3)
    which = next(i for i, p in enumerate(points()) if p != dragged[i])
    was, now = dragged[which][0], points()[which][0]
    assert now == pytest.approx([was[0] - 0.02, was[1] + 0.1], abs=1e-6)


def test_live_training_starts_pauses_and_listens(notebook, page):
    book = notebook("00_start_here")
    live = widget(page, "lmlib-live")
    status = live.locator(".lmlib-status")
    # the quick budget has so few steps that nobody could press Pause in time
    book.python(
        "live = every(lw.LiveTraining)[0]; live.steps = 100_000; live.reset();"
        "print(live.step)"
    )

    def step():
        return int(re.search(r"step (\d+)", status.inner_text())[1])

    image = picture(live)
    live.locator("button.lmlib-start").click()
    until(lambda: step() > 2, "training runs", 60)
    until(lambda: picture(live) != image, "the picture changes while it trains", 60)

    live.locator("button.lmlib-pause").click()
    until(lambda: "paused" in status.inner_text(), "training pauses", 60)
    held, image = step(), picture(live)
    time.sleep(1)
    assert (step(), picture(live)) == (held, image)

    def knobs():
        return book.python(
            "live = every(lw.LiveTraining)[0];"
            "print(json.dumps([[k.value for k, _ in live.knobs.values()], live.step]))"
        )

    before = knobs()
    live.locator(".noUi-handle").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    until(lambda: knobs()[0] != before[0], "the kernel sees the knob")
    assert knobs()[1] == before[1] == held

    live.locator("button.lmlib-start").click()
    until(lambda: step() > held, "training goes on", 60)
    live.locator("button.lmlib-reset").click()
    until(lambda: "step 0 of" in status.inner_text(), "reset", 60)
    assert "ready" in status.inner_text()


def test_a_dragged_landmark_changes_the_class(notebook, page):
    """Seq-MT's bottleneck: the picture stays, a landmark moves, the class follows."""
    notebook("13_seqmt_visualisation")
    drag = widget(page, "lmlib-drag")
    output = page.locator(".lmlib-drag-box", has=drag).first
    before, image = numbers(output), picture(output)
    drag.locator("g[role=slider]").nth(4).focus()  # the tail
    for _ in range(8):
        page.keyboard.press("Shift+ArrowRight")
    until(lambda: picture(output) != image, "the bars follow the keys")
    true = "p of the true class"
    until(
        lambda: abs(numbers(output)[true] - before[true]) > 0.005,
        "the probability of the true class changes",
    )


def test_a_point_moved_on_one_face_is_matched_on_others(notebook, page):
    """DVE: the maps of a point's match follow the point, and spread with T."""
    notebook("33_dve_visualisation")
    found = widget(page, "lmlib-explorer", "temperature T")
    before, image = numbers(found), picture(found)
    drag = widget(page, "lmlib-drag")
    drag.locator("g[role=slider]").first.focus()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowDown")
    until(lambda: picture(found) != image, "the maps follow the keys")
    until(lambda: numbers(found) != before, "and so do the numbers")

    before = numbers(found)
    name = next(name for name in before if "nats" in name)
    found.locator(".noUi-handle").last.focus()
    page.keyboard.press("End")  # T at its highest: the map is flat
    until(lambda: numbers(found)[name] > before[name], "entropy rises with T")


def test_a_dragged_landmark_redraws_the_face(notebook, page):
    """LMDIS: the decoder answers with another picture, the detector looks again."""
    notebook("23_lmdis_visualisation")
    drag = widget(page, "lmlib-drag")
    output = page.locator(".lmlib-drag-box", has=drag).first
    before, image = numbers(output), picture(output)
    drag.locator("g[role=slider]").first.focus()
    for _ in range(2):
        page.keyboard.press("Shift+ArrowDown")
    until(lambda: picture(output) != image, "the drawing follows the keys")
    until(lambda: numbers(output) != before, "and so do the measurements")


def test_a_dragged_collar_changes_the_try_on(notebook, page):
    """SAL-VTON: the garment follows the hand, and most of the change is near it."""
    notebook("53_salvton_visualisation")
    drag = widget(page, "lmlib-drag")
    output = page.locator(".lmlib-drag-box", has=drag).first
    assert numbers(output)["change (%)"] == 0
    image = picture(output)
    drag.locator("g[role=slider]").first.focus()
    for _ in range(2):
        page.keyboard.press("Shift+ArrowDown")
    until(lambda: picture(output) != image, "the try-on follows the keys")
    until(lambda: numbers(output)["change (%)"] > 0, "and so do the numbers")
    menu = page.locator(".lmlib-explorer").first
    what = menu.locator("select").filter(has_text="the handles")
    what.select_option(index=16)  # of 32 landmarks, a cuff's
    mark = drag.locator("g[role=slider]")
    until(lambda: mark.count() == 1, "one landmark takes the place of the handles")
    image = picture(output)
    mark.first.focus()
    page.keyboard.press("Shift+ArrowUp")
    until(lambda: picture(output) != image, "the try-on follows the landmark")
    menu.get_by_role("button", name="Put all back").click()
    until(lambda: numbers(output)["change (%)"] == 0, "all is as it was found")
    what.select_option(index=0)
    until(lambda: mark.count() == 4, "the handles are back")


@pytest.mark.parametrize(
    "name",
    [
        "12_seqmt_ablations",
        "22_lmdis_ablations",
        "32_dve_ablations",
        "42_dlan_ablations",
        "52_salvton_ablations",
        "60_five_ways",
        "61_your_own_images",
        "62_scaling_up",
    ],
)
def test_every_control_of_every_explorer_changes_its_picture(notebook, page, name):
    """With keys alone, as by somebody who has no mouse."""
    book = notebook(name)
    count = book.python("print(len(every(lw.Explorer)))")
    assert count, f"{name} has nothing to move"
    controls = "for e in every(lw.Explorer) for c in e.controls.values()"
    book.python(f"kept = [(c, c.value) {controls}]; print(len(kept))")
    for number in range(count):
        explorer = page.locator(".lmlib-explorer").nth(number)
        explorer.scroll_into_view_if_needed()
        for k, handle in enumerate(explorer.locator(".noUi-handle").all()):
            now, low = (handle.get_attribute(f"aria-value{x}") for x in ("now", "min"))
            with redrawn(explorer, f"{name}: slider {k}, now {now}, lowest {low}"):
                handle.focus()
                page.keyboard.press("End" if float(now) == float(low) else "Home")
            # At its end one slider may leave another nothing to do.
            with redrawn(explorer, f"{name}: slider {k}, back from its end"):
                book.python("print([setattr(c, 'value', v) or 0 for c, v in kept])")
        for k, choice in enumerate(explorer.locator("select").all()):
            now = choice.evaluate("one => one.selectedIndex")
            for index in (0 if now else 1, now):  # there and back
                with redrawn(explorer, f"{name}: list {k}, from {now} to {index}"):
                    choice.select_option(index=index)


@pytest.fixture
def few(notebook):
    """A notebook of a few widgets."""
    return notebook(SMALL)


@pytest.fixture
def width(page):
    """width(pixels): of the window, until the test is over."""

    def choose(pixels):
        page.set_viewport_size({"width": pixels, "height": 1000})
        time.sleep(0.5)  # JupyterLab lays its panels out again

    yield choose
    page.set_viewport_size({"width": 1400, "height": 1000})


def test_who_cannot_see_hears_what_there_is(few, page):
    explorer = widget(page, "lmlib-explorer")
    handles = explorer.locator(".noUi-handle")
    until(lambda: handles.first.get_attribute("aria-label"), "handles get names")
    names = [handle.get_attribute("aria-label") for handle in handles.all()]
    assert names == ["temperature T", "n", "noise (% of the eyes' distance)"]

    def said():
        return [handle.get_attribute("aria-valuetext") for handle in handles.all()]

    assert said() == ["T = 1, beta = 1", "3", "1.00"]
    handles.first.focus()
    page.keyboard.press("End")
    until(lambda: said()[0] == "T = 100, beta = 0.01", "the value in words")
    image = explorer.locator("img.lmlib-picture")
    assert image.get_attribute("alt") == "two panels, in one of them a line"
    assert "two panels" in explorer.inner_text()  # and who sees reads it too


def test_nothing_is_wider_than_the_page(few, page, width):
    for pixels in (1280, 900):
        width(pixels)
        wider = page.evaluate(
            """() => [...document.querySelectorAll(".jp-OutputArea-output, .lmlib-box")]
                .filter(one => one.scrollWidth > one.clientWidth)
                .map(one => [one.className, one.scrollWidth, one.clientWidth])"""
        )
        assert wider == [], f"at {pixels} pixels"


def test_tracks_are_of_one_length(few, page):
    tracks = widget(page, "lmlib-explorer").locator(".noUi-target").all()
    assert len(tracks) == 3
    for side in ("x", "width"):
        values = [track.bounding_box()[side] for track in tracks]
        assert max(values) - min(values) <= 2, side


def test_the_first_drag_does_not_move_the_picture(few, page, width):
    """Its numbers take two lines where they took none."""
    width(900)
    drag = widget(page, "lmlib-drag")
    point = drag.locator("g[role=slider]").first
    point.focus()
    before = point.bounding_box()  # with its ring
    page.keyboard.press("Shift+ArrowRight")
    box = page.locator(".lmlib-drag-box", has=drag).first
    until(lambda: numbers(box)["number 0 of a line that gets longer"] > -0.45, "moved")
    after = point.bounding_box()
    assert after["y"] == before["y"] and after["x"] > before["x"]


def test_a_closed_tab_pauses_its_training(few, page, lab):
    live = widget(page, "lmlib-live")
    live.locator("button.lmlib-start").click()
    until(lambda: few.python("print(live._painter.access[0].answers)") > 2, "answers")
    kernel = page.evaluate(
        "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"
    )
    page.evaluate(
        """async () => {
            await jupyterapp.commands.execute("docmanager:save");
            jupyterapp.shell.currentWidget.close();
        }"""
    )

    def running():
        return page.evaluate(
            """async (id) => {
                const kernel = jupyterapp.serviceManager.kernels.connectTo(
                    {model: {id, name: "python3"}});
                const future = kernel.requestExecute({code: "print(live.running)"});
                let text = "";
                future.onIOPub = (m) => {
                    if (m.content.name === "stdout") text += m.content.text;
                };
                await future.done;
                kernel.dispose();
                return text.trim();
            }""",
            kernel,
        )

    assert running() == "True"
    until(lambda: running() == "False", "training pauses", 60)
    page.evaluate("(id) => jupyterapp.serviceManager.kernels.shutdown(id)", kernel)


def test_a_restarted_kernel_leaves_word_what_to_do(few, page):
    explorer = widget(page, "lmlib-explorer")
    page.evaluate(
        "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )

    def word():
        return explorer.evaluate("box => getComputedStyle(box, '::after').content")

    until(lambda: "run this cell to make it live again" in word(), "word", 60)
