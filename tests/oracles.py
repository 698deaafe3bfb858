"""Plain float64 implementations that the package is tested against: loops that are obviously right."""

import itertools
import math

import numpy as np
import torch


def naive_states(cell, weights, series):
    """States of one layer over series (n_cases, n_timepoints, n_inputs), step by step."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    h = c = series.new_zeros(len(series), weight_hh.shape[1])
    states = []
    for x in series.unbind(1):
        a, b = x @ weight_ih.T + bias_ih, h @ weight_hh.T + bias_hh
        if cell == "lstm":
            i, f, g, o = (a + b).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        elif cell == "gru":
            (ar, az, an), (br, bz, bn) = a.chunk(3, 1), b.chunk(3, 1)
            z = (az + bz).sigmoid()
            h = (1 - z) * (an + (ar + br).sigmoid() * bn).tanh() + z * h
        else:
            h = (a + b).tanh()
        states.append(h)
    return torch.stack(states, 1)


def naive_gradients(network, x, lengths, logits_grad, states_grad):
    """Logits, states and gradients of all parameters, in float64."""
    parameters = [p.detach().double().requires_grad_() for p in network.parameters()]
    *layers, weight, bias = parameters
    states = x.double()
    for first in range(0, len(layers), 4):
        states = naive_states(network.cell, layers[first : first + 4], states)
    ends = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
    logits = states[torch.arange(len(x)), ends - 1] @ weight.T + bias
    total = (logits * logits_grad).sum() + (states * states_grad).sum()
    return logits.detach(), states.detach(), torch.autograd.grad(total, parameters)


def naive_ratio(states, t, z):
    """Memory ratio of one case, as the paper defines it."""
    moved = math.sqrt(sum((b - a) ** 2 for a, b in zip(states[t], states[t + z], strict=True)))
    return moved / math.sqrt(sum(a**2 for a in states[t]))


def naive_smooth_l1(a, b):
    gap = abs(a - b)
    return 0.5 * gap**2 if gap < 1 else gap - 0.5


def naive_memory_discrepancy(student, teacher, pairs):
    """Mean over cases and over pairs (start, end)."""
    total = 0.0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        for start, end in pairs:
            z = end - start
            total += naive_smooth_l1(naive_ratio(ours, start, z), naive_ratio(theirs, start, z))
    return total / (len(student) * len(pairs))


def naive_soft_target(student, teacher, tau):
    total = 0.0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(z / tau) for z in theirs]
        q = [math.exp(z / tau) for z in ours]
        p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return tau**2 * total / len(student)


def softmax(values):
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def naive_decoupled(student, teacher, labels, loss):
    total = 0.0
    for ours, theirs, label in zip(student, teacher, labels, strict=True):
        p, q = (softmax([v / loss.temperature for v in z]) for z in (theirs, ours))
        of_target = divergence([p[label], 1 - p[label]], [q[label], 1 - q[label]])
        rest = [[x / (1 - z[label]) for c, x in enumerate(z) if c != label] for z in (p, q)]
        total += loss.alpha * of_target + loss.beta * divergence(*rest)
    return loss.temperature**2 * total / len(student)


def naive_relations(student, teacher):
    def distances(x):
        each = [math.dist(a, b) for a, b in itertools.combinations(x, 2)]
        return [d / (sum(each) / len(each)) for d in each]

    def angles(x):
        found = []
        for j, (i, k) in itertools.product(range(len(x)), itertools.combinations(range(len(x)), 2)):
            if j not in (i, k):
                a, b = np.subtract(x[i], x[j]), np.subtract(x[k], x[j])
                found.append(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))
        return found

    def mean(relation):
        pairs = list(zip(relation(student), relation(teacher), strict=True))
        return sum(naive_smooth_l1(a, b) for a, b in pairs) / len(pairs)

    return mean(distances), mean(angles)


def naive_attention(student, teacher):
    def attention(states):
        each = [sum(v * v for v in h) / len(h) for h in states]
        norm = math.sqrt(sum(a * a for a in each))
        return [a / norm for a in each]

    return sum((a - b) ** 2 for a, b in zip(attention(student), attention(teacher), strict=True))


def naive_soft_dtw(cost, gamma):
    n, m = len(cost), len(cost[0])
    total = {(-1, -1): 0.0}
    for i in range(n):
        for j in range(m):
            before = [total[k] for k in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if k in total]
            soft = -gamma * math.log(sum(math.exp(-b / gamma) for b in before))
            total[i, j] = cost[i][j] + soft
    return total[n - 1, m - 1]


def naive_average_precision(is_class, scores):
    """Sum over the ranking of precision times the step in recall."""
    order = np.argsort(-scores, kind="stable")
    hits, total = 0, 0.0
    for rank, case in enumerate(order, start=1):
        if is_class[case]:
            hits += 1
            total += hits / rank
    return total / is_class.sum()
