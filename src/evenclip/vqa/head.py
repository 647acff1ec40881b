"""Answer head: a question is a triple (picture, question, ?), and the answer is predicted at the masked tail."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from evenclip.data.shards import iterate_images, read_pairs
from evenclip.errors import InputError
from evenclip.model.clip import Clip
from evenclip.model.images import decode_images, normalise
from evenclip.model.multimodal import TAIL, MultiModalEncoder
from evenclip.model.tokens import WHOLE, TokenTap, last_text_tokens, region_tokens
from evenclip.model.towers import encode_image, encode_text, trim

ROWS = 256  # images or questions that the towers encode at once
QUESTION_TOKENS = 24  # longer questions keep their last tokens


@dataclass(frozen=True)
class Encoded:
    """Tokens of p pictures, (p, l, w), and of q questions, (q, m, w'), with the mask ``is_shown`` (q, m)."""

    pictures: torch.Tensor
    questions: torch.Tensor
    is_shown: torch.Tensor


class AnswerHead(nn.Module):
    """The multi-modal encoder with a linear classifier of answers at the masked tail."""

    def __init__(self, encoder: MultiModalEncoder, n_answers: int):
        super().__init__()
        self.encoder, self.classify = encoder, nn.Linear(encoder.width, n_answers)

    def forward(self, pictures: torch.Tensor, questions: torch.Tensor, is_shown: torch.Tensor) -> torch.Tensor:
        """Logits over answers, shape (b, n_answers), from the tokens of b pictures and questions."""
        all_shown = torch.ones(pictures.shape[:2], dtype=torch.bool, device=pictures.device)
        picture = self.encoder.image(pictures, all_shown)
        (output,) = self.encoder((picture, self.encoder.text(questions, is_shown), None))
        return self.classify(output[:, TAIL])


@torch.no_grad()
def encode(clip: Clip, data: Path, keys: list[str], texts: list[str], side: int, threads: int) -> Encoded:
    """Encode pictures and questions as tokens of the frozen towers.

    Parameters
    ----------
    clip : Clip
    data : Path
        Data folder of the pictures.
    keys : list of str
        Pictures to encode.
    texts : list of str
        Questions to encode.
    side : int
        Number of rows (and columns) of tokens of a picture.
    threads : int
        Number of threads that decode images.

    Raises
    ------
    InputError
        A picture is not in ``data``.
    """
    module, device, tap = clip.module, next(clip.module.parameters()).device, TokenTap(clip.module, always=True)
    index = {key: i for i, key in enumerate(keys)}
    pictures: list[torch.Tensor | None] = [None] * len(keys)
    wanted = [key for key in read_pairs(data, ["key"])["key"].to_pylist() if key in index]  # in the order of the images
    if len(wanted) < len(index):
        missing = sorted(index.keys() - set(wanted))[0]
        raise InputError(f"the picture {missing} is missing", str(data), "give the data of these questions")
    decoded = decode_images(iterate_images(data, index), clip.preprocess_cfg, str(data), threads)
    for rows in np.array_split(np.arange(len(wanted)), -(-len(wanted) // ROWS)):
        names, pixels = zip(*(next(decoded) for _ in rows), strict=True)
        encode_image(module, normalise(torch.from_numpy(np.stack(pixels)).to(device), clip.preprocess_cfg))
        whole = torch.tensor([WHOLE] * len(rows), device=device)
        tokens = region_tokens(tap.image, torch.arange(len(rows), device=device), whole, side).cpu()
        for key, picture_tokens in zip(names, tokens, strict=True):
            pictures[index[key]] = picture_tokens
    questions, is_shown = [], []
    for tokens in clip.tokenizer(texts).split(ROWS):
        encode_text(module, trim(module, tokens).to(device))
        features, mask = last_text_tokens(module, tokens, tap.text, QUESTION_TOKENS)
        padding = QUESTION_TOKENS - features.shape[1]
        questions.append(nn.functional.pad(features, (0, 0, 0, padding)).cpu())
        is_shown.append(nn.functional.pad(mask, (0, padding)).cpu())
    tap.remove()
    return Encoded(torch.stack(pictures), torch.cat(questions), torch.cat(is_shown))
