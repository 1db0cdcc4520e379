from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from rllib_metarl.ops import sessions

if TYPE_CHECKING:
    from tests.ops.conftest import Batch

# Row 0: sessions 0 0 1 1 1; row 1: sessions 0 1 1, then two steps of padding.
SESSION = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 2]])
VALID = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()


def test_same_session_mask_by_hand() -> None:
    mask = sessions.same_session_mask(SESSION[1:], SESSION[1:], VALID[1:], VALID[1:])
    expected = [
        [1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert mask.dtype == torch.bool
    assert mask.int().tolist() == [expected]


def test_same_session_mask_of_unequal_lengths_equals_the_double_loop(batch: Batch) -> None:
    # Encode every second belief only.
    encode, valid = batch.session[:, ::2], batch.valid[:, ::2]
    mask = sessions.same_session_mask(encode, batch.session, valid, batch.valid)
    assert mask.shape == (4, 4, 7)
    for b, length in enumerate(batch.lengths):
        for t in range(4):
            for j in range(7):
                expected = (
                    2 * t < length
                    and j < length
                    and batch.session[b, 2 * t].item() == batch.session[b, j].item()
                )
                assert mask[b, t, j].item() == expected


def test_session_starts_by_hand() -> None:
    starts = sessions.session_starts(SESSION, VALID)
    assert starts.int().tolist() == [[1, 0, 1, 0, 0], [1, 1, 0, 0, 0]]


def test_an_empty_row_has_no_session_start() -> None:
    assert not sessions.session_starts(SESSION, torch.zeros_like(VALID)).any()


def test_session_end_index_by_hand() -> None:
    # Row 1: session 1 ends with the last valid step 2, although step 3 bears its number.
    end = sessions.session_end_index(SESSION, VALID)
    assert end.tolist() == [[1, 1, 4, 4, 4], [0, 2, 2, 3, 4]]


def test_session_end_index_equals_the_search(batch: Batch) -> None:
    end = sessions.session_end_index(batch.session, batch.valid)
    for b, length in enumerate(batch.lengths):
        for t in range(length):
            same = [j for j in range(length) if batch.session[b, j] == batch.session[b, t]]
            assert end[b, t].item() == max(same)


def test_padding_changes_no_start_and_no_end(batch: Batch) -> None:
    other = torch.where(batch.valid, batch.session, batch.session + 1)
    for function in (sessions.session_starts, sessions.session_end_index):
        before, after = function(batch.session, batch.valid), function(other, batch.valid)
        assert torch.equal(before, after)


def test_hold_at_switch_by_hand() -> None:
    # Switches at 2 and 3: initial until 1, then the value before each switch.
    values = torch.tensor([10.0, 11.0, 12.0, 13.0, 14.0])[None, :, None]
    switch = torch.tensor([[0, 0, 1, 1, 0]]).bool()
    held = sessions.hold_at_switch(values, switch, torch.tensor([-1.0]))
    assert held.flatten().tolist() == [-1.0, -1.0, 11.0, 12.0, 12.0]


def test_a_switch_at_the_first_step_holds_the_initial_value() -> None:
    values = torch.tensor([10.0, 11.0, 12.0])[None, :, None]
    switch = torch.tensor([[1, 0, 1]]).bool()
    held = sessions.hold_at_switch(values, switch, torch.tensor([-1.0]))
    assert held.flatten().tolist() == [-1.0, -1.0, 11.0]


def test_hold_at_switch_equals_the_recurrence(batch: Batch) -> None:
    # The same thing as a policy does it online: on a switch, take over the belief just before.
    switch = sessions.session_starts(batch.session, batch.valid)
    initial = batch.log_var[:, 0]
    held = sessions.hold_at_switch(batch.mean, switch, initial)
    for b in range(4):
        memory = initial[b]
        for t in range(7):
            if switch[b, t] and t > 0:
                memory = batch.mean[b, t - 1]
            assert torch.equal(held[b, t], memory)


def test_hold_at_switch_passes_gradients_to_what_is_held() -> None:
    values = torch.zeros(1, 4, 1, requires_grad=True)
    initial = torch.zeros(1, requires_grad=True)
    switch = torch.tensor([[0, 0, 1, 0]]).bool()
    sessions.hold_at_switch(values, switch, initial).sum().backward()
    # Steps 0 and 1 hold `initial`, steps 2 and 3 hold values[1].
    assert values.grad is not None and values.grad.flatten().tolist() == [0.0, 2.0, 0.0, 0.0]
    assert initial.grad is not None and initial.grad.tolist() == [2.0]


def test_masked_pairs_lists_the_true_entries_in_row_order() -> None:
    mask = torch.zeros(2, 2, 3, dtype=torch.bool)
    mask[0, 1, 2] = mask[1, 0, 0] = mask[1, 0, 1] = True
    pairs = sessions.MaskedPairs(mask)
    assert pairs.count == 3
    assert torch.stack(pairs.all(), dim=1).tolist() == [[0, 1, 2], [1, 0, 0], [1, 0, 1]]
    assert [int(index) for index in pairs.at(torch.tensor([1]))] == [1, 0, 0]


@pytest.mark.parametrize("session", ["counted", "one", "coming back"])
def test_session_pairs_are_those_of_the_mask_in_the_same_order(batch: Batch, session: str) -> None:
    numbers = {
        "counted": batch.session,
        "one": torch.zeros_like(batch.session),
        "coming back": batch.session % 2 - 1,
    }[session]
    mask = sessions.same_session_mask(numbers, numbers, batch.valid, batch.valid)
    pairs, expected = sessions.SessionPairs(numbers, batch.valid), sessions.MaskedPairs(mask)
    assert pairs.count == expected.count == int(mask.sum())
    assert torch.equal(torch.stack(pairs.all()), torch.stack(mask.nonzero(as_tuple=True)))
    some = torch.randint(pairs.count, (50,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.stack(pairs.at(some)), torch.stack(expected.at(some)))


def test_session_pairs_of_long_meta_episodes_need_no_mask() -> None:
    # A mask of 10,000 x 10,000 would take 0.6 GB, and the indices of its entries 14 GB.
    valid = torch.ones(6, 10_000, dtype=torch.bool)
    pairs = sessions.SessionPairs(torch.zeros_like(valid).long(), valid)
    assert pairs.count == 6 * 10_000**2
    assert [int(i) for i in pairs.at(torch.tensor([pairs.count - 2]))] == [5, 9_999, 9_998]


def test_misfits_are_refused_by_name() -> None:
    row = SESSION[:1]
    with pytest.raises(ValueError, match=r"same_session_mask: session_decode has shape \(1, 5\)"):
        sessions.same_session_mask(SESSION, row, VALID, VALID)
    with pytest.raises(ValueError, match=r"session_starts: valid has shape \(2, 4\)"):
        sessions.session_starts(SESSION, VALID[:, :4])
    with pytest.raises(TypeError, match=r"session_end_index: valid has dtype torch\.int32"):
        sessions.session_end_index(SESSION, VALID.int())
    with pytest.raises(ValueError, match=r"hold_at_switch: initial has shape \(3,\), expected D"):
        sessions.hold_at_switch(torch.zeros(2, 5, 4), VALID, torch.zeros(3))
    with pytest.raises(ValueError, match=r"MaskedPairs: mask has shape \(2, 5\)"):
        sessions.MaskedPairs(VALID)


def test_mix_at_switch_is_hold_at_switch_where_switches_are_certain() -> None:
    torch.manual_seed(0)
    values, initial = torch.randn(2, 5, 3), torch.randn(2, 3)
    switch = torch.tensor([[0, 1, 0, 0, 1], [0, 0, 0, 1, 1]]).bool()
    before = torch.cat([initial[:, None], values[:, :-1]], 1)
    logit = torch.where(switch, 200.0, -200.0)
    held = sessions.hold_at_switch(values, switch, initial)
    torch.testing.assert_close(sessions.mix_at_switch(before, logit, initial), held)


def test_mix_at_switch_by_hand() -> None:
    before = torch.tensor([[[1.0], [2.0]]])
    mixed = sessions.mix_at_switch(before, torch.zeros(1, 2), torch.tensor([[8.0]]))
    assert mixed.flatten().tolist() == pytest.approx([4.5, 3.25])


def test_one_later_session_is_any_of_them_with_equal_chances() -> None:
    session, valid = SESSION.repeat(3000, 1), VALID.repeat(3000, 1)
    session[::2, 3:] = 2  # rows with sessions 0 0 1 2 2, and 0 1 1 padded
    normal = torch.randn(6000, generator=torch.Generator().manual_seed(0))
    number, later = sessions.one_later_session(session, valid, normal)
    assert set(later[::2].tolist()) == {2} and set(later[1::2].tolist()) == {1}
    assert number[::2].float().mean().item() == pytest.approx(1.5, abs=0.03)
    assert set(number[1::2].tolist()) == {1}
    none = sessions.one_later_session(torch.full((1, 3), 4), torch.ones(1, 3).bool(), normal[:1])
    assert [x.tolist() for x in none] == [[4], [0]]
