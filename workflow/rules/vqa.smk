rule questions:
    input:
        lambda w: STUDY.question_inputs(w.dataset, w.split),
    output:
        table=f"{RESULTS}/questions/{{dataset}}/{{split}}.parquet",
        manifest=f"{RESULTS}/questions/{{dataset}}/{{split}}.json",
    params:
        options=lambda w: STUDY.question_arguments(w.dataset, w.split),
        code=code_fingerprint("evenclip.data.vqa_questions"),
    log:
        f"{LOGS}/questions/{{dataset}}_{{split}}.log",
    benchmark:
        f"{BENCHMARK}/questions/{{dataset}}_{{split}}.tsv"
    resources:
        mem_mb=4000,
        runtime=30,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip data questions {params.options} --out {output.table} 2>&1 | tee {log}"


rule vqa:
    input:
        weights=rules.train.output.weights,
        questions=expand(rules.questions.output.table, split=["train", "test"], allow_missing=True),
    output:
        metrics=f"{RESULTS}/evaluate/{{run}}/seed{{seed}}/{{dataset}}.json",
    wildcard_constraints:
        dataset="|".join(STUDY.config.vqa) or "none",
    params:
        model=lambda w, input: Path(input.weights).parent,
        options=lambda w, input: STUDY.vqa_arguments(w.dataset, Path(input.questions[0]).parent),
        code=code_fingerprint("evenclip.vqa"),
    log:
        f"{LOGS}/vqa/{{run}}_seed{{seed}}_{{dataset}}.log",
    benchmark:
        f"{BENCHMARK}/vqa/{{run}}_seed{{seed}}_{{dataset}}.tsv"
    threads: lambda w: STUDY.config.vqa[w.dataset].options.threads
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=lambda w: STUDY.gpus(STUDY.config.vqa[w.dataset].options.device),
    conda:
        "../envs/torch.yaml"
    shell:
        "python -m evenclip vqa --model {params.model} --out {output.metrics} --seed {wildcards.seed}"
        " {params.options} 2>&1 | tee {log}"
