# Models from patches.
#
# INPUT   results/{area}/pack/patches.zarr/zarr.json, of this or other areas
# OUTPUT  results/{area}/train/{model}/model.safetensors, history.csv, curves.png
#         where {model} is {run}-{seed}
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
