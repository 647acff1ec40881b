rule report:
    input:
        **rules.summarize.output,
        labels=rules.label.output.manifest,
        graph=list(rules.graph.output) if STUDY.config.graph else [],
    output:
        page=report(f"{RESULTS}/report.html", caption="../report/study.rst", category="Study"),
        figures=report(
            directory(f"{RESULTS}/figures"),
            patterns=["{name}.png"],
            caption="../report/figure.rst",
            category="Figures",
        ),
    params:
        results=lambda w, output: Path(output[0]).parent,
        code=code_fingerprint("evenclip.report"),
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARK}/report.tsv"
    resources:
        mem_mb=2000,
        runtime=30,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip report --results {params.results} --out {output.page} 2>&1 | tee {log}"
