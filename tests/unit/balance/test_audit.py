"""Balancing what real captions say; skips where the data is not there."""

import csv

import pyarrow as pa
import pytest

from evenclip.balance import M4Balancer
from evenclip.label.from_captions import label_captions
from evenclip.label.lexicon import read_lexicon
from evenclip.label.matching import Matcher


@pytest.mark.real
def test_flickr8k_captions_are_balanced_with_a_certificate(real_data, request):
    path = real_data / "flickr8k" / "captions.txt"
    if not path.is_file():
        pytest.skip(f"no Flickr8k captions at {path}")
    images: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for image, *_, caption in list(csv.reader(file))[1:]:
            images.setdefault(image, []).append(caption)
    matcher = Matcher(read_lexicon(request.config.rootpath / "config" / "lexicons" / "flickr8k.yaml"))
    labels, _ = label_captions(list(images.values()), matcher, "any")
    report = M4Balancer().fit(pa.table({name: labels[:, j] for j, name in enumerate(matcher.columns)})).report_
    assert report["converged"] and report["feasible"] and 0.5 < report["largest_retention"] < 0.95
    assert report["rb_before"] > 0.1 and report["realised_rb"] < 0.01
    assert report["ab_before"] > 0.1 and report["realised_ab"] < 0.01
