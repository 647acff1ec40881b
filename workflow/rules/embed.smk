rule embed:
    input:
        weights=rules.train.output.weights,
        data=[f"data/{block.data}/manifest.json" for block in STUDY.config.evaluate.sets.values()],
        prompts=STUDY.prompt_files(),
    output:
        embeddings=expand(f"{RESULTS}/embed/{{{{run}}}}/seed{{{{seed}}}}/{{set}}.npz", set=STUDY.config.evaluate.sets),
        manifest=f"{RESULTS}/embed/{{run}}/seed{{seed}}/manifest.json",
    params:
        model=lambda w, input: Path(input.weights).parent,
        folder=lambda w, output: Path(output.manifest).parent,
        options=STUDY.embed_arguments(),
        code=code_fingerprint("evenclip.embed"),
    log:
        f"{LOGS}/embed/{{run}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARK}/embed/{{run}}_seed{{seed}}.tsv"
    threads: STUDY.config.embed.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=STUDY.gpus(STUDY.config.embed.device),
    conda:
        "../envs/torch.yaml"
    shell:
        "python -m evenclip embed --model {params.model} --out {params.folder} {params.options} 2>&1 | tee {log}"
