"""`python -m cxad_pipeline.cli` is `cxad`."""

from cxad_pipeline.cli import main

main(prog_name="cxad")
