rule train:
    input:
        data=TRAINING_DATA,
        weights=lambda w: expand(rules.balance.output.weights, strategy=STUDY.runs[w.run].strategy),
        labels=rules.label.output.labels,
        graph=lambda w: rules.graph.output if STUDY.runs[w.run].uses_graph(STUDY.config) else [],
        stage_outputs=lambda w: STUDY.runs[w.run].stage_outputs(),
        model=lambda w: STUDY.runs[w.run].files(w.seed),
    output:
        weights=f"{RESULTS}/train/{{run}}/seed{{seed}}/model.safetensors",
        model=f"{RESULTS}/train/{{run}}/seed{{seed}}/model.json",
        open_clip=f"{RESULTS}/train/{{run}}/seed{{seed}}/open_clip_config.json",
        history=f"{RESULTS}/train/{{run}}/seed{{seed}}/history.parquet",
        manifest=f"{RESULTS}/train/{{run}}/seed{{seed}}/manifest.json",
    params:
        data=input_folder("data"),
        folder=output_folder("weights"),
        graph=lambda w: ["--graph", GRAPH] if STUDY.runs[w.run].uses_graph(STUDY.config) else [],
        options=lambda w: STUDY.runs[w.run].options.to_flags(),
        code=code_fingerprint("evenclip.train"),
    log:
        log_of("train/{run}_seed{seed}"),
    benchmark:
        benchmark_of("train/{run}_seed{seed}")
    threads: lambda w: STUDY.runs[w.run].options.threads
    resources:
        mem_mb=8000,
        runtime=1440,
        gpu=lambda w: gpus(STUDY.runs[w.run].options.device),
    conda:
        "../envs/torch.yaml"
    shell:
        evenclip(
            "train --data {params.data:q} --weights {input.weights:q} --labels {input.labels:q} {params.graph:q}"
            " --out {params.folder:q} --seed {wildcards.seed:q} {params.options:q}"
        )
