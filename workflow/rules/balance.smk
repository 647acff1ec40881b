rule balance:
    input:
        labels=rules.label.output.labels,
    output:
        weights=f"{RESULTS}/balance/{{strategy}}/weights.parquet",
        report=f"{RESULTS}/balance/{{strategy}}/report.json",
        manifest=f"{RESULTS}/balance/{{strategy}}/manifest.json",
    params:
        folder=lambda w, output: Path(output.weights).parent,
        options=lambda w: STUDY.balance_arguments(w.strategy),
        code=code_fingerprint("evenclip.balance"),
    log:
        f"{LOGS}/balance/{{strategy}}.log",
    benchmark:
        f"{BENCHMARK}/balance/{{strategy}}.tsv"
    resources:
        mem_mb=4000,
        runtime=120,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip balance {input.labels} --out {params.folder} {params.options} 2>&1 | tee {log}"
