"""``python -m benchmarks [NAME ...]``: run all, or the named ones; JSON lines come
last.

Each module of this folder asks one question in ``run() -> list[dict]``; a row has
``name``, ``ratio`` and what was measured. The ratio is the reference's time over ours:
larger is better. Only a row that is called "A over B" has that for its ratio.
"""

import importlib
import json
import pkgutil
import sys

import torch

import benchmarks


def main(names: list[str]) -> int:
    known = [m.name for m in pkgutil.iter_modules(benchmarks.__path__)]
    known = [name for name in known if not name.startswith("_")]
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"benchmarks: no {unknown[0]!r}; there are {', '.join(known)}")
        return 2
    rows = []
    for name in names or known:
        print(f"{name} ...", flush=True)
        for row in importlib.import_module(f"benchmarks.{name}").run():
            rows.append({"threads": torch.get_num_threads()} | row)
    for row in rows:
        print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
