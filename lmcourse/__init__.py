"""What teaching needs beside the library: widgets, figures, exercises, experiments,
evidence (result rows, claims, verdicts) and how long runs may take.

Here and only here are IPython, ipywidgets, anywidget and matplotlib imported.
"""
