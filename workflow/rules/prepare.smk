# Images and labels on the grid, and patches cut from both.
#
# INPUT   results/{area}/search/{period}.json, results/{area}/download/...
# OUTPUT  results/{area}/compose/{period}/{block}.tif
#         results/{area}/compose/{period}/quality/{block}.tif
#         results/{area}/compose/{period}.vrt
#         results/{area}/downsample/{block}.tif, .csv, fraction/{block}.tif
#         results/{area}/select/tiles.csv, tiles.png, shift.png, shift.json, leak.json
#         results/{area}/pack/patches.zarr/zarr.json


rule compose:
    input:
        scene_files,
    output:
        image="results/{area}/compose/{period}/{block}.tif",
        quality="results/{area}/compose/{period}/quality/{block}.tif",
    log:
        "logs/{area}/compose/{period}/{block}.log",
    benchmark:
        "benchmarks/{area}/compose/{period}/{block}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("compose"),
    shell:
        "mapmill compose config/areas/{wildcards.area}.yaml {wildcards.period:q} {wildcards.block:q}"
        " {output.image:q} --threads {threads} 2> {log:q}"


# Asked for by name: a look at a whole period, all its blocks as one picture.
rule vrt:
    input:
        composed_blocks,
    output:
        "results/{area}/compose/{period}.vrt",
    log:
        "logs/{area}/compose/{period}.log",
    benchmark:
        "benchmarks/{area}/compose/{period}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("compose"),
    shell:
        "mapmill vrt config/areas/{wildcards.area}.yaml {wildcards.period:q} {output:q} 2> {log:q}"


rule downsample:
    input:
        labels_of,
    output:
        classes="results/{area}/downsample/{block}.tif",
        table="results/{area}/downsample/{block}.csv",
        fraction="results/{area}/downsample/fraction/{block}.tif",
    log:
        "logs/{area}/downsample/{block}.log",
    benchmark:
        "benchmarks/{area}/downsample/{block}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("downsample"),
    shell:
        "mapmill downsample config/areas/{wildcards.area}.yaml {wildcards.block:q} {output.classes:q}"
        " {output.fraction:q} --threads {threads} 2> {log:q}"


# A checkpoint, since it says which chips are scored and so have to be mapped.
checkpoint select:
    input:
        select_inputs,
    output:
        table=report(
            "results/{area}/select/tiles.csv",
            caption="../report/select-table.rst",
            category="Tiles",
            labels={"area": "{area}", "what": "every tile, with its reason (CSV)"},
        ),
        figure=report(
            "results/{area}/select/tiles.png",
            caption="../report/select.rst",
            category="Tiles",
            labels={"area": "{area}", "what": "where the tiles are"},
        ),
        shift=report(
            "results/{area}/select/shift.png",
            caption="../report/select-shift.rst",
            category="Tiles",
            labels={"area": "{area}", "what": "do labels and image agree?"},
        ),
        numbers="results/{area}/select/shift.json",
        leak="results/{area}/select/leak.json",
    log:
        "logs/{area}/select/tiles.log",
    benchmark:
        "benchmarks/{area}/select/tiles.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("select"),
    shell:
        "mapmill select config/areas/{wildcards.area}.yaml {output.table:q} {output.figure:q}"
        " {output.shift:q} --threads {threads} 2> {log:q}"


rule pack:
    input:
        pack_inputs,
    output:
        "results/{area}/pack/patches.zarr/zarr.json",
    log:
        "logs/{area}/pack/patches.log",
    benchmark:
        "benchmarks/{area}/pack/patches.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("pack"),
    shell:
        "mapmill pack config/areas/{wildcards.area}.yaml {output:q} --threads {threads} 2> {log:q}"
