rule label:
    input:
        data=TRAINING_DATA,
        lexicon=STUDY.config.label.lexicon,
        embeddings=rules.label_embed.output if STUDY.config.label.embedding else [],
    output:
        labels=f"{RESULTS}/label/{STUDY.config.label.dataset}.parquet",
        manifest=f"{RESULTS}/label/{STUDY.config.label.dataset}.json",
    params:
        data=lambda w, input: Path(input.data).parent,
        options=STUDY.label_arguments(),
        images=STUDY.image_side_arguments(f"{RESULTS}/label_embed"),
        code=code_fingerprint("evenclip.label"),
    log:
        f"{LOGS}/label.log",
    benchmark:
        f"{BENCHMARK}/label.tsv"
    resources:
        mem_mb=4000,
        runtime=120,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip label --data {params.data} --lexicon {input.lexicon} --out {output.labels}"
        " {params.options} {params.images} 2>&1 | tee {log}"
