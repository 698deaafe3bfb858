import copy

import numpy as np
import torch

from memkd_sklearn.deploy.int8.sensitivity import Tape, sensitivity


def test_derivatives_are_those_of_autograd(trained):
    student, X = trained.student, trained.X[:4, :, :20]
    network = copy.deepcopy(trained.network).double()
    directions = np.random.default_rng(0).normal(size=(3, len(X), student.n_classes))
    found = sensitivity(student, Tape.record(student, X), directions)
    z = (X - student.mean[:, None]) / student.scale[:, None]
    size = student.hidden_size
    for case in range(len(X)):
        scores = network(torch.from_numpy(np.swapaxes(z, 1, 2)[case : case + 1]))[0][0]
        for direction in range(3):
            network.zero_grad()
            (scores @ torch.from_numpy(directions[direction, case])).backward(retain_graph=True)
            slopes = {name: p.grad.numpy() for name, p in network.named_parameters()}
            for index in range(student.n_layers):
                block = found[index][..., direction, case]
                parts = [
                    slopes[f"recurrent.{kind}_l{index}"] for kind in ("weight_ih", "weight_hh")
                ]
                n_inputs = parts[0].shape[1]
                biases = slopes[f"recurrent.bias_ih_l{index}"]
                # A GRU's candidate has a sum of its own for its hidden state.
                sums = slice(0, 3) if student.cell == "gru" else slice(None)
                rows = [0, 1, 3] if student.cell == "gru" else slice(None)
                assert np.allclose(block[sums, :, :n_inputs].reshape(-1, n_inputs), parts[0])
                assert np.allclose(block[rows, :, n_inputs:-1].reshape(-1, size), parts[1])
                assert np.allclose(block[sums, :, -1].ravel(), biases)
            assert np.allclose(found[-1][0, :, :-1, direction, case], slopes["head.weight"])
            assert np.allclose(found[-1][0, :, -1, direction, case], slopes["head.bias"])
