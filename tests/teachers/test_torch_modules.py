"""Torch modules and skorch nets as teachers: the right layer, the right axes, nothing changed."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from memkd_sklearn import DistillationClassifier, MemKDClassifier
from memkd_sklearn.losses import FitNet, SoftTargets
from memkd_sklearn.teachers import TorchTeacher, reader_of


class Recurrent(nn.Module):
    """An encoder of two layers, with another recurrent layer before it, and dropout."""

    def __init__(self, n_channels=6, cell=nn.LSTM, batch_first=True, **options):
        super().__init__()
        self.first = nn.GRU(n_channels, 5, batch_first=batch_first)
        self.drop = nn.Dropout(0.5)
        self.encoder = nn.ModuleDict({"lstm": cell(5, 7, 2, batch_first=batch_first, **options)})
        self.batch_first = batch_first
        self.head = nn.LazyLinear(4)

    def states(self, x):
        x = x if self.batch_first else x.transpose(0, 1)
        out = self.encoder["lstm"](self.drop(self.first(x)[0]))[0]
        return out if self.batch_first else out.transpose(0, 1)

    def forward(self, x):
        return self.head(self.states(x)[:, -1])


class Convolutional(nn.Module):
    """A strided network that ends in global pooling."""

    def __init__(self, n_channels=6, n_classes=4, stride=1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(n_channels, 8, 5, stride=stride, padding=2),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Conv1d(8, 9, 3, padding=1),
            nn.ReLU(),
        )
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.head = nn.Linear(9, n_classes)

    def forward(self, x):
        return self.head(self.pool(self.body(x)).squeeze(2))


class Transformer(nn.Module):
    """A transformer that takes time first or batch first, pooled by a mean."""

    def __init__(self, batch_first):
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Linear(6, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def maps(self, x):
        x = self.embed(x)
        if self.batch_first:
            return self.norm(self.encoder(x))
        return self.norm(self.encoder(x.transpose(0, 1))).transpose(0, 1)

    def forward(self, x):
        return self.head(self.maps(x).mean(dim=1))


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 7, batch_first=True)
        self.head = nn.Linear(7, 4)

    def forward(self, x):
        lengths = torch.full((len(x),), x.shape[1])
        _, (last, _) = self.lstm(pack_padded_sequence(x, lengths, batch_first=True))
        return self.head(last[-1]), last


def tensors(X):
    return torch.from_numpy(X.astype(np.float32))


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def data(motions):
    X, y = motions[:2]
    return X, y, np.unique(y)


def built(module, X):
    """A module in training mode, as an optimiser leaves it, whose lazy layers are there."""
    with torch.no_grad():
        layout = "BCT" if isinstance(module, Convolutional) else "BTC"
        module(tensors(X if layout == "BCT" else X.transpose(0, 2, 1))[:2])
    return module.train()


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    ("cell", "options"), [(nn.LSTM, {}), (nn.GRU, {"bidirectional": True}), (nn.RNN, {})]
)
def test_the_last_recurrent_layer_is_read(data, cell, options, batch_first):
    X, y, classes = data
    if not batch_first:  # of cases, not of time, are the rows that the module returns
        X = X[:30]
    module = built(Recurrent(cell=cell, batch_first=batch_first, **options), X)
    teacher = TorchTeacher(module, classes)
    states = teacher.hidden_states(X)
    module.eval()
    with torch.no_grad():
        x = tensors(X.transpose(0, 2, 1))
        expected, proba = module.states(x).numpy(), module(x).softmax(dim=1).numpy()
    assert states.dtype == np.float32
    assert states.shape == (len(X), 100, 14 if options else 7)
    np.testing.assert_allclose(states, expected, atol=1e-6)
    np.testing.assert_allclose(teacher.predict_proba(X), proba, atol=1e-6)
    assert set(teacher.predict(X)) <= set(classes)


def test_a_named_layer_is_read(data):
    X, y, classes = data
    module = built(Recurrent(), X)
    read = TorchTeacher(module, classes, teacher_layer="first").hidden_states(X)
    with torch.no_grad():
        expected = module.first(tensors(X.transpose(0, 2, 1)))[0].numpy()
    np.testing.assert_allclose(read, expected, atol=1e-6)
    inner = TorchTeacher(module, classes, teacher_layer="encoder.lstm").hidden_states(X)
    assert np.array_equal(inner, TorchTeacher(module, classes).hidden_states(X))


@pytest.mark.parametrize("stride", [1, 3])
def test_a_convolutional_network_is_read_before_it_pools(data, stride):
    X, y, classes = data
    module = built(Convolutional(stride=stride), X)
    states = TorchTeacher(module, classes).hidden_states(X)
    module.eval()
    with torch.no_grad():
        expected = module.body(tensors(X)).numpy().transpose(0, 2, 1)
    assert states.shape == (40, 100 if stride == 1 else 34, 9)
    np.testing.assert_allclose(states, expected, atol=1e-6)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_transformer_is_read_before_it_pools(data, batch_first):
    X, y, classes = data
    module = built(Transformer(batch_first), X)
    states = TorchTeacher(module, classes).hidden_states(X)
    module.eval()
    with torch.no_grad():
        expected = module.maps(tensors(X.transpose(0, 2, 1))).numpy()
    np.testing.assert_allclose(states, expected, atol=1e-5)


def test_a_packed_sequence_is_unpacked(data):
    X, y, classes = data
    module = Packed()
    states = TorchTeacher(module, classes).hidden_states(X)
    with torch.no_grad():
        expected = module.lstm(tensors(X.transpose(0, 2, 1)))[0].numpy()
    np.testing.assert_allclose(states, expected, atol=1e-6)


def test_series_of_several_lengths_are_read_without_padding(data):
    X, y, classes = data
    module = built(Recurrent(), X)
    teacher = TorchTeacher(module, classes)
    several = [series[:, : 40 + 20 * (i % 3)] for i, series in enumerate(X)]
    states, proba = teacher.hidden_states(several), teacher.predict_proba(several)
    for i, series in enumerate(several):
        alone = series[np.newaxis]
        np.testing.assert_allclose(states[i], teacher.hidden_states(alone)[0], atol=1e-5)
        np.testing.assert_allclose(proba[i], teacher.predict_proba(alone)[0], atol=1e-5)


@pytest.mark.parametrize("loss", [None, FitNet(), SoftTargets()])
def test_a_module_teaches_and_is_not_changed(data, loss):
    X, y, classes = data
    module = built(Convolutional(stride=2), X)
    module.body[1].eval()  # a mode of its own
    before = copy.deepcopy(module.state_dict())
    modes = [layer.training for layer in module.modules()]
    teacher = TorchTeacher(module, classes)
    make = MemKDClassifier if loss is None else DistillationClassifier
    given = {} if loss is None else {"loss": loss}
    student = make(teacher, n_epochs=3, n_init=1, random_state=0, **given).fit(X, y)
    assert student.teacher_ is teacher
    n_parameters = sum(weights.numel() for weights in module.parameters())
    assert student.footprint_.compression == n_parameters / student.footprint_.parameters
    assert f"teacher {n_parameters:>10,}" in str(student.footprint_)
    assert clone(student).teacher is teacher
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.values(), module.state_dict().values(), strict=True)
    )
    assert [layer.training for layer in module.modules()] == modes
    assert not any(layer._forward_hooks for layer in module.modules())
    again = pickle.loads(pickle.dumps(student))
    assert np.array_equal(again.predict_proba(X), student.predict_proba(X))


def test_copies_have_one_key_and_other_weights_another(data):
    X, y, classes = data
    module = built(Convolutional(), X)
    twin = copy.deepcopy(module)
    key = reader_of(TorchTeacher(module, classes)).key()
    assert reader_of(pickle.loads(pickle.dumps(TorchTeacher(twin, classes)))).key() == key
    assert reader_of(TorchTeacher(twin, classes[::-1])).key() != key
    assert reader_of(TorchTeacher(twin, classes, "body.0")).key() != key
    with torch.no_grad():
        twin.head.bias[0] += 1e-6
    assert reader_of(TorchTeacher(twin, classes)).key() != key


class Pooling(nn.Module):
    """A network of which the weights are not all that it goes by."""

    def __init__(self, how="mean", activation=torch.tanh):
        super().__init__()
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.head = nn.Linear(5, 4)
        self.how, self.activation = how, activation

    def forward(self, x):
        states = self.activation(self.lstm(x)[0])
        return self.head(states.mean(dim=1) if self.how == "mean" else states[:, -1])


def test_a_key_tells_what_is_no_weight(data):
    classes = data[2]
    keys = []
    for options in (
        {},
        {"how": "last"},
        {"activation": torch.sigmoid},
        {"activation": lambda x: x},
    ):
        torch.manual_seed(0)
        module = Pooling(**options)
        keys += [
            reader_of(TorchTeacher(module.train(mode), classes)).key() for mode in (True, False)
        ]
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == 4
    after = [net(predict_nonlinearity=how).initialize() for how in ("auto", None)]
    after[1].module_.load_state_dict(after[0].module_.state_dict())
    assert len({reader_of(TorchTeacher(one, classes)).key() for one in after}) == 2


def test_threads_may_read_one_module_at_once(data):
    X, _, classes = data
    module = built(Recurrent(), X)
    teacher = TorchTeacher(module, classes)
    batches = [X[:10], X[10:40], X[5:20]]
    alone = [teacher._read_trace(batch, states=True) for batch in batches]
    with ThreadPoolExecutor(3) as pool:
        traces = list(pool.map(lambda i: teacher._read_trace(batches[i % 3], True), range(60)))
    for i, trace in enumerate(traces):
        assert all(np.array_equal(*pair) for pair in zip(trace, alone[i % 3], strict=True))
    assert module.training


def net(module=Convolutional, **options):
    return NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, max_epochs=3, verbose=0, train_split=None, **options
    )


def test_a_fitted_skorch_net_teaches(data):
    X, y, classes = data
    codes = np.searchsorted(classes, y)
    fitted = net().fit(X.astype(np.float32), codes)
    fitted.module_.train()
    search = GridSearchCV(
        MemKDClassifier(fitted, n_epochs=2, n_init=1, random_state=0),
        {"hidden_size": [2, 3]},
        cv=2,
        n_jobs=2,
    ).fit(X, codes)
    assert search.best_estimator_.teacher_ is not None
    states = TorchTeacher(fitted).hidden_states(X)
    assert states.shape == (40, 100, 9)
    proba = fitted.predict_proba(X.astype(np.float32))
    np.testing.assert_allclose(TorchTeacher(fitted).predict_proba(X), proba, atol=1e-6)
    assert fitted.module_.training is False  # as skorch leaves it, which was asked last
    with pytest.raises(ValueError, match=r"trained on encoded labels.*classes=\.\.\."):
        MemKDClassifier(fitted).fit(X, y)
    labelled = TorchTeacher(fitted, classes=classes)
    assert MemKDClassifier(labelled, n_epochs=2, n_init=1).fit(X, y).teacher_ is labelled


@pytest.mark.parametrize("module", [Convolutional, Transformer])
def test_an_unfitted_skorch_net_is_fitted_inside(data, module, global_rng_untouched):
    X, y, classes = data
    given = {"module__batch_first": True} if module is Transformer else {}
    teacher = net(module, **given)
    students = [
        MemKDClassifier(teacher, n_epochs=2, n_init=1, random_state=0).fit(X, y) for _ in range(2)
    ]
    assert teacher.initialized_ is False
    assert list(students[0].teacher_.classes_) == list(classes)
    weights = [student.network_.head.weight for student in students]
    assert torch.equal(*weights)
    lifted = [teacher.teacher_.history[-1, "train_loss"] for teacher in students]
    assert lifted[0] == lifted[1] < students[0].teacher_.history[0, "train_loss"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_module_of_another_type_is_given_its_own(data, dtype, tmp_path):
    X, y, classes = data
    module = built(Recurrent(), X).eval()
    expected = TorchTeacher(copy.deepcopy(module), classes)
    other = TorchTeacher(module.to(dtype), classes)
    rtol = 1e-6 if dtype == torch.float64 else 0.05
    np.testing.assert_allclose(other.hidden_states(X), expected.hidden_states(X), atol=rtol)
    np.testing.assert_allclose(other.predict_proba(X), expected.predict_proba(X), atol=rtol)
    MemKDClassifier(other, n_epochs=2, n_init=1, memory=str(tmp_path)).fit(X, y)
    same_numbers = TorchTeacher(copy.deepcopy(module).float(), classes)
    assert reader_of(other).key() != reader_of(same_numbers).key()


def test_a_skorch_net_of_another_type_is_given_its_own(data):
    X, y, classes = data
    codes = np.searchsorted(classes, y)
    fitted = net(Convolutional().double()).fit(X, codes)
    proba = fitted.predict_proba(X)
    np.testing.assert_allclose(TorchTeacher(fitted).predict_proba(X), proba, atol=1e-12)


def test_an_unfitted_skorch_net_takes_series_of_one_length(data):
    X, y, _ = data
    several = [series[:, : 60 + i] for i, series in enumerate(X)]
    with pytest.raises(ValueError, match=r"Got series of 60 to 99 time points, .* a skorch net"):
        MemKDClassifier(net()).fit(several, y)


class Wrong(Packed):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output(super().forward(x)[0])


class NoTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(600, 4))

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize(
    ("teacher", "error", "message"),
    [
        (lambda c: TorchTeacher("net", c), TypeError, r"Got module='net', but expected a torch"),
        (lambda c: TorchTeacher(Packed()), ValueError, r"Got classes=None, but expected"),
        (lambda c: TorchTeacher(net()), ValueError, r"expected a fitted skorch net"),
        (lambda c: TorchTeacher(Packed(), c, "lstm.x"), ValueError, r"teacher_layer='lstm\.x'"),
        (lambda c: TorchTeacher(Packed(), c, layout="TBC"), ValueError, r"layout='TBC'"),
        (lambda c: TorchTeacher(NoTime(), c), ValueError, r"only soft targets can be learned"),
        (lambda c: TorchTeacher(nn.Identity(), c), ValueError, r"no layer tells"),
        (lambda c: TorchTeacher(Packed(), c[:3]), ValueError, r"Got a teacher of classes"),
        (lambda c: TorchTeacher(Wrong(lambda s: {"logits": s}), c), ValueError, r"output of dict"),
        (
            lambda c: TorchTeacher(Wrong(lambda s: s[:, 0]), c),
            ValueError,
            r"output of shape \(2,\)",
        ),
        (
            lambda c: TorchTeacher(Wrong(lambda s: s / 0 * 0), c),
            ValueError,
            "that are negative, NaN or infinite",
        ),
        (lambda c: Packed(), TypeError, r"Got teacher=Packed, .* TorchTeacher\(module, classes="),
        (lambda c: TorchTeacher(Packed(), c, "head"), ValueError, r"teacher_layer='head'|of shape"),
    ],
)
def test_what_cannot_teach_memory_is_refused(data, teacher, error, message):
    X, y, classes = data
    with pytest.raises(error, match=message):
        MemKDClassifier(teacher(classes)).fit(X, y)


def test_a_module_without_time_teaches_soft_targets(data):
    X, y, classes = data
    module, wanted = NoTime(), 10.0 * (y[:, np.newaxis] == classes)
    with torch.no_grad():  # a teacher that knows nothing is not copied
        rows = np.linalg.lstsq(X.reshape(len(X), -1), wanted)[0].T
        module.layers[1].weight.copy_(torch.from_numpy(rows))
        module.layers[1].bias.zero_()
    teacher = TorchTeacher(module, classes, layout="BCT")
    student = DistillationClassifier(teacher, n_epochs=2, n_init=1, synthetic=0).fit(X, y)
    assert student.history_[1]["train_soft_target"] < student.history_[0]["train_soft_target"]


@pytest.mark.parametrize("keep", ["buffer", "attribute"])
def test_tensors_that_are_no_weights_are_in_the_key(keep):
    class Shifted(torch.nn.Module):
        def __init__(self, mean):
            super().__init__()
            torch.manual_seed(0)
            self.gru, self.head = torch.nn.GRU(1, 3, batch_first=True), torch.nn.Linear(3, 2)
            if keep == "buffer":
                self.register_buffer("mean", torch.tensor(mean), persistent=False)
            else:
                self.mean = torch.tensor(mean)

        def forward(self, x):
            return self.head(self.gru(x - self.mean)[0][:, -1])

    with torch.random.fork_rng():
        first, second, again = (
            reader_of(TorchTeacher(Shifted(mean), [0, 1])).key() for mean in (0.0, 3.0, 0.0)
        )
    assert first == again != second
