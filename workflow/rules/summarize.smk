rule summarize:
    input:
        metrics=expand(
            rules.evaluate.output.metrics,
            run=STUDY.runs,
            seed=STUDY.config.seeds,
            dataset=STUDY.config.evaluate.sets,
        ),
        answers=expand(rules.vqa.output.metrics, run=STUDY.runs, seed=STUDY.config.seeds, dataset=STUDY.config.vqa),
        links=expand(f"{RESULTS}/evaluate/{{run}}/seed{{seed}}/links.json", run=STUDY.linking_runs(), seed=STUDY.config.seeds),
        histories=expand(rules.train.output.history, run=STUDY.runs, seed=STUDY.config.seeds),
        balances=expand(rules.balance.output.report, strategy=STUDY.strategies()),
        strategies=expand(rules.balance.output.manifest, strategy=STUDY.strategies()),
        labels=rules.label.output.manifest,
        claims=STUDY.claims,
    output:
        summary=f"{RESULTS}/summary.csv",
        tests=f"{RESULTS}/tests.csv",
        claims=f"{RESULTS}/claims.json",
        study=f"{RESULTS}/study.json",
        metrics=f"{RESULTS}/metrics.json",
    params:
        results=lambda w, output: Path(output[0]).parent,
        arguments=STUDY.summarize_arguments(),
        code=code_fingerprint("evenclip.summarize"),
    log:
        f"{LOGS}/summarize.log",
    benchmark:
        f"{BENCHMARK}/summarize.tsv"
    resources:
        mem_mb=2000,
        runtime=30,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip summarize --results {params.results} {params.arguments} 2>&1 | tee {log}"
