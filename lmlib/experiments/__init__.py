"""Each table and figure as a list of runs; ``lmlib reproduce TABLE`` does them."""

from lmlib.experiments import seqmt, seqmt_shapes

TABLES = {table.name: table for table in (*seqmt_shapes.TABLES, *seqmt.TABLES)}
