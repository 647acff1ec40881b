GRAPH = f"{RESULTS}/graph"

if STUDY.config.graph:

    rule graph:
        input:
            data=TRAINING_DATA,
            sources=STUDY.config.graph.inputs(STUDY.config.data),
        output:
            triples=f"{GRAPH}/triples.parquet",
            entities=f"{GRAPH}/entities.parquet",
            relations=f"{GRAPH}/relations.parquet",
            negatives=f"{GRAPH}/negatives.parquet",
            statistics=f"{GRAPH}/graph.json",
            manifest=f"{GRAPH}/manifest.json",
        params:
            data=input_folder("data"),
            folder=output_folder("triples"),
            options=STUDY.config.graph.arguments(),
            code=code_fingerprint("evenclip.graph"),
        log:
            log_of("graph"),
        benchmark:
            benchmark_of("graph")
        resources:
            mem_mb=memory(6000),
            runtime=60,
        conda:
            "../envs/tables.yaml"
        shell:
            evenclip("graph --data {params.data:q} --out {params.folder:q} {params.options:q}")
