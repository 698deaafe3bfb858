"""Losses by their kernels, as compiled epochs take them, in float64."""

import numpy as np
import torch


def terms_and_gradients(prepared, student, index, rng=None, weight=1.0, start=0.0):
    """Run the kernels of a prepared loss on one batch.

    Parameters
    ----------
    prepared : object
        A prepared loss.
    student : Outputs
        The student's outputs for the batch, in float64.
    index : torch.Tensor
        The cases.
    rng : torch.Generator or None
        Source of the loss's draws.
    weight : float
        Factor of all terms.
    start : float
        The gradients by the student's outputs before the call.

    Returns
    -------
    terms : dict of str to float
    gradients : list of torch.Tensor
        By the logits, by the states, and by the loss's own parameters, as one flat tensor.
    """
    logits, states = (
        part.detach().contiguous().numpy() for part in (student.logits, student.states)
    )
    lengths = np.empty(0, np.int64) if student.lengths is None else student.lengths.numpy()
    own = prepared.parameters() if isinstance(prepared, torch.nn.Module) else []
    own = np.concatenate([np.empty(0), *(p.detach().numpy().ravel() for p in own)])
    outputs = np.full_like(states, start), np.full_like(logits, start)
    gradients = *outputs, np.full_like(own, np.nan)
    terms, first = {}, 0
    for loss in prepared.kernel_losses(1, rng):
        wanted = np.asarray(loss.wanted)
        part = slice(first, first + loss.n_parameters)
        values = np.full(len(loss.names), np.nan)
        loss.kernel(
            (states, logits, lengths, own[part]),
            (
                index.numpy(),
                np.ascontiguousarray(wanted.reshape(len(wanted), -1, wanted.shape[-1])),
                np.asarray(loss.places),
                np.ascontiguousarray(np.asarray(loss.drawn)[0]),
                np.array(loss.numbers, np.float64),
            ),
            np.asarray(loss.weighted(weight).weights),
            (*gradients[:2], gradients[2][part]),
            values,
        )
        first = part.stop
        for name, value in zip(loss.names, values.tolist(), strict=True):
            terms[name] = terms.get(name, 0.0) + value
    assert first == len(own)
    by_states, by_logits, by_own = map(torch.from_numpy, gradients)
    return terms, [by_logits, by_states, by_own]


def check_against_tensors(prepared, student, index, rng=lambda: None, weight=0.7):
    """Assert that kernels and tensor operations agree; return the terms of the kernels."""
    logits, states = (p.detach().clone().requires_grad_() for p in (student.logits, student.states))
    parameters = list(prepared.parameters()) if isinstance(prepared, torch.nn.Module) else []
    for parameter in parameters:
        parameter.grad = None
    terms = prepared(type(student)(logits, states, student.lengths), index, rng())
    (weight * sum(terms.values(), 0 * (logits.sum() + states.sum()))).backward()
    own = [torch.empty(0, dtype=states.dtype), *(p.grad.flatten() for p in parameters)]
    values, found = terms_and_gradients(prepared, student, index, rng(), weight)
    assert values.keys() == terms.keys()
    for name, value in terms.items():
        np.testing.assert_allclose(values[name], weight * value.item(), rtol=1e-9, err_msg=name)
    for ours, theirs in zip(found, [logits.grad, states.grad, torch.cat(own)], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)
    return {name: value / weight for name, value in values.items()}
