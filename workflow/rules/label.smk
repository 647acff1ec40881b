# Labels of the training captions: at once, or, with `scatter: N` in the study, in N parts with the same outputs.
SCATTER = f"{RESULTS}/scatter"
PARTS = range(1, STUDY.config.scatter + 1)
LABELS = f"{RESULTS}/label/{STUDY.config.label.dataset}.parquet"
LABELS_MANIFEST = f"{RESULTS}/label/{STUDY.config.label.dataset}.json"

if STUDY.config.label.embedding:

    # of the training pairs, and of the annotated set that the image side of the labels learns from
    rule label_embed:
        input:
            STUDY.config.label.embedding.inputs(STUDY.config.training_data),
        output:
            embeddings=expand(
                f"{RESULTS}/label_embed/{{set}}.npz", set=STUDY.config.label.embedding.sets(STUDY.config.training_data)
            ),
            manifest=f"{RESULTS}/label_embed/manifest.json",
        params:
            folder=output_folder("manifest"),
            sets=STUDY.config.label.embedding.embed_arguments(STUDY.config.training_data),
            options=STUDY.config.embed.to_flags(),
            code=code_fingerprint("evenclip.embed"),
        log:
            log_of("label_embed"),
        benchmark:
            benchmark_of("label_embed")
        threads: STUDY.config.embed.threads
        resources:
            mem_mb=memory(4000),
            runtime=240,
            gpu=gpus_for(lambda w: STUDY.config.embed.device),
        conda:
            "../envs/torch.yaml"
        shell:
            evenclip("embed {params.sets:q} --out {params.folder:q} {params.options:q}")


if STUDY.config.scatter == 1:

    rule label:
        input:
            data=TRAINING_DATA,
            lexicon=STUDY.config.label.lexicon,
            embeddings=rules.label_embed.output if STUDY.config.label.embedding else [],
        output:
            labels=LABELS,
            manifest=LABELS_MANIFEST,
        params:
            data=input_folder("data"),
            options=STUDY.config.label.options.to_flags(),
            images=(
                STUDY.config.label.embedding.label_arguments(f"{RESULTS}/label_embed")
                if STUDY.config.label.embedding
                else []
            ),
            code=code_fingerprint("evenclip.label"),
        log:
            log_of("label"),
        benchmark:
            benchmark_of("label")
        resources:
            mem_mb=memory(4000),
            runtime=120,
        conda:
            "../envs/tables.yaml"
        shell:
            evenclip(
                "label --data {params.data:q} --lexicon {input.lexicon:q} --out {output.labels:q}"
                " {params.options:q} {params.images:q}"
            )

else:

    rule label_part:
        input:
            data=TRAINING_DATA,
            lexicon=STUDY.config.label.lexicon,
        output:
            labels=f"{SCATTER}/label/{{part}}.parquet",
            manifest=f"{SCATTER}/label/{{part}}.json",
        params:
            data=input_folder("data"),
            part=lambda w: f"{w.part}/{STUDY.config.scatter}",
            options=STUDY.config.label.options.to_flags(),
            code=code_fingerprint("evenclip.label"),
        log:
            log_of("label/{part}"),
        benchmark:
            benchmark_of("label/{part}")
        resources:
            mem_mb=memory(4000),
            runtime=120,
        conda:
            "../envs/tables.yaml"
        shell:
            evenclip(
                "label --data {params.data:q} --lexicon {input.lexicon:q} --out {output.labels:q}"
                " --part {params.part:q} {params.options:q}"
            )

    rule label:
        input:
            labels=expand(rules.label_part.output.labels, part=PARTS),
            manifests=expand(rules.label_part.output.manifest, part=PARTS),
        output:
            labels=LABELS,
            manifest=LABELS_MANIFEST,
        params:
            folder=input_folder("labels"),
            parts=len(PARTS),
            code=code_fingerprint("evenclip.label.gather"),
        log:
            log_of("label"),
        benchmark:
            benchmark_of("label")
        resources:
            mem_mb=memory(2000),
            runtime=120,
        conda:
            "../envs/tables.yaml"
        shell:
            evenclip("label-gather {params.folder:q} --parts {params.parts:q} --out {output.labels:q}")
