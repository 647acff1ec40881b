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

    rule balance_add:
        input:
            cells=expand(rules.balance_count.output.cells, part=PARTS, allow_missing=True),
        output:
            cells=f"{SCATTER}/counts/utility_bits{{bits}}/cells.parquet",
            before=f"{SCATTER}/counts/utility_bits{{bits}}/before.parquet",
            manifest=f"{SCATTER}/counts/utility_bits{{bits}}/manifest.json",
        params:
            cells=input_folder("cells"),
            folder=output_folder("cells"),
            parts=len(PARTS),
            code=code_fingerprint("evenclip.balance.scatter"),
        log:
            log_of("balance/counts_{bits}"),
        benchmark:
            benchmark_of("balance/counts_{bits}")
        resources:
            mem_mb=memory(4000),
            runtime=240,
        conda:
            "../envs/tables.yaml"
        shell:
            evenclip("balance-add {params.cells:q} --parts {params.parts:q} --out {params.folder:q}")

    rule balance_solve:
        input:
            counts=lambda w: counts(w.strategy),
        output:
            plan=f"{SCATTER}/plan/{{strategy}}/plan.parquet",
            report=f"{SCATTER}/plan/{{strategy}}/report.json",
            manifest=f"{SCATTER}/plan/{{strategy}}/manifest.json",
        params:
            counts=input_folder("counts"),
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
            evenclip("balance-solve {params.counts:q} --out {params.folder:q} {params.options:q}")

    rule balance_apply:
        input:
            labels=rules.label_part.output.labels,
            counts=lambda w: counts(w.strategy),
            plan=rules.balance_solve.output.plan,
        output:
            weights=temp(f"{SCATTER}/weights/{{strategy}}/{{part}}.parquet"),
        params:
            counts=input_folder("counts"),
            plan=input_folder("plan"),
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
                "balance-apply {input.labels:q} --number {wildcards.part:q} --counts {params.counts:q}"
                " --plan {params.plan:q} --out {output.weights:q}"
            )

    rule balance:
        input:
            weights=expand(rules.balance_apply.output.weights, part=PARTS, allow_missing=True),
            **rules.balance_solve.output,
        output:
            **WEIGHTS,
        params:
            parts_folder=input_folder("weights"),
            parts=len(PARTS),
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
            evenclip(
                "balance-gather {params.parts_folder:q} --parts {params.parts:q} --plan {params.plan:q}"
                " --out {params.folder:q}"
            )
