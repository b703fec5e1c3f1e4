"""What checks the signatures of ``lmlib`` while the tests run (``conftest.py``)."""

from beartype import BeartypeConf, beartype

# As type checkers see it: an int passes for a float.
_checker = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function):
    """The function, its arguments and results checked against its annotations.

    One made inside of another is left alone: it would be made anew at each call.
    """
    return function if "<locals>" in function.__qualname__ else _checker(function)
