rule links:
    input:
        weights=rules.train.output.weights,
        graph=rules.graph.output,
        data=TRAINING_DATA,
    output:
        metrics=f"{RESULTS}/evaluate/{{run}}/seed{{seed}}/links.json",
    params:
        model=lambda w, input: Path(input.weights).parent,
        graph=lambda w, input: Path(input.graph[0]).parent,
        data=lambda w, input: Path(input.data).parent,
        options=STUDY.links_arguments(),
        code=code_fingerprint("evenclip.links"),
    log:
        f"{LOGS}/links/{{run}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARK}/links/{{run}}_seed{{seed}}.tsv"
    threads: STUDY.config.links.threads
    resources:
        mem_mb=8000,
        runtime=60,
        gpu=STUDY.gpus(STUDY.config.links.device),
    conda:
        "../envs/torch.yaml"
    shell:
        "python -m evenclip links --model {params.model} --graph {params.graph} --data {params.data}"
        " --out {output.metrics} --seed {wildcards.seed} {params.options} 2>&1 | tee {log}"
