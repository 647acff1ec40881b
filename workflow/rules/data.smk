rule data:
    input:
        source=ancient(lambda w: STUDY.data_source(w.dataset)),  # params.listing says whether it has changed
    output:
        manifest="data/{dataset}/{split}/manifest.json",
    params:
        command=lambda w: STUDY.data_command(w.dataset, w.split),
        folder=lambda w, output: Path(output.manifest).parent,
        listing=lambda w: STUDY.data_listing(w.dataset),
        code=lambda w: code_fingerprint(STUDY.data_module(w.dataset)),
    log:
        f"{LOGS}/data/{{dataset}}_{{split}}.log",
    benchmark:
        f"{BENCHMARK}/data/{{dataset}}_{{split}}.tsv"
    resources:
        mem_mb=2000,
        runtime=120,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip data {params.command} --out {params.folder} 2>&1 | tee {log}"
