# Weights of each strategy: at once, or, with `scatter: N` in the study, in N parts with the same outputs.
WEIGHTS = {
    "weights": f"{RESULTS}/balance/{{strategy}}/weights.parquet",
    "report": f"{RESULTS}/balance/{{strategy}}/report.json",
    "manifest": f"{RESULTS}/balance/{{strategy}}/manifest.json",
}

if STUDY.config.scatter == 1:

    rule balance:
        input:
            labels=rules.label.output.labels,
        output:
            **WEIGHTS,
        params:
            folder=output_folder("weights"),
            options=lambda w: STUDY.config.balance[w.strategy].to_flags(),
            code=code_fingerprint("evenclip.balance"),
        log:
            log_of("balance/{strategy}"),
        benchmark:
            benchmark_of("balance/{strategy}")
        resources:
            mem_mb=memory(4000),
            runtime=120,
        conda:
            "../envs/tables.yaml"
        shell:
            evenclip("balance {input.labels:q} --out {params.folder:q} {params.options:q}")

else:

    rule balance_count:
        input:
            labels=rules.label_part.output.labels,
        output:
            cells=f"{SCATTER}/cells/utility_bits{{bits}}/{{part}}.parquet",
        params:
            code=code_fingerprint("evenclip.balance.scatter"),
        log:
            log_of("balance/cells_{bits}_{part}"),
        benchmark:
            benchmark_of("balance/cells_{bits}_{part}")
        resources:
            mem_mb=memory(2000),
            runtime=120,
        conda:
            "../envs/tables.yaml"
        shell:
            evenclip(
                "balance-count {input.labels:q} --out {output.cells:q} --option utility_bits={wildcards.bits:q}"
            )

    rule balance_solve:
        input:
            cells=lambda w: cells(w.strategy, PARTS),
        output:
            plan=f"{SCATTER}/plan/{{strategy}}/plan.parquet",
            report=f"{SCATTER}/plan/{{strategy}}/report.json",
            manifest=f"{SCATTER}/plan/{{strategy}}/manifest.json",
        params:
            folder=output_folder("plan"),
            options=lambda w: STUDY.config.balance[w.strategy].to_flags(),
            code=code_fingerprint("evenclip.balance.scatter"),
        log:
            log_of("balance/{strategy}_plan"),
        benchmark:
            benchmark_of("balance/{strategy}_plan")
        resources:
            mem_mb=memory(4000),
            runtime=120,
        conda:
            "../envs/tables.yaml"
        shell:
            evenclip("balance-solve {input.cells:q} --out {params.folder:q} {params.options:q}")

    rule balance_apply:
        input:
            labels=rules.label_part.output.labels,
            plan=rules.balance_solve.output.plan,
            before=lambda w: cells(w.strategy, range(1, int(w.part))),
        output:
            weights=temp(f"{SCATTER}/weights/{{strategy}}/{{part}}.parquet"),
        params:
            plan=input_folder("plan"),
            before=lambda w, input: repeated("--before", input.before),
            code=code_fingerprint("evenclip.balance.scatter"),
        log:
            log_of("balance/{strategy}_{part}"),
        benchmark:
            benchmark_of("balance/{strategy}_{part}")
        resources:
            mem_mb=memory(2000),
            runtime=120,
        conda:
            "../envs/tables.yaml"
        shell:
            evenclip(
                "balance-apply {input.labels:q} --plan {params.plan:q} {params.before:q} --out {output.weights:q}"
            )

    rule balance:
        input:
            weights=expand(rules.balance_apply.output.weights, part=PARTS, allow_missing=True),
            **rules.balance_solve.output,
        output:
            **WEIGHTS,
        params:
            plan=input_folder("plan"),
            folder=output_folder("weights"),
            code=code_fingerprint("evenclip.balance.scatter"),
        log:
            log_of("balance/{strategy}"),
        benchmark:
            benchmark_of("balance/{strategy}")
        resources:
            mem_mb=memory(2000),
            runtime=120,
        conda:
            "../envs/tables.yaml"
        shell:
            evenclip("balance-gather {input.weights:q} --plan {params.plan:q} --out {params.folder:q}")
