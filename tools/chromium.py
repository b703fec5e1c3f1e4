"""Find (or install) a Chromium for the browser test and for pictures of notebooks.

``python -m tools.chromium`` prints its path; ``--install`` also tries to install one.
"""

import argparse
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
MAC_APPS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
# Quiet and offline: without these Chromium calls home at every start. The sandbox does
# not work for root or in most containers, and we open pages of our own only.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING = (
    "no Chromium or Chrome found: install one (Debian, Ubuntu: apt-get install"
    " chromium) or set LMLIB_CHROMIUM to its executable"
)


def find() -> str | None:
    """Path of a Chromium-like browser: LMLIB_CHROMIUM, then the usual names."""
    chosen = os.environ.get("LMLIB_CHROMIUM")
    if chosen:
        if not shutil.which(chosen):
            raise FileNotFoundError(f"LMLIB_CHROMIUM={chosen} is not an executable")
        return chosen
    on_path = (shutil.which(name) for name in NAMES)
    on_mac = (app for app in MAC_APPS if Path(app).exists())
    return next((path for path in (*on_path, *on_mac) if path), None)


def install() -> str | None:
    """`find`, and if that fails try Debian's package (needs root)."""
    path = find()
    if path or not shutil.which("apt-get") or os.geteuid() != 0:
        return path
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    packages = ("chromium", "fonts-liberation")
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        # A failed update may still leave a usable package list: go on and see.
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)
    return find()


@contextmanager
def open_page(width: int = 1280, height: int = 900):
    """A Playwright page in a fresh headless browser, closed on leaving."""
    from playwright.sync_api import sync_playwright

    path = find()
    if path is None:
        raise FileNotFoundError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=list(ARGUMENTS),
            # Playwright's own headless flag asks for a second binary, the old shell.
            ignore_default_args=["--headless", "--headless=old"],
        )
        try:
            yield browser.new_page(viewport={"width": width, "height": height})
        finally:
            browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--install", action="store_true", help="install if missing")
    path = install() if parser.parse_args().install else find()
    print(path or MISSING)
    return int(path is None and os.environ.get("CI") == "true")


if __name__ == "__main__":
    sys.exit(main())
