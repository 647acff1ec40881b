rule evaluate:
    input:
        embeddings=f"{RESULTS}/embed/{{run}}/seed{{seed}}/{{dataset}}.npz",
        data=lambda w: f"data/{STUDY.config.evaluate.sets[w.dataset].data}/manifest.json",
        # of a linear probe that trains on another split
        train=lambda w: [
            f"{RESULTS}/embed/{w.run}/seed{w.seed}/{name}.npz" for name in [STUDY.probe_set(w.dataset)] if name
        ],
    output:
        metrics=f"{RESULTS}/evaluate/{{run}}/seed{{seed}}/{{dataset}}.json",
    wildcard_constraints:
        dataset="|".join(STUDY.config.evaluate.sets),
    params:
        data=lambda w, input: Path(input.data).parent,
        options=lambda w: STUDY.evaluate_arguments(w.dataset),
        train=lambda w, input: [f"--train-embeddings {path}" for path in input.train],
        code=code_fingerprint("evenclip.evaluate"),
    log:
        f"{LOGS}/evaluate/{{run}}_seed{{seed}}_{{dataset}}.log",
    benchmark:
        f"{BENCHMARK}/evaluate/{{run}}_seed{{seed}}_{{dataset}}.tsv"
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip evaluate --embeddings {input.embeddings} --dataset {params.data} --out {output.metrics}"
        " --seed {wildcards.seed} {params.options} {params.train} 2>&1 | tee {log}"
