# Embeddings of the training pairs, and of the annotated set that the image side of the labels learns from.
rule label_embed:
    input:
        STUDY.label_embedding_inputs(),
    output:
        pairs=f"{RESULTS}/label_embed/pairs.npz",
        annotated=[f"{RESULTS}/label_embed/annotated.npz"] if STUDY.config.label.embedding.attribute_data else [],
        manifest=f"{RESULTS}/label_embed/manifest.json",
    params:
        folder=lambda w, output: Path(output.pairs).parent,
        arguments=STUDY.label_embedding_arguments(),
        code=code_fingerprint("evenclip.embed"),
    log:
        f"{LOGS}/label_embed.log",
    benchmark:
        f"{BENCHMARK}/label_embed.tsv"
    threads: STUDY.config.embed.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=STUDY.gpus(STUDY.config.embed.device),
    conda:
        "../envs/torch.yaml"
    shell:
        "python -m evenclip embed {params.arguments} --out {params.folder} 2>&1 | tee {log}"
