# What is measured of each model: embeddings of every evaluation set and metrics on them, answers to questions, links.
rule embed:
    input:
        weights=rules.train.output.weights,
        data=[manifest_of(block.data) for block in STUDY.config.evaluate.sets.values()],
        prompts=STUDY.config.evaluate.prompt_files(),
    output:
        embeddings=expand(f"{RESULTS}/embed/{{{{run}}}}/seed{{{{seed}}}}/{{set}}.npz", set=STUDY.config.evaluate.sets),
        manifest=f"{RESULTS}/embed/{{run}}/seed{{seed}}/manifest.json",
    params:
        model=input_folder("weights"),
        folder=output_folder("manifest"),
        sets=STUDY.config.evaluate.embed_arguments(),
        options=STUDY.config.embed.to_flags(),
        code=code_fingerprint("evenclip.embed"),
    log:
        log_of("embed/{run}_seed{seed}"),
    benchmark:
        benchmark_of("embed/{run}_seed{seed}")
    threads: STUDY.config.embed.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=gpus(STUDY.config.embed.device),
    conda:
        "../envs/torch.yaml"
    shell:
        evenclip("embed --model {params.model:q} --out {params.folder:q} {params.sets:q} {params.options:q}")


rule evaluate:
    input:
        embeddings=f"{RESULTS}/embed/{{run}}/seed{{seed}}/{{dataset}}.npz",
        data=lambda w: manifest_of(STUDY.config.evaluate.sets[w.dataset].data),
        # of a linear probe that trains on another split
        train=lambda w: [
            f"{RESULTS}/embed/{w.run}/seed{w.seed}/{name}.npz"
            for name in [STUDY.config.evaluate.probe_set(w.dataset)]
            if name
        ],
    output:
        metrics=f"{RESULTS}/evaluate/{{run}}/seed{{seed}}/{{dataset}}.json",
    wildcard_constraints:
        dataset=one_of(STUDY.config.evaluate.sets),
    params:
        data=input_folder("data"),
        options=lambda w: STUDY.config.evaluate.arguments(w.dataset),
        train=lambda w, input: repeated("--train-embeddings", input.train),
        code=code_fingerprint("evenclip.evaluate"),
    log:
        log_of("evaluate/{run}_seed{seed}_{dataset}"),
    benchmark:
        benchmark_of("evaluate/{run}_seed{seed}_{dataset}")
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        "../envs/tables.yaml"
    shell:
        evenclip(
            "evaluate --embeddings {input.embeddings:q} --dataset {params.data:q} --out {output.metrics:q}"
            " --seed {wildcards.seed:q} {params.options:q} {params.train:q}"
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
        mem_mb=4000,
        runtime=30,
    conda:
        "../envs/tables.yaml"
    shell:
        evenclip("data questions {params.options:q} --out {output.table:q}")


rule vqa:
    input:
        weights=rules.train.output.weights,
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
        mem_mb=8000,
        runtime=240,
        gpu=lambda w: gpus(STUDY.config.vqa[w.dataset].options.device),
    conda:
        "../envs/torch.yaml"
    shell:
        evenclip("vqa --model {params.model:q} --out {output.metrics:q} --seed {wildcards.seed:q} {params.options:q}")


if STUDY.config.links:

    rule links:
        input:
            weights=rules.train.output.weights,
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
            mem_mb=8000,
            runtime=60,
            gpu=gpus(STUDY.config.links.device),
        conda:
            "../envs/torch.yaml"
        shell:
            evenclip(
                "links --model {params.model:q} --graph {params.graph:q} --data {params.data:q} --name {params.name:q}"
                " --out {output.metrics:q} --seed {wildcards.seed:q} {params.options:q}"
            )
