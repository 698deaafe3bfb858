"""Torch's global state: what a user has set stays outside, and comes back."""

import threading

import pytest
import torch

from memkd_sklearn._torch_state import neutral_torch


def test_threads_are_restored_also_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="inside"), neutral_torch(before + 2):
        assert torch.get_num_threads() == before + 2
        with neutral_torch(before + 1):
            assert torch.get_num_threads() == before + 1
            with neutral_torch(None):
                assert torch.get_num_threads() == before + 1
        assert torch.get_num_threads() == before + 2
        raise RuntimeError("inside")
    assert torch.get_num_threads() == before


def test_threads_are_restored_by_whichever_block_ends_last():
    before = torch.get_num_threads()
    entered, leave, seen = threading.Event(), threading.Event(), []

    def other():
        with neutral_torch(before + 1):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with neutral_torch(before + 3):
        thread.start()
        entered.wait()
    leave.set()
    thread.join()
    fresh = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    fresh.start()
    fresh.join()
    assert seen == [torch.get_num_threads()] == [before]


def test_settings_of_a_user_are_outside():
    with torch.inference_mode(), torch.autocast("cpu"), torch.device("meta"), neutral_torch():
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert torch.empty(1).device == torch.device("cpu")
    with torch.no_grad(), neutral_torch():
        assert torch.is_grad_enabled()
    with neutral_torch(device="meta"):
        assert torch.empty(1).device == torch.device("meta")
