# What is measured of each model: embeddings of every evaluation set and metrics on them, answers to questions, links.
rule embed:
    input:
        weights=rules.train.output.weights,
        data=[manifest_of(block.data) for block in STUDY.config.evaluate.sets.values()],
        prompts=STUDY.config.evaluate.prompt_files(),
        features=[path for block in STUDY.config.evaluate.sets.values() for path in features_of(block.data)],
    output:
        embeddings=[
            path
            for name in STUDY.config.evaluate.sets
            for path in per_job(f"{RESULTS}/embed/{{run}}/seed{{seed}}/{name}.npz")
        ],
        manifest=of_job(f"{RESULTS}/embed/{{run}}/seed{{seed}}/manifest.json"),
    params:
        model=lambda w: f"{RESULTS}/train/{w.run}/seed{{seed}}",
        folder=lambda w: f"{RESULTS}/embed/{w.run}/seed{{seed}}",
        seeds=lambda w: STUDY.config.seeds_arguments(w.get("seed")),
        sets=STUDY.config.evaluate.embed_arguments(),
        features=repeated("--features", STUDY.config.embed_features()),
        options=STUDY.config.embed.to_flags(),
        code=code_fingerprint("evenclip.embed"),
    log:
        log_of(job_name("embed/{run}")),
    benchmark:
        benchmark_of(job_name("embed/{run}"))
    threads: STUDY.config.embed.threads
    resources:
        mem_mb=memory(4000),
        runtime=240,
        gpu=gpus_for(lambda w: STUDY.config.embed.device),
    conda:
        "../envs/torch.yaml"
    shell:
        evenclip(
            "embed --model {params.model:q} --out {params.folder:q} {params.seeds:q} {params.sets:q}"
            " {params.features:q} {params.options:q}"
        )


rule evaluate:
    input:
        embeddings=rules.embed.output.embeddings,
        data=[manifest_of(block.data) for block in STUDY.config.evaluate.sets.values()],
        lexicons=list(STUDY.config.evaluate.lexicons().values()),
    output:
        metrics=[
            path
            for name in STUDY.config.evaluate.measured
            for path in per_job(f"{RESULTS}/evaluate/{{run}}/seed{{seed}}/{name}.json")
        ],
    params:
        embeddings=lambda w: f"{RESULTS}/embed/{w.run}/seed{{seed}}/{{dataset}}.npz",
        metrics=lambda w: f"{RESULTS}/evaluate/{w.run}/seed{{seed}}/{{dataset}}.json",
        seeds=lambda w: STUDY.config.seeds_arguments(w.get("seed")),
        sets=STUDY.config.evaluate.arguments(),
        train=lambda w: repeated("--train-embeddings", probe_embeddings(w.run)),
        code=code_fingerprint("evenclip.evaluate"),
    log:
        log_of(job_name("evaluate/{run}")),
    benchmark:
        benchmark_of(job_name("evaluate/{run}"))
    resources:
        mem_mb=memory(4000),
        runtime=240,
    conda:
        "../envs/tables.yaml"
    shell:
        evenclip(
            "evaluate --embeddings {params.embeddings:q} --out {params.metrics:q} {params.seeds:q} {params.sets:q}"
            " {params.train:q}"
        )


rule questions:
    input:
        lambda w: STUDY.config.vqa[w.dataset].files(w.split).inputs(STUDY.config.data),
    output:
        table=f"{RESULTS}/questions/{{dataset}}/{{split}}.parquet",
        manifest=f"{RESULTS}/questions/{{dataset}}/{{split}}.json",
    params:
        options=lambda w: STUDY.config.vqa[w.dataset].files(w.split).arguments(),
        code=code_fingerprint("evenclip.data.vqa_questions"),
    log:
        log_of("questions/{dataset}_{split}"),
    benchmark:
        benchmark_of("questions/{dataset}_{split}")
    resources:
        mem_mb=memory(4000),
        runtime=30,
    conda:
        "../envs/tables.yaml"
    shell:
        evenclip("data questions {params.options:q} --out {output.table:q}")


rule vqa:
    input:
        weights=f"{RESULTS}/train/{{run}}/seed{{seed}}/model.safetensors",
        questions=expand(rules.questions.output.table, split=["train", "test"], allow_missing=True),
    output:
        metrics=f"{RESULTS}/evaluate/{{run}}/seed{{seed}}/{{dataset}}.json",
    wildcard_constraints:
        dataset=one_of(STUDY.config.vqa),
    params:
        model=input_folder("weights"),
        options=lambda w, input: STUDY.config.vqa[w.dataset].arguments(w.dataset, Path(input.questions[0]).parent),
        code=code_fingerprint("evenclip.vqa"),
    log:
        log_of("vqa/{run}_seed{seed}_{dataset}"),
    benchmark:
        benchmark_of("vqa/{run}_seed{seed}_{dataset}")
    threads: lambda w: STUDY.config.vqa[w.dataset].options.threads
    resources:
        mem_mb=memory(8000),
        runtime=240,
        gpu=gpus_for(lambda w: STUDY.config.vqa[w.dataset].options.device),
    conda:
        "../envs/torch.yaml"
    shell:
        evenclip("vqa --model {params.model:q} --out {output.metrics:q} --seed {wildcards.seed:q} {params.options:q}")


if STUDY.config.links:

    rule links:
        input:
            weights=f"{RESULTS}/train/{{run}}/seed{{seed}}/model.safetensors",
            graph=rules.graph.output,
            data=TRAINING_DATA,
        output:
            metrics=f"{RESULTS}/evaluate/{{run}}/seed{{seed}}/links.json",
        params:
            model=input_folder("weights"),
            graph=input_folder("graph"),
            data=input_folder("data"),
            name=STUDY.config.label.dataset,
            options=STUDY.config.links.to_flags(),
            code=code_fingerprint("evenclip.links"),
        log:
            log_of("links/{run}_seed{seed}"),
        benchmark:
            benchmark_of("links/{run}_seed{seed}")
        threads: STUDY.config.links.threads
        resources:
            mem_mb=memory(8000),
            runtime=60,
            gpu=gpus_for(lambda w: STUDY.config.links.device),
        conda:
            "../envs/torch.yaml"
        shell:
            evenclip(
                "links --model {params.model:q} --graph {params.graph:q} --data {params.data:q} --name {params.name:q}"
                " --out {output.metrics:q} --seed {wildcards.seed:q} {params.options:q}"
            )
