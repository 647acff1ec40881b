# What is gathered from all runs and seeds: tables with tests, bias cards, the report, MLflow.
rule summarize:
    input:
        metrics=expand(rules.evaluate.output.metrics, run=STUDY.runs, seed=STUDY.config.seeds),
        answers=expand(rules.vqa.output.metrics, run=STUDY.runs, seed=STUDY.config.seeds, dataset=STUDY.config.vqa),
        links=expand(
            f"{RESULTS}/evaluate/{{run}}/seed{{seed}}/links.json", run=STUDY.linking_runs(), seed=STUDY.config.seeds
        ),
        histories=expand(rules.train.output.history, run=STUDY.runs, seed=STUDY.config.seeds),
        balances=expand(rules.balance.output.report, strategy=STUDY.strategies()),
        strategies=expand(rules.balance.output.manifest, strategy=STUDY.strategies()),
        labels=rules.label.output.manifest,
        claims=STUDY.config.claims,
        null_seeds=STUDY.config.null_seeds,
    output:
        summary=report(
            f"{RESULTS}/summary.csv",
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "means and intervals of every metric"},
        ),
        seeds=f"{RESULTS}/seeds.csv",
        tests=report(
            f"{RESULTS}/tests.csv",
            caption="../report/tests.rst",
            category="Tables",
            labels={"table": "differences between runs"},
        ),
        claims=f"{RESULTS}/claims.json",
        study=f"{RESULTS}/study.json",
        metrics=f"{RESULTS}/metrics.json",
    params:
        results=output_folder("summary"),
        arguments=STUDY.summarize_arguments(),
        code=code_fingerprint("evenclip.summarize"),
    log:
        log_of("summarize"),
    benchmark:
        benchmark_of("summarize")
    resources:
        mem_mb=memory(2000),
        runtime=30,
    conda:
        "../envs/tables.yaml"
    shell:
        evenclip("summarize --results {params.results:q} {params.arguments:q}")


rule card:
    input:
        **rules.summarize.output,
    output:
        pages=[
            report(
                f"{RESULTS}/card/{run}/card.html",
                caption="../report/card.rst",
                category="Bias cards",
                labels={"run": run},
            )
            for run in STUDY.runs
        ],
        cards=expand(f"{RESULTS}/card/{{run}}/card.{{kind}}", run=STUDY.runs, kind=["md", "json"]),
        manifests=expand(f"{RESULTS}/card/{{run}}/manifest.json", run=STUDY.runs),
    params:
        results=input_folder("summary"),
        folder=lambda w, output: Path(output.pages[0]).parent.parent,
        code=code_fingerprint("evenclip.card"),
    log:
        log_of("card"),
    benchmark:
        benchmark_of("card")
    resources:
        mem_mb=memory(2000),
        runtime=30,
    conda:
        "../envs/tables.yaml"
    shell:
        evenclip("card --results {params.results:q} --out {params.folder:q}")


rule report:
    input:
        **rules.summarize.output,
        labels=rules.label.output.manifest,
        graph=list(rules.graph.output) if STUDY.config.graph else [],
    output:
        page=report(
            f"{RESULTS}/report.html",
            caption="../report/study.rst",
            category="Study",
            labels={"page": "the study's report"},
        ),
        figures=report(
            directory(f"{RESULTS}/figures"),
            patterns=["{section,[a-z_]+}-{figure}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{section}",
            labels={"figure": "{figure}"},
        ),
    params:
        results=output_folder("page"),
        options=STUDY.config.report.to_flags(),
        code=code_fingerprint("evenclip.report"),
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    resources:
        mem_mb=memory(2000),
        runtime=30,
    conda:
        "../envs/tables.yaml"
    shell:
        evenclip("report --results {params.results:q} --out {output.page:q} {params.options:q}")


rule track:
    input:
        summary=rules.summarize.output.summary,
        page=rules.report.output.page,
        cards=[*rules.card.output.pages, *rules.card.output.cards],
    output:
        receipt=f"{RESULTS}/track.json",
    params:
        results=output_folder("receipt"),
        tracking_uri=STUDY.config.track.tracking_uri,
        code=code_fingerprint("evenclip.track"),
    log:
        log_of("track"),
    benchmark:
        benchmark_of("track")
    resources:
        mem_mb=memory(2000),
        runtime=60,
    conda:
        "../envs/mlflow.yaml"
    shell:
        evenclip(
            "track sync --results {params.results:q} --tracking-uri {params.tracking_uri:q} --out {output.receipt:q}"
        )
