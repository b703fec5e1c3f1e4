import pytest
from tests.test_browser import *
def test_look(notebook, page):
    book = notebook("01_heatmaps_and_soft_argmax")
    page.locator("details").first.scroll_into_view_if_needed()
    page.screenshot(path="/tmp/d1.png")
    page.locator("summary").first.click(); time.sleep(1)
    page.screenshot(path="/tmp/d2.png")
    # key press to new picture, in the browser
    e = widget(page, "lmlib-explorer"); h = e.locator(".noUi-handle").first; h.focus()
    ts=[]
    for i in range(10):
        src = e.locator("img.lmlib-picture").get_attribute("src"); t=time.monotonic()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("([el, s]) => el.src !== s", arg=[e.locator("img.lmlib-picture").element_handle(), src]); ts.append(time.monotonic()-t)
    print("latency", sorted(ts))
    print("threads", book.python("import threading; print(json.dumps([t.name for t in threading.enumerate()]))"))
