rule graph:
    input:
        data=TRAINING_DATA,
        sources=STUDY.graph_files(),
    output:
        triples=f"{RESULTS}/graph/triples.parquet",
        entities=f"{RESULTS}/graph/entities.parquet",
        relations=f"{RESULTS}/graph/relations.parquet",
        negatives=f"{RESULTS}/graph/negatives.parquet",
        statistics=f"{RESULTS}/graph/graph.json",
        manifest=f"{RESULTS}/graph/manifest.json",
    params:
        data=lambda w, input: Path(input.data).parent,
        folder=lambda w, output: Path(output.triples).parent,
        options=STUDY.graph_arguments(),
        code=code_fingerprint("evenclip.graph"),
    log:
        f"{LOGS}/graph.log",
    benchmark:
        f"{BENCHMARK}/graph.tsv"
    resources:
        mem_mb=6000,
        runtime=60,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip graph --data {params.data} --out {params.folder} {params.options} 2>&1 | tee {log}"
