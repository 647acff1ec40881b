rule data:
    input:
        source=ancient(lambda w: STUDY.config.data[w.dataset].raw_files()),  # params.listing says whether it has changed
        made_from=lambda w: STUDY.config.data[w.dataset].made_from(w.split),
    output:
        manifest="data/{dataset}/{split}/manifest.json",
    wildcard_constraints:
        dataset=one_of(STUDY.config.data),
        split=one_of(sorted({split for block in STUDY.config.data.values() for split in block.splits})),
    params:
        options=lambda w: STUDY.config.data[w.dataset].arguments(w.split),
        folder=output_folder("manifest"),
        listing=lambda w: STUDY.config.data[w.dataset].listing(),
        code=lambda w: code_fingerprint(STUDY.config.data[w.dataset].module),
    log:
        log_of("data/{dataset}_{split}"),
    benchmark:
        benchmark_of("data/{dataset}_{split}")
    resources:
        mem_mb=memory(2000),
        runtime=120,
    conda:
        "../envs/tables.yaml"
    shell:
        evenclip("data {params.options:q} --out {params.folder:q}")
