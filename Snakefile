include: "workflow/Snakefile"


# an include keeps its default target to itself (Snakemake 9), so the top level names one again
localrules:
    default,


rule default:
    default_target: True
    input:
        rules.all.input,
