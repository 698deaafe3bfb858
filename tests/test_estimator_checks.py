"""aeon's and scikit-learn's own check suites over the three classifiers."""

import pytest
from aeon.testing.estimator_checking import check_estimator as check_aeon_estimator
from aeon.testing.estimator_checking import parametrize_with_checks
from sklearn.utils.estimator_checks import check_estimator as check_sklearn_estimator

from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier

CLASSIFIERS = [RecurrentClassifier, DistillationClassifier, MemKDClassifier]

# As of aeon 1.6; RecurrentClassifier has two instances to check.
N_AEON_CHECKS = {RecurrentClassifier: 32, DistillationClassifier: 21, MemKDClassifier: 21}

# scikit-learn's checks that aeon's contract for classifiers of series rules out.
NOT_FOR_SERIES = {
    "check_no_attributes_set_in_init": "aeon's base class sets is_fitted, classes_, ... there",
    "check_dont_overwrite_parameters": "aeon's is_fitted has no trailing underscore",
    "check_n_features_in_after_fitting": "the second axis is time: aeon has no n_features_in_",
    "check_complex_data": "aeon raises TypeError, not ValueError, for numbers that are not real",
    "check_dtype_object": "aeon refuses arrays of objects, even of numbers",
    "check_estimators_empty_data_messages": "X without a time point is refused in other words",
    "check_classifier_data_not_an_array": "aeon takes arrays, lists and frames, no duck arrays",
    "check_classifiers_one_label": "aeon refuses a single class",
    "check_classifiers_train": "the second axis is time: a recurrent network reads any length",
    "check_fit2d_1sample": "one case is one class, which aeon refuses in words of its own",
    "check_fit2d_1feature": "one column is one time point, which is refused in words of our own",
    "check_n_features_in": "the second axis is time: aeon classifiers have no n_features_in_",
}


@parametrize_with_checks(CLASSIFIERS)
def test_aeon_check(check):
    check()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_no_aeon_check_is_skipped(classifier):
    outcomes = check_aeon_estimator(classifier)
    assert set(outcomes.values()) == {"PASSED"}
    assert len(outcomes) >= N_AEON_CHECKS[classifier]


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_sklearn_checks(classifier):
    outcomes = check_sklearn_estimator(
        # Class weights show after some epochs.
        classifier._create_test_instance().set_params(n_epochs=20),
        expected_failed_checks=NOT_FOR_SERIES,
        on_fail=None,
        on_skip=None,
    )
    names = {
        status: {o["check_name"] for o in outcomes if o["status"] == status}
        for status in ("passed", "xfail", "failed", "skipped")
    }
    assert names["failed"] == set()
    assert names["xfail"] == set(NOT_FOR_SERIES)
    assert names["skipped"] <= {"check_array_api_input"}
    assert len(names["passed"]) >= 33
