rule card:
    input:
        **rules.summarize.output,
    output:
        cards=expand(f"{RESULTS}/card/{{run}}/card.{{kind}}", run=STUDY.runs, kind=["html", "md", "json"]),
    params:
        results=lambda w, input: Path(input.summary).parent,
        folder=lambda w, output: Path(output.cards[0]).parent.parent,
        code=code_fingerprint("evenclip.card"),
    log:
        f"{LOGS}/card.log",
    benchmark:
        f"{BENCHMARK}/card.tsv"
    resources:
        mem_mb=2000,
        runtime=30,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip card --results {params.results} --out {params.folder} 2>&1 | tee {log}"
