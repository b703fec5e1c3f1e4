"""Each table and figure as a list of runs; ``lmlib reproduce TABLE`` does them."""

from lmcourse.experiments import (
    dlan,
    dlan_photographs,
    dve,
    lmdis,
    lmdis_uses,
    salvton,
    salvton_figures,
    salvton_protocols,
    salvton_whole,
    seqmt,
    seqmt_galleries,
    seqmt_shapes,
)

ALL = (
    *seqmt_shapes.TABLES,
    *seqmt.TABLES,
    *seqmt_galleries.TABLES,
    *lmdis.TABLES,
    *lmdis_uses.TABLES,
    *dve.TABLES,
    *dlan.TABLES,
    *dlan_photographs.TABLES,
    *salvton.TABLES,
    *salvton_whole.TABLES,
    *salvton_protocols.TABLES,
    *salvton_figures.TABLES,
)
TABLES = {table.name: table for table in ALL}
