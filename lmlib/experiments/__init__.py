"""Each table and figure as a list of runs; ``lmlib reproduce TABLE`` does them."""

from lmlib.experiments import seqmt

TABLES = {table.name: table for table in (*seqmt.TABLES,)}
