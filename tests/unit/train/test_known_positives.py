"""What is true of a picture: all that is said of it is known of it."""

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenclip.model.clip import create_clip
from evenclip.train.known_positives import STOP_WORDS, KnownPositives
from support.tiny_training import write_model

START, END, PAD, A = 100, 101, 0, 50


def tokens(*texts: list[int]) -> torch.Tensor:
    return torch.tensor([[START, *text, END] + [PAD] * (8 - len(text)) for text in texts])


def truth(captions: list[list[int]], facts: list[list[int]], links: list[tuple[int, int]], n: int) -> KnownPositives:
    pictures, number = (np.array(column) for column in zip(*links, strict=True))
    silent = torch.tensor([[START, END, PAD], [START, A, END]])
    return KnownPositives(tokens(*captions), tokens(*facts), (pictures, number), n, silent, torch.device("cpu"))


def test_a_caption_is_true_if_all_that_it_says_is_known():
    jorper, yellow, square, red = 1, 2, 3, 4
    captions = [[A, jorper], [A, yellow, square], [A, red, square], [A]]
    positives = truth(captions, [[jorper], [yellow, square], [red], [square]], [(0, 0), (0, 1), (1, 2), (1, 3)], 3)
    true = positives.at(np.array([1, 0, 2]), np.arange(4)).of(slice(0, 3), slice(0, 4))
    # of a red and a square it is not known that the square is red
    assert true.tolist() == [[False, False, False, True], [True, True, False, True], [False, False, False, True]]


def test_the_same_words_in_another_order_are_not_the_same():
    red, circle, left, of, blue, square, no = range(1, 8)
    captions = [[A, red, circle, left, of, A, blue, square], [A, blue, square, left, of, A, red, circle],
                [A, blue, circle], [A, circle, no, square], [A, square, no, circle], [A, red, circle]]  # fmt: skip
    positives = truth(captions, [captions[0], captions[3]], [(0, 0), (1, 1)], 2)
    true = positives.at(np.arange(2), np.arange(6)).of(slice(0, 2), slice(0, 6))
    assert true.tolist() == [[True, False, False, False, False, True], [False, False, False, True, False, False]]


def said(text: list[int]) -> set:
    return {*text, *itertools.pairwise(text)}


@given(st.data())
def test_it_agrees_with_sets_of_words_and_neighbours(data: st.DataObject):
    text = st.lists(st.integers(1, 8), max_size=5)
    captions, facts = (
        data.draw(st.lists(text, min_size=1, max_size=6)),
        data.draw(st.lists(text, min_size=1, max_size=6)),
    )
    fact = st.tuples(st.integers(0, 3), st.integers(0, len(facts) - 1))
    links = data.draw(st.lists(fact, min_size=1, max_size=10))
    pictures = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    asked = data.draw(st.lists(st.integers(0, len(captions) - 1), min_size=1, max_size=7))
    positives = truth(captions, facts, links, 4).at(np.array(pictures), np.array(asked))
    words_of = {p: set().union(*(said(facts[number]) for picture, number in links if picture == p)) for p in range(4)}
    expected = [[said(captions[c]) <= words_of[p] for c in asked] for p in pictures]
    assert positives.of(slice(0, len(pictures)), slice(0, len(asked))).tolist() == expected
    first, last = slice(0, 1), slice(len(asked) - 1, len(asked))
    assert positives.of(first, last).tolist() == [expected[0][-1:]]


def test_special_tokens_and_articles_carry_no_meaning(tmp_path):
    tokenizer = create_clip(str(write_model(tmp_path / "model.json"))).tokenizer
    captions = ["a dog and the cat", "no dog"]
    links = (np.array([0]), np.array([0]))
    positives = KnownPositives(
        tokenizer(captions), tokenizer(["the dog and cat"]), links, 1, tokenizer(STOP_WORDS), torch.device("cpu")
    )
    assert positives.at(np.array([0]), np.array([0, 1])).of(slice(0, 1), slice(0, 2)).tolist() == [[True, False]]
