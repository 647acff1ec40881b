rule train:
    input:
        data=TRAINING_DATA,
        weights=lambda w: f"{RESULTS}/balance/{STUDY.runs[w.run].strategy}/weights.parquet",
        labels=rules.label.output.labels,
        graph=lambda w: rules.graph.output if STUDY.uses_graph(w.run) else [],
        stage_outputs=lambda w: STUDY.stage_outputs(w.run),
        model=lambda w: STUDY.model_files(w.run, w.seed),
    output:
        weights=f"{RESULTS}/train/{{run}}/seed{{seed}}/model.safetensors",
        model=f"{RESULTS}/train/{{run}}/seed{{seed}}/model.json",
        open_clip=f"{RESULTS}/train/{{run}}/seed{{seed}}/open_clip_config.json",
        history=f"{RESULTS}/train/{{run}}/seed{{seed}}/history.parquet",
        manifest=f"{RESULTS}/train/{{run}}/seed{{seed}}/manifest.json",
    params:
        data=lambda w, input: Path(input.data).parent,
        folder=lambda w, output: Path(output.weights).parent,
        graph=lambda w: f"--graph {RESULTS}/graph" if STUDY.uses_graph(w.run) else "",
        options=lambda w: STUDY.train_arguments(w.run),
        code=code_fingerprint("evenclip.train"),
    log:
        f"{LOGS}/train/{{run}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARK}/train/{{run}}_seed{{seed}}.tsv"
    threads: lambda w: STUDY.train_options(w.run).threads
    resources:
        mem_mb=8000,
        runtime=1440,
        gpu=lambda w: STUDY.gpus(STUDY.train_options(w.run).device),
    conda:
        "../envs/torch.yaml"
    shell:
        "python -m evenclip train --data {params.data} --weights {input.weights} --labels {input.labels} {params.graph}"
        " --out {params.folder} --seed {wildcards.seed} {params.options} 2>&1 | tee {log}"
