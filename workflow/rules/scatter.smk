# Labelling and balancing in parts, for data that one machine should not work through alone: the same outputs as of
# label.smk and balance.smk, row for row.
SCATTER = f"{RESULTS}/scatter"
PARTS = range(1, STUDY.config.scatter + 1)


rule label_part:
    input:
        data=TRAINING_DATA,
        lexicon=STUDY.config.label.lexicon,
    output:
        labels=f"{SCATTER}/label/{{part}}.parquet",
        manifest=f"{SCATTER}/label/{{part}}.json",
    params:
        data=lambda w, input: Path(input.data).parent,
        part=lambda w: f"{w.part}/{STUDY.config.scatter}",
        options=STUDY.label_arguments(),
        code=code_fingerprint("evenclip.label"),
    log:
        f"{LOGS}/label/{{part}}.log",
    benchmark:
        f"{BENCHMARK}/label/{{part}}.tsv"
    resources:
        mem_mb=4000,
        runtime=120,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip label --data {params.data} --lexicon {input.lexicon} --out {output.labels}"
        " --part {params.part} {params.options} 2>&1 | tee {log}"


rule label:
    input:
        labels=expand(rules.label_part.output.labels, part=PARTS),
        manifests=expand(rules.label_part.output.manifest, part=PARTS),
    output:
        labels=f"{RESULTS}/label/{STUDY.config.label.dataset}.parquet",
        manifest=f"{RESULTS}/label/{STUDY.config.label.dataset}.json",
    params:
        code=code_fingerprint("evenclip.label.gather"),
    log:
        f"{LOGS}/label.log",
    benchmark:
        f"{BENCHMARK}/label.tsv"
    resources:
        mem_mb=2000,
        runtime=120,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip label-gather {input.labels} --out {output.labels} 2>&1 | tee {log}"


rule balance_count:
    input:
        labels=rules.label_part.output.labels,
    output:
        cells=f"{SCATTER}/cells/utility_bits{{bits}}/{{part}}.parquet",
    params:
        code=code_fingerprint("evenclip.balance.scatter"),
    log:
        f"{LOGS}/balance/cells_{{bits}}_{{part}}.log",
    benchmark:
        f"{BENCHMARK}/balance/cells_{{bits}}_{{part}}.tsv"
    resources:
        mem_mb=2000,
        runtime=120,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip balance-count {input.labels} --out {output.cells} --option utility_bits={wildcards.bits}"
        " 2>&1 | tee {log}"


def cells(strategy, parts):
    return expand(rules.balance_count.output.cells, bits=STUDY.utility_bits(strategy), part=parts)


rule balance_solve:
    input:
        cells=lambda w: cells(w.strategy, PARTS),
    output:
        plan=f"{SCATTER}/plan/{{strategy}}/plan.parquet",
        report=f"{SCATTER}/plan/{{strategy}}/report.json",
        manifest=f"{SCATTER}/plan/{{strategy}}/manifest.json",
    params:
        folder=lambda w, output: Path(output.plan).parent,
        options=lambda w: STUDY.balance_arguments(w.strategy),
        code=code_fingerprint("evenclip.balance.scatter"),
    log:
        f"{LOGS}/balance/{{strategy}}_plan.log",
    benchmark:
        f"{BENCHMARK}/balance/{{strategy}}_plan.tsv"
    resources:
        mem_mb=4000,
        runtime=120,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip balance-solve {input.cells} --out {params.folder} {params.options} 2>&1 | tee {log}"


rule balance_apply:
    input:
        labels=rules.label_part.output.labels,
        plan=rules.balance_solve.output.plan,
        before=lambda w: cells(w.strategy, range(1, int(w.part))),
    output:
        weights=temp(f"{SCATTER}/weights/{{strategy}}/{{part}}.parquet"),
    params:
        plan=lambda w, input: Path(input.plan).parent,
        before=lambda w, input: [f"--before {path}" for path in input.before],
        code=code_fingerprint("evenclip.balance.scatter"),
    log:
        f"{LOGS}/balance/{{strategy}}_{{part}}.log",
    benchmark:
        f"{BENCHMARK}/balance/{{strategy}}_{{part}}.tsv"
    resources:
        mem_mb=2000,
        runtime=120,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip balance-apply {input.labels} --plan {params.plan} {params.before} --out {output.weights}"
        " 2>&1 | tee {log}"


rule balance:
    input:
        weights=expand(rules.balance_apply.output.weights, part=PARTS, allow_missing=True),
        **rules.balance_solve.output,
    output:
        weights=f"{RESULTS}/balance/{{strategy}}/weights.parquet",
        report=f"{RESULTS}/balance/{{strategy}}/report.json",
        manifest=f"{RESULTS}/balance/{{strategy}}/manifest.json",
    params:
        plan=lambda w, input: Path(input.plan).parent,
        folder=lambda w, output: Path(output.weights).parent,
        code=code_fingerprint("evenclip.balance.scatter"),
    log:
        f"{LOGS}/balance/{{strategy}}.log",
    benchmark:
        f"{BENCHMARK}/balance/{{strategy}}.tsv"
    resources:
        mem_mb=2000,
        runtime=120,
    conda:
        "../envs/tables.yaml"
    shell:
        "python -m evenclip balance-gather {input.weights} --plan {params.plan} --out {params.folder} 2>&1 | tee {log}"
