# Planning of groups, as a profile declares them.
#
# Snakemake (9.27) checks that no group depends on itself, and does so anew for each job of a group:
# of the groups of profiles/slurm, in a plan of 9,133 jobs, that is half of the time. Here it looks
# at each group once. A Snakemake that no longer has this check is left as it is.
from snakemake.dag import DAG


def once_a_group(check):
    """A check of all groups, for which each job stands for its group, as one of each group."""

    @functools.wraps(check)
    def checked(dag):
        of_jobs = dag._group
        dag._group = {id(group): group for group in of_jobs.values()}
        try:
            check(dag)
        finally:
            dag._group = of_jobs

    return checked


if hasattr(DAG, "_check_groups") and not hasattr(DAG._check_groups, "__wrapped__"):
    DAG._check_groups = once_a_group(DAG._check_groups)
