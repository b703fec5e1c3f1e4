"""Do the tests bite? Random one-token mutants of the core, each tried by its tests.

    pip install '.[mutants]'            # cosmic-ray makes them
    python -m tools.mutants --sample 300 --seed 0

Mutants are written into the files themselves, one after the other, so run it in a copy
(``git worktree add``). Each is tried in a child that finds torch loaded already. Prints
every mutant that lived, and how many there were. POSIX only.
"""

import argparse
import difflib
import os
import random
import resource
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 120  # of computing; a mutant that takes longer is caught
CORE = {  # file: its own tests
    "schedules.py": ("test_schedules.py",),
    "heatmaps.py": ("test_heatmaps.py", "test_heatmaps_fast.py"),
    "geometry.py": ("test_geometry.py", "test_geometry_fast.py"),
    "samples.py": ("test_samples.py",),
    "training.py": ("test_training.py", "test_resume.py"),
    "evaluation.py": ("test_evaluation.py",),
    "methods/seqmt.py": ("test_seqmt.py",),
    "methods/dlan.py": ("test_dlan.py",),
}


def mutants(name: str) -> list[tuple[str, int, int]]:
    """Every mutant of a file that Cosmic Ray can make: kind, number, line."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    nodes, made = [*ast_nodes(get_ast((ROOT / "lmlib" / name).read_text()))], []
    for kind in plugins.operator_names():
        operator = plugins.get_operator(kind)
        if operator.arguments():
            continue
        mutate = operator().mutation_positions
        lines = [start[0] for node in nodes for start, _ in mutate(node)]
        made += [(kind, number, line) for number, line in enumerate(lines)]
    return made


def mutated(name: str, kind: str, number: int) -> str:
    """The text of one mutant."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    code = (ROOT / "lmlib" / name).read_text()
    return mutate_code(code, plugins.get_operator(kind)(), number) or code


def caught(name: str, text: str) -> bool:
    """Do the tests of a file fail on this text of it?"""
    path = ROOT / "lmlib" / name
    before = path.read_bytes()
    try:
        path.write_text(text)
        child = os.fork()
        if not child:
            os._exit(tried(name))
        return os.waitpid(child, 0)[1] != 0
    finally:
        path.write_bytes(before)


def tried(name: str) -> int:
    """Exit status of the tests."""
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    sys.stdout = sys.stderr = open(os.devnull, "w")
    tests = [str(ROOT / "tests" / "lmlib" / test) for test in CORE[name]]
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=300, help="of all files together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", choices=CORE, help="only this one")
    asked = parser.parse_args()
    sys.dont_write_bytecode = True
    os.environ |= {"LMLIB_BUDGET": "quick", "OMP_NUM_THREADS": "1"}
    names = [asked.file] if asked.file else [*CORE]
    every = [(name, *mutant) for name in names for mutant in mutants(name)]
    sample = random.Random(asked.seed).sample(every, min(asked.sample, len(every)))
    import scipy.spatial  # noqa: F401 loaded once, for all children
    import torch

    torch.optim.Adam([torch.zeros(1)])
    for name in names:
        if caught(name, (ROOT / "lmlib" / name).read_text()):
            raise SystemExit(f"lmlib/{name}: its tests fail without a mutant")
    seen, lived = Counter(), Counter()
    for name, kind, number, line in sample:
        text = mutated(name, kind, number)
        seen[name] += 1
        if not caught(name, text):
            lived[name] += 1
            before = (ROOT / "lmlib" / name).read_text().splitlines()
            changed = difflib.unified_diff(before, text.splitlines(), n=0, lineterm="")
            print(f"lived: lmlib/{name}:{line}", *[*changed][3:], sep="\n  ")
        print(f"{seen.total()}: {lived.total()} lived", flush=True)
    for name in names:
        print(f"lmlib/{name}: {lived[name]} of {seen[name]} lived")
    print(f"{lived.total()} of {seen.total()} lived; there are {len(every)} mutants")


if __name__ == "__main__":
    main()
