"""What every exercise file's tests share; a test file imports both and lists WRONG and
RIGHT, which ``conftest.pytest_generate_tests`` turns into one test an answer."""


def test_wrong_answers_get_their_own_hint(name, answer, hint, wrong_answer):
    wrong_answer(name, answer, hint)


def test_right_answers_pass(name, answer, right_answer):
    right_answer(name, answer)
