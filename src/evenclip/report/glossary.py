"""Glossary of the report: what its words mean, with the strategies and methods of the study."""

from evenclip.balance.strategies import STRATEGIES
from evenclip.results import StudyResults
from evenclip.train.options import TrainOptions

TERMS = {
    "baseline": "The first run, to which all others are compared; as a rule its data is not balanced.",
    "run": "A way of balancing and training, a row of the ablation sheet. It is trained once with every seed.",
    "seed": "A number from which all random choices of a training follow. Trainings that differ in the seed alone show "
    "how much of a difference is chance.",
    "95 % interval": "Range that holds the true value in 95 of 100 studies like this one. A difference whose interval "
    "contains 0 may be no difference.",
    "perceived attribute": "What a person would read from a caption or a picture, such as a gender. It is no identity.",
    "representation bias (RB)": "In data: how far the groups' shares are from the wanted ones. In a model: the same of "
    "its guesses on pictures that show nobody's group. 0 = even.",
    "association bias (AB)": "In data: the largest difference between groups in how often a label occurs. In a model: "
    "the same of the probability that it gives a label. 0 = labels do not depend on the group.",
    "label accuracy": "Share of pictures of people whose label, such as an occupation, a model names rightly without "
    "having been trained for it (zero-shot). A model that cannot tell labels apart has no association bias either, so "
    "read both together.",
    "chance": "Score of a model that ignores what is measured: it guesses, or does not see the groups. Biases that are "
    "largest or absolute differences are above 0 by chance alone.",
    "unbiased data": "Score of models trained on a world without bias (the null study): the floor of a bias metric, "
    "above chance because small data are uneven by chance.",
    "association bias at equal knowledge": "Association bias over what the model knows of the labels, so that models "
    "which know more and less of them can be compared.",
    "recall at k": "Share of pictures with one of their captions among the k that the model finds most similar, or of "
    "captions with their picture.",
    "as shown in training": "Pairs as often as the training shows them, after weights were turned into whole copies. "
    "summary.csv also has the biases under the weights themselves (`data/`), and of the pairs drawn for each seed "
    "(`train/realised_`); both differ a little.",
    "kept share": "What balancing keeps of a label: its share of the pairs shown over that before. 1 = as before.",
    "effective sample size": "Number of equally weighted pairs that would be worth as much as the weighted ones.",
    "duality gap": "How far the weights can be from the best ones, as a share of the objective. 0 = proven best.",
    "claim": "A statement of a publication about a method, tested with the numbers of this study.",
}


def glossary(study: StudyResults) -> dict[str, str]:
    """Terms and their meanings; strategies and methods only where the study uses them."""
    strategies = {}
    for name in study.strategies:
        kind = study.balance_manifest(name)["options"].get("strategy", name)
        if kind in STRATEGIES:
            strategies[f"strategy {name}"] = _first_line(STRATEGIES[kind].__doc__)
    used = {key.removeprefix("train.") for run in study.runs for key, value in run.options.items() if value}
    methods = {cls.title: cls.summary for name, cls in TrainOptions.method_classes().items() if name in used}
    return TERMS | strategies | methods


def _first_line(text: str) -> str:
    line = text.strip().partition("\n\n")[0]
    return " ".join(line.split())
