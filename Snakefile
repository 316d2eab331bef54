# mapmill: satellite scenes in, maps out. One area is one file in config/areas/.
from snakemake.utils import min_version

min_version("9.20")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/groups.smk"
include: "workflow/rules/acquire.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/learn.smk"
include: "workflow/rules/map.smk"


wildcard_constraints:
    area="[a-z0-9-]+",
    period="[a-z0-9-]+",
    block="[A-Za-z0-9][A-Za-z0-9._-]*",
    model=r"[a-z0-9-]+-\d+",
    map="[a-z0-9-]+",
    comparison="[a-z0-9-]+",


# Without a target: the demo's map and its scores.
rule all:
    default_target: True
    input:
        "results/demo/assess/landcover/metrics.json",
