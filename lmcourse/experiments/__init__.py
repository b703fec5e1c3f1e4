"""Each table and figure as a list of runs; ``lmlib reproduce TABLE`` does them."""

from lmcourse.experiments import dve, lmdis, lmdis_uses, salvton, seqmt, seqmt_shapes

ALL = (
    *seqmt_shapes.TABLES,
    *seqmt.TABLES,
    *lmdis.TABLES,
    *lmdis_uses.TABLES,
    *dve.TABLES,
    *salvton.TABLES,
)
TABLES = {table.name: table for table in ALL}
