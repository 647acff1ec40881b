"""The multi-modal encoder and the graph network: masking, padding, permutation, and the same in dense matrices."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from evenclip.errors import InputError
from evenclip.model.gnn import GraphEncoder
from evenclip.model.multimodal import HEAD, RELATION, TAIL, MultiModalEncoder, Slot, join, load_multimodal
from evenclip.model.multimodal import save_multimodal as save

WIDTH = 32


@pytest.fixture
def encoder() -> MultiModalEncoder:
    torch.manual_seed(0)
    return MultiModalEncoder(image_width=24, text_width=20, width=WIDTH, n_layers=2, embed_dim=8).double()


def slot(encoder: MultiModalEncoder, n: int, length: int, n_shown: int) -> Slot:
    is_shown = torch.zeros(n, length, dtype=torch.bool)
    is_shown[:, :n_shown] = True
    return encoder.text(torch.randn(n, length, 20, dtype=torch.float64), is_shown)


def test_permuting_triples_permutes_the_vectors_of_all_slots(encoder: MultiModalEncoder):
    torch.manual_seed(1)
    head, relation, tail = slot(encoder, 5, 4, 3), slot(encoder, 5, 2, 2), slot(encoder, 5, 3, 3)
    (read,) = encoder((head, relation, tail))
    assert read.shape == (5, 3, WIDTH)
    order = torch.randperm(5)
    (permuted,) = encoder(tuple(permuted_slot.rows(order) for permuted_slot in (head, relation, tail)))
    torch.testing.assert_close(permuted, read[order])


def test_padding_and_other_rows_change_nothing(encoder: MultiModalEncoder):
    head, tail = slot(encoder, 2, 6, 3), slot(encoder, 2, 2, 2)
    (alone,) = encoder((Slot(head.features[:, :3], head.is_shown[:, :3]), None, tail))
    padded = Slot(torch.cat([head.features[:, :3], torch.randn_like(head.features[:, 3:])], 1), head.is_shown)
    beside, other = encoder((padded, None, tail), (None, tail, slot(encoder, 2, 5, 5)))
    torch.testing.assert_close(beside, alone)
    assert other.shape == (2, 3, WIDTH)


def test_a_masked_slot_is_a_zero_vector_with_its_type_embedding(encoder: MultiModalEncoder):
    head = slot(encoder, 3, 2, 2)
    zero = Slot(torch.zeros(3, 1, WIDTH, dtype=torch.float64), torch.ones(3, 1, dtype=torch.bool))
    (masked,), (given,) = encoder((head, None, None)), encoder((head, zero, zero))
    torch.testing.assert_close(masked, given)
    with torch.no_grad():
        encoder.slot_type[TAIL] += torch.randn(WIDTH)  # attention sees it: what is read elsewhere changes too
    (changed,) = encoder((head, None, None))
    assert all((changed[:, at] - masked[:, at]).abs().max() > 1e-4 for at in (HEAD, RELATION, TAIL))


def test_masked_slots_have_no_influence(encoder: MultiModalEncoder):
    head = slot(encoder, 2, 3, 3)
    hidden = slot(encoder, 2, 4, 4)
    hidden.features.requires_grad_(True) if hidden.features.is_leaf else hidden.features.retain_grad()
    (read,) = encoder((head, None, None))
    read.sum().backward()
    assert hidden.features.grad is None


def test_the_encoder_is_a_plain_pre_norm_transformer(encoder: MultiModalEncoder):
    """One triple without padding, recomputed layer by layer."""
    head, relation, tail = slot(encoder, 1, 2, 2), slot(encoder, 1, 2, 2), slot(encoder, 1, 1, 1)
    x = torch.cat([s.features[0] + encoder.slot_type[i] for i, s in enumerate((head, relation, tail))])
    for layer in encoder.transformer.layers:
        y, attention = layer.norm1(x), layer.self_attn
        q, k, v = (y @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=1)  # one head of 32
        y = torch.softmax(q @ k.T / WIDTH**0.5, dim=1) @ v
        x = x + attention.out_proj(y)
        x = x + layer.linear2(F.gelu(layer.linear1(layer.norm2(x))))
    x = encoder.transformer.norm(x)
    expected = torch.stack([x[:2].mean(0), x[2:4].mean(0), x[4]])
    torch.testing.assert_close(encoder((head, relation, tail))[0][0], expected)


def test_joined_slots_keep_their_rows(encoder: MultiModalEncoder):
    first, second = slot(encoder, 2, 2, 2), slot(encoder, 3, 5, 4)
    joined = join([first, second])
    assert joined.features.shape == (5, 5, WIDTH) and joined.is_shown.sum() == 2 * 2 + 3 * 4
    back = joined.rows(torch.tensor([0, 1]))
    torch.testing.assert_close(back.features, first.features)


def test_an_encoder_is_saved_and_loaded(encoder: MultiModalEncoder, tmp_path: Path):
    save(encoder.float(), tmp_path, region_side=2)
    loaded, description = load_multimodal(tmp_path)
    assert description["region_side"] == 2
    torch.testing.assert_close(loaded.state_dict(), encoder.state_dict())
    with pytest.raises(InputError, match="trained with knowledge"):
        load_multimodal(tmp_path / "nowhere")


def test_message_passing_is_what_dense_matrices_compute():
    torch.manual_seed(1)
    n, d, n_edges = 7, 5, 15
    encoder = GraphEncoder(d).double()
    x, relation = torch.randn(n, d, dtype=torch.float64), torch.randn(n_edges, d, dtype=torch.float64)
    source, target = torch.randint(0, n, (n_edges,)), torch.randint(0, n - 1, (n_edges,))  # node 6 has no neighbours
    to = F.one_hot(target, n).double()  # (n_edges, n)
    mean = to.T / to.sum(0).clamp(min=1)[:, None]  # (n, n_edges)
    expected = mean @ (F.one_hot(source, n).double() @ x + relation)
    expected = expected @ encoder.neighbour.weight.T + encoder.neighbour.bias
    torch.testing.assert_close(encoder(x, torch.stack([source, target]), relation), expected)


def test_permuting_nodes_and_edges_permutes_the_output():
    torch.manual_seed(0)
    encoder = GraphEncoder(4)
    x, edges, relation = torch.randn(6, 4), torch.randint(0, 6, (2, 9)), torch.randn(9, 4)
    order, edge_order = torch.randperm(6), torch.randperm(9)
    moved = torch.argsort(order)[edges][:, edge_order]
    expected = encoder(x, edges, relation)[order]
    torch.testing.assert_close(encoder(x[order], moved, relation[edge_order]), expected)


def test_a_node_is_described_by_its_neighbours_alone():
    torch.manual_seed(0)
    encoder = GraphEncoder(4)
    x, edges = torch.randn(3, 4, requires_grad=True), torch.tensor([[1, 2], [0, 0]])
    encoder(x, edges, torch.randn(2, 4))[0].sum().backward()
    assert (x.grad[0] == 0).all() and (x.grad[1:] != 0).any()
