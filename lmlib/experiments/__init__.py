"""Each table and figure as a list of runs; ``lmlib reproduce TABLE`` does them."""

from lmlib.experiments import dve, seqmt, seqmt_shapes

ALL = (*seqmt_shapes.TABLES, *seqmt.TABLES, *dve.TABLES)
TABLES = {table.name: table for table in ALL}
