rule track:
    input:
        summary=rules.summarize.output.summary,
        page=rules.report.output.page,
        cards=rules.card.output.cards,
    output:
        receipt=f"{RESULTS}/track.json",
    params:
        results=lambda w, output: Path(output[0]).parent,
        tracking_uri=STUDY.config.track.tracking_uri,
        code=code_fingerprint("evenclip.track"),
    log:
        f"{LOGS}/track.log",
    benchmark:
        f"{BENCHMARK}/track.tsv"
    resources:
        mem_mb=2000,
        runtime=60,
    conda:
        "../envs/mlflow.yaml"
    shell:
        "python -m evenclip track sync --results {params.results} --tracking-uri {params.tracking_uri:q}"
        " --out {output.receipt} 2>&1 | tee {log}"
