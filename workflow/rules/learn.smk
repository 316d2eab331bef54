# Models from patches, and runs side by side.
#
# INPUT   results/{area}/pack/patches.zarr/zarr.json, of this or other areas
# OUTPUT  results/{area}/train/{model}/model.safetensors, history.csv, curves.png
#         where {model} is {run}-{seed}, or {run}-fold{k}-{seed}
#         results/{area}/compare/{comparison}.csv, .models.csv, .png
#
# MAPMILL_LAUNCH is what starts several processes, on as many GPUs: see docs/training.md.


rule train:
    input:
        train_inputs,
    output:
        model="results/{area}/train/{model}/model.safetensors",
        history="results/{area}/train/{model}/history.csv",
        figure=report(
            "results/{area}/train/{model}/curves.png",
            caption="../report/train.rst",
            category="Training",
            labels={"area": "{area}", "model": "{model}"},
        ),
    log:
        "logs/{area}/train/{model}.log",
    benchmark:
        "benchmarks/{area}/train/{model}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("train", "model"),
    shell:
        "${{MAPMILL_LAUNCH:-}} mapmill train config/areas/{wildcards.area}.yaml"
        " {wildcards.model:q} {output.model:q} {output.history:q} {output.figure:q} 2> {log:q}"


rule compare:
    input:
        compare_inputs,
    output:
        table=report(
            "results/{area}/compare/{comparison}.csv",
            caption="../report/compare-table.rst",
            category="Comparisons",
            labels={
                "area": "{area}",
                "comparison": "{comparison}",
                "what": "table (CSV)",
            },
        ),
        models="results/{area}/compare/{comparison}.models.csv",
        figure=report(
            "results/{area}/compare/{comparison}.png",
            caption="../report/compare.rst",
            category="Comparisons",
            labels={"area": "{area}", "comparison": "{comparison}", "what": "figure"},
        ),
    log:
        "logs/{area}/compare/{comparison}.log",
    benchmark:
        "benchmarks/{area}/compare/{comparison}.tsv"
    conda:
        "../../envs/mapmill.yaml"
    params:
        settings=settings_of("compare", "comparison"),
    shell:
        "mapmill compare config/areas/{wildcards.area}.yaml {wildcards.comparison:q}"
        " {output.table:q} {output.models:q} {output.figure:q} 2> {log:q}"
