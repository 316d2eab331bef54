# Scenes and labels: what there is, and the files themselves.
#
# INPUT   config/areas/{area}.yaml
# OUTPUT  results/{area}/search/{period}.json, .png
#         results/{area}/download/{file}


# On a cluster these run where Snakemake does: compute nodes often reach no network, and what an
# account's secret is needed for is not submitted.
localrules:
    search,
    download,


checkpoint search:
    input:
        archive_of,
    output:
        listing="results/{area}/search/{period}.json",
        figure=report(
            "results/{area}/search/{period}.png",
            caption="../report/search.rst",
            category="Imagery",
            labels={"area": "{area}", "period": "{period}"},
        ),
    log:
        "logs/{area}/search/{period}.log",
    benchmark:
        "benchmarks/{area}/search/{period}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("search", "period"),
    shell:
        "mapmill search config/areas/{wildcards.area}.yaml {wildcards.period:q} "
        "{output.listing:q} {output.figure:q} 2> {log:q}"


rule download:
    input:
        download_inputs,
    output:
        "results/{area}/download/{file}",
    log:
        "logs/{area}/download/{file}.log",
    benchmark:
        "benchmarks/{area}/download/{file}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    resources:
        sentinelhub=blocks_asked,
        catalogue=files_asked,
    params:
        settings=settings_of("download", "file"),
    shell:
        "mapmill download config/areas/{wildcards.area}.yaml {wildcards.file:q} {output:q} 2> {log:q}"
