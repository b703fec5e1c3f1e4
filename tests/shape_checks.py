"""What checks the signatures of ``lmlib`` while the tests run (``conftest.py``)."""

from beartype import BeartypeConf, beartype

# As type checkers see it: an int passes for a float.
_checker = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function):
    """The function, its arguments and results checked against its annotations.

    Two kinds are left alone: one made inside of another, which would be made anew at
    each call; and configurations, which check their values against the annotations
    themselves, and say so in a sentence.
    """
    name = function.__qualname__
    alone = "<locals>" in name or name.endswith("Config.__init__")
    return function if alone else _checker(function)
