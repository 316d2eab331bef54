# The map: block by block, then as one file, then scored.
#
# INPUT   results/{area}/train/{model}/model.safetensors, results/{area}/compose/...
# OUTPUT  results/{area}/calibrate/{map}.json, .png, where they are needed
#         results/{area}/predict/{map}/{block}.tif
#         results/{area}_{map}.tif, results/{area}_{map}.json
#         results/{area}_{map}.tif.aux.xml, results/{area}_{map}.qml
#         results/{area}/mosaic/{map}/confidence.tif, map.png, areas.csv, legend.png, quicklook.png
#         results/{area}_{map}.gpkg, where it is asked for
#         results/{area}/tabulate/areas.csv, changes.csv
#         results/{area}/assess/{map}/metrics.json, classes.csv, cells.csv,
#         confusion.csv, summary.txt, confusion.png, calibration.png, errors.png, tiles.png,
#         scores.html, downsampling.html, provenance.html


# Made where a map takes its threshold or temperature from it, or where it is asked for by name.
rule calibrate:
    input:
        calibrate_inputs,
    output:
        found="results/{area}/calibrate/{map}.json",
        figure=report(
            "results/{area}/calibrate/{map}.png",
            caption="../report/calibrate.rst",
            category="Scores",
            labels={
                "area": "{area}",
                "map": "{map}",
                "what": "confidence before and after its temperature",
            },
        ),
    log:
        "logs/{area}/calibrate/{map}.log",
    benchmark:
        "benchmarks/{area}/calibrate/{map}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("calibrate", "map"),
    shell:
        "mapmill calibrate config/areas/{wildcards.area}.yaml {wildcards.map:q}"
        " {output.found:q} {output.figure:q} 2> {log:q}"


rule predict:
    input:
        predict_inputs,
    output:
        "results/{area}/predict/{map}/{block}.tif",
    log:
        "logs/{area}/predict/{map}/{block}.log",
    benchmark:
        "benchmarks/{area}/predict/{map}/{block}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("predict", "map"),
    shell:
        "mapmill predict config/areas/{wildcards.area}.yaml {wildcards.map:q} {wildcards.block:q}"
        " {output:q} 2> {log:q}"


rule mosaic:
    input:
        predicted_blocks,
        composed_blocks,
    output:
        map="results/{area}_{map}.tif",
        item="results/{area}_{map}.json",
        names="results/{area}_{map}.tif.aux.xml",
        style="results/{area}_{map}.qml",
        confidence="results/{area}/mosaic/{map}/confidence.tif",
        figure=report(
            "results/{area}/mosaic/{map}/map.png",
            caption="../report/mosaic.rst",
            category="Map",
            labels={"area": "{area}", "map": "{map}", "what": "map"},
        ),
        areas=report(
            "results/{area}/mosaic/{map}/areas.csv",
            caption="../report/mosaic-areas.rst",
            category="Areas",
            labels={
                "area": "{area}",
                "map": "{map}",
                "what": "areas of classes (CSV)",
            },
        ),
        legend="results/{area}/mosaic/{map}/legend.png",
        quicklook="results/{area}/mosaic/{map}/quicklook.png",
    log:
        "logs/{area}/mosaic/{map}.log",
    benchmark:
        "benchmarks/{area}/mosaic/{map}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("mosaic", "map"),
    shell:
        "mapmill mosaic config/areas/{wildcards.area}.yaml {wildcards.map:q} {output.map:q}"
        " {output.item:q} {output.confidence:q} {output.figure:q} 2> {log:q}"


# Asked for by name: the map for programs that work on features.
rule vectorise:
    input:
        "results/{area}_{map}.tif",
    output:
        "results/{area}_{map}.gpkg",
    log:
        "logs/{area}/vectorise/{map}.log",
    benchmark:
        "benchmarks/{area}/vectorise/{map}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("vectorise", "map"),
    shell:
        "mapmill vectorise config/areas/{wildcards.area}.yaml {wildcards.map:q} {output:q}"
        " 2> {log:q}"


rule assess:
    input:
        assess_inputs,
        predicted_blocks,
    output:
        metrics="results/{area}/assess/{map}/metrics.json",
        classes="results/{area}/assess/{map}/classes.csv",
        cells="results/{area}/assess/{map}/cells.csv",
        matrix="results/{area}/assess/{map}/confusion.csv",
        summary="results/{area}/assess/{map}/summary.txt",
        scores=report(
            "results/{area}/assess/{map}/scores.html",
            caption="../report/assess-scores.rst",
            category="Scores",
            labels={"area": "{area}", "map": "{map}", "what": "all scores as tables"},
        ),
        confusion=report(
            "results/{area}/assess/{map}/confusion.png",
            caption="../report/assess-confusion.rst",
            category="Scores",
            labels={"area": "{area}", "map": "{map}", "what": "confusion matrix"},
        ),
        calibration=report(
            "results/{area}/assess/{map}/calibration.png",
            caption="../report/assess-calibration.rst",
            category="Scores",
            labels={"area": "{area}", "map": "{map}", "what": "confidence"},
        ),
        errors=report(
            "results/{area}/assess/{map}/errors.png",
            caption="../report/assess-errors.rst",
            category="Scores",
            labels={"area": "{area}", "map": "{map}", "what": "where the map errs"},
        ),
        tiles=report(
            "results/{area}/assess/{map}/tiles.png",
            caption="../report/assess-tiles.rst",
            category="Scores",
            labels={
                "area": "{area}",
                "map": "{map}",
                "what": "scores by tile or chip",
            },
        ),
        downsampling=report(
            "results/{area}/assess/{map}/downsampling.html",
            caption="../report/assess-downsampling.rst",
            category="Labels",
            labels={
                "area": "{area}",
                "map": "{map}",
                "what": "classes before and after downsampling",
            },
        ),
        provenance=report(
            "results/{area}/assess/{map}/provenance.html",
            caption="../report/assess-provenance.rst",
            category="Provenance",
            labels={
                "area": "{area}",
                "map": "{map}",
                "what": "scenes, models, software, settings",
            },
        ),
    log:
        "logs/{area}/assess/{map}.log",
    benchmark:
        "benchmarks/{area}/assess/{map}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("assess"),
    shell:
        "mapmill assess config/areas/{wildcards.area}.yaml {wildcards.map:q} {output.metrics:q}"
        " 2> {log:q}"


rule tabulate:
    input:
        tabulate_inputs,
    output:
        areas=report(
            "results/{area}/tabulate/areas.csv",
            caption="../report/tabulate.rst",
            category="Areas",
            labels={
                "area": "{area}",
                "what": "pixel counts by unit, map and class (CSV)",
            },
        ),
        changes=report(
            "results/{area}/tabulate/changes.csv",
            caption="../report/tabulate-changes.rst",
            category="Areas",
            labels={"area": "{area}", "what": "changes from map to map (CSV)"},
        ),
    log:
        "logs/{area}/tabulate.log",
    benchmark:
        "benchmarks/{area}/tabulate.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("tabulate"),
    shell:
        "mapmill tabulate config/areas/{wildcards.area}.yaml {output.areas:q} {output.changes:q}"
        " 2> {log:q}"
