"""Settings for nbval, which runs every notebook in `make notebooks-test`.

Only cells tagged ``nbval-check-output`` are compared. Of those, compare the text: HTML,
SVG and scripts carry random ids.
"""

from nbval.plugin import IPyNbFile

UNSTABLE = ("text/html", "image/svg+xml", "application/javascript")


def pytest_collectstart(collector):
    if isinstance(collector, IPyNbFile):
        collector.skip_compare += UNSTABLE
