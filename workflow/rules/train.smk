# Models: their trunks' features, computed once for each data set, and the trainings.
rule packaged_model:
    output:
        weights=f"{PACKAGED_MODEL}/model.safetensors",
        open_clip=f"{PACKAGED_MODEL}/open_clip_config.json",
        text=f"{PACKAGED_MODEL}/config.json",
        tokenizer=f"{PACKAGED_MODEL}/tokenizer.json",
    params:
        folder=output_folder("weights"),
        code=code_fingerprint("evenclip.features.packaged"),
    log:
        log_of("packaged_model"),
    resources:
        mem_mb=memory(4000),
        runtime=30,
    conda:
        "../envs/torch.yaml"
    shell:
        evenclip("model packaged --out {params.folder:q}")


if STUDY.config.features:

    rule features:
        input:
            data="data/{dataset}/{split}/manifest.json",
            model=STUDY.config.train.files().values(),
            prompts=STUDY.config.evaluate.prompt_files(),
        output:
            manifest=f"{FEATURES}/{{dataset}}/{{split}}/manifest.json",
            arrays=expand(f"{FEATURES}/{{{{dataset}}}}/{{{{split}}}}/{{name}}.npy", name=["image", "text"]),
            tables=expand(f"{FEATURES}/{{{{dataset}}}}/{{{{split}}}}/{{name}}.parquet", name=["keys", "texts"]),
        params:
            data=input_folder("data"),
            folder=output_folder("manifest"),
            options=lambda w: STUDY.config.feature_arguments(f"{w.dataset}/{w.split}"),
            code=code_fingerprint("evenclip.features"),
        log:
            log_of("features/{dataset}_{split}"),
        benchmark:
            benchmark_of("features/{dataset}_{split}")
        threads: STUDY.config.features.threads
        resources:
            mem_mb=memory(4000),
            runtime=600,
            gpu=gpus_for(lambda w: STUDY.config.features.device),
        conda:
            "../envs/torch.yaml"
        shell:
            evenclip("features --data {params.data:q} --out {params.folder:q} {params.options:q}")


rule train:
    input:
        data=TRAINING_DATA,
        weights=lambda w: expand(rules.balance.output.weights, strategy=STUDY.runs[w.run].strategy),
        labels=rules.label.output.labels,
        graph=lambda w: rules.graph.output if STUDY.runs[w.run].uses_graph(STUDY.config) else [],
        features=features_of(STUDY.config.training_data),
        stage_outputs=lambda w: STUDY.runs[w.run].stage_outputs(),
        # each once: Snakemake looks at every input for every output that it records
        model=lambda w: list(dict.fromkeys(path for seed in seeds_of(w) for path in STUDY.runs[w.run].files(seed))),
    output:
        weights=of_job(f"{RESULTS}/train/{{run}}/seed{{seed}}/model.safetensors"),
        model=of_job(f"{RESULTS}/train/{{run}}/seed{{seed}}/model.json"),
        open_clip=of_job(f"{RESULTS}/train/{{run}}/seed{{seed}}/open_clip_config.json"),
        history=of_job(f"{RESULTS}/train/{{run}}/seed{{seed}}/history.parquet"),
        manifest=of_job(f"{RESULTS}/train/{{run}}/seed{{seed}}/manifest.json"),
    params:
        data=input_folder("data"),
        folder=lambda w: f"{RESULTS}/train/{w.run}/seed{{seed}}",
        seeds=lambda w: STUDY.config.seeds_arguments(w.get("seed")),
        features=lambda w, input: repeated("--features", [str(Path(path).parent) for path in input.features]),
        graph=lambda w: ["--graph", GRAPH] if STUDY.runs[w.run].uses_graph(STUDY.config) else [],
        options=lambda w: STUDY.runs[w.run].options.to_flags(),
        code=code_fingerprint("evenclip.train"),
    log:
        log_of(job_name("train/{run}")),
    benchmark:
        benchmark_of(job_name("train/{run}"))
    threads: lambda w: STUDY.config.processes * STUDY.runs[w.run].options.threads
    resources:
        mem_mb=memory(8000 * STUDY.config.processes),
        runtime=1440,
        gpu=gpus_for(lambda w: STUDY.runs[w.run].options.device, STUDY.config.processes),
        nodes=1,  # all its GPUs
    conda:
        "../envs/torch.yaml"
    shell:
        evenclip(
            "train --data {params.data:q} --weights {input.weights:q} --labels {input.labels:q} {params.graph:q}"
            " --out {params.folder:q} {params.seeds:q} {params.features:q} {params.options:q}",
            STUDY.config.processes,
        )
