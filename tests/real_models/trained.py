"""Models that are trained here, with fixed seeds, on the data sets that scikit-learn brings along, and exported."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from .entries import Array, Entry, Make, Sizes

ROWS = {"n": (1, 23, 400)}
Fit = Callable[[Array, Array], bytes]


@cache
def _data(name: str) -> tuple[Array, Array]:
    """Features as f32 [N, F], and what is to be predicted."""
    from sklearn import datasets

    load = {"iris": datasets.load_iris, "digits": datasets.load_digits, "cancer": datasets.load_breast_cancer,
            "diabetes": datasets.load_diabetes, "wine": datasets.load_wine}[name]  # fmt: skip
    x, y = load(return_X_y=True)
    return x.astype(np.float32), y


def _rows(name: str) -> Make:
    def make(rng: np.random.Generator, sizes: Sizes) -> Array:
        x = _data(name)[0]
        picked = x[rng.integers(0, len(x), sizes["n"])]
        return (picked + rng.normal(0, 0.05, picked.shape) * x.std(0)).astype(np.float32)

    return make


def _by_scikit(model: Any, options: Mapping[str, Any] | None = None) -> Fit:
    """A classifier with maps as results where `options` do not say otherwise, a regressor, or a transformer."""

    def fit(x: Array, y: Array) -> bytes:
        from skl2onnx import to_onnx

        made = model().fit(x, y)
        given = {id(made): dict(options)} if options else None
        return to_onnx(made, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}, options=given).SerializeToString()

    return fit


def _scikit() -> list[tuple[str, str, Fit]]:
    """Names, data sets, and how each is made."""
    from sklearn import (
        cluster,
        decomposition,
        discriminant_analysis,
        ensemble,
        feature_selection,
        gaussian_process,
        linear_model,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
        tree,
    )  # fmt: skip

    plain, join = {"zipmap": False}, pipeline.make_pipeline
    scaled = preprocessing.StandardScaler

    def voting() -> Any:
        parts = [("tree", tree.DecisionTreeClassifier(max_depth=5, random_state=0)),
                 ("line", linear_model.LogisticRegression(max_iter=500))]  # fmt: skip
        return join(scaled(), ensemble.VotingClassifier(parts, voting="soft", flatten_transform=False))

    def stacking() -> Any:
        parts = [("forest", ensemble.RandomForestRegressor(10, random_state=0)), ("ridge", linear_model.Ridge())]
        return ensemble.StackingRegressor(parts, cv=3)

    rows: list[tuple[str, str, Callable[[], Any], Mapping[str, Any] | None]] = [
        ("logistic", "iris", lambda: join(scaled(), linear_model.LogisticRegression(max_iter=500)), None),
        ("svc", "wine", lambda: join(scaled(), svm.SVC(random_state=0)), plain),
        ("svr", "diabetes", lambda: join(scaled(), svm.SVR(C=50.0)), None),
        ("tree", "cancer", lambda: tree.DecisionTreeClassifier(random_state=0), plain),
        ("forest", "digits", lambda: ensemble.RandomForestClassifier(100, random_state=0), plain),
        ("forest_maps", "wine", lambda: ensemble.RandomForestClassifier(30, random_state=0), None),
        ("forest_regressor", "diabetes", lambda: ensemble.RandomForestRegressor(100, random_state=0), None),
        ("extra_trees", "cancer", lambda: ensemble.ExtraTreesClassifier(50, random_state=0), plain),
        ("boosting", "iris", lambda: ensemble.GradientBoostingClassifier(n_estimators=50, random_state=0), plain),
        ("boosting_regressor", "diabetes", lambda: ensemble.GradientBoostingRegressor(random_state=0), None),
        ("ada_boost", "iris", lambda: ensemble.AdaBoostClassifier(n_estimators=20, random_state=0), plain),
        ("bagging", "wine", lambda: ensemble.BaggingClassifier(n_estimators=10, random_state=0), plain),
        ("neighbours", "iris", lambda: neighbors.KNeighborsClassifier(5), plain),
        ("neighbours_regressor", "diabetes", lambda: neighbors.KNeighborsRegressor(3), None),
        ("bayes", "iris", lambda: naive_bayes.GaussianNB(), plain),
        ("bernoulli", "digits", lambda: naive_bayes.BernoulliNB(binarize=8.0), plain),
        ("perceptron", "digits",
         lambda: join(preprocessing.MinMaxScaler(), neural_network.MLPClassifier((32,), max_iter=60, random_state=0)),
         plain),
        ("gaussian_process", "diabetes", lambda: gaussian_process.GaussianProcessRegressor(alpha=0.5), None),
        ("components", "digits", lambda: decomposition.PCA(16, random_state=0), None),
        ("means", "wine", lambda: join(scaled(), cluster.KMeans(3, n_init=3, random_state=0)), None),
        ("isolation", "cancer", lambda: ensemble.IsolationForest(n_estimators=50, random_state=0), None),
        ("outliers", "wine", lambda: neighbors.LocalOutlierFactor(10, novelty=True), None),
        ("discriminant", "wine", lambda: discriminant_analysis.LinearDiscriminantAnalysis(), plain),
        ("quadratic", "wine", lambda: join(scaled(), discriminant_analysis.QuadraticDiscriminantAnalysis()), plain),
        ("powers", "diabetes", lambda: join(preprocessing.PolynomialFeatures(2), linear_model.Lasso(0.1)), None),
        ("bins", "diabetes",
         lambda: join(preprocessing.KBinsDiscretizer(5, encode="onehot-dense"), linear_model.Ridge()), None),
        ("chosen", "cancer",
         lambda: join(feature_selection.SelectKBest(k=8), preprocessing.Normalizer(),
                      linear_model.SGDClassifier(random_state=0)),
         plain),
        ("voting", "wine", voting, None),
        ("stacking", "diabetes", stacking, None),
    ]  # fmt: skip
    return [(name, data, _by_scikit(model, options)) for name, data, model, options in rows]


def _lightgbm(kind: str, **settings: Any) -> Fit:
    def fit(x: Array, y: Array) -> bytes:
        import lightgbm
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        made = getattr(lightgbm, kind)(random_state=0, verbose=-1, n_jobs=1, **settings).fit(x, y)
        features = [("x", FloatTensorType([None, x.shape[1]]))]
        return convert_lightgbm(made, initial_types=features, target_opset=15).SerializeToString()

    return fit


def _xgboost(kind: str, **settings: Any) -> Fit:
    def fit(x: Array, y: Array) -> bytes:
        import xgboost
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        made = getattr(xgboost, kind)(random_state=0, n_jobs=1, **settings).fit(x, y)
        features = [("x", FloatTensorType([None, x.shape[1]]))]
        return convert_xgboost(made, initial_types=features, target_opset=15).SerializeToString()

    return fit


def _catboost(kind: str, **settings: Any) -> Fit:
    def fit(x: Array, y: Array) -> bytes:
        import catboost
        from catboost.utils import convert_to_onnx_object

        quiet = {"verbose": False, "allow_writing_files": False}
        made = getattr(catboost, kind)(random_seed=0, thread_count=1, **quiet, **settings)
        return convert_to_onnx_object(made.fit(x, y)).SerializeToString()

    return fit


_BOOSTED: list[tuple[str, str, str, str, Fit]] = [  # package, name, data, the model's input
    ("lightgbm", "classifier", "wine", "x", _lightgbm("LGBMClassifier", n_estimators=40)),
    ("lightgbm", "two_classes", "cancer", "x", _lightgbm("LGBMClassifier", n_estimators=100)),
    ("lightgbm", "regressor", "diabetes", "x", _lightgbm("LGBMRegressor", n_estimators=100)),
    ("lightgbm", "forest", "cancer", "x",
     _lightgbm("LGBMClassifier", boosting_type="rf", bagging_freq=1, bagging_fraction=0.7, n_estimators=20)),
    ("xgboost-cpu", "classifier", "digits", "x", _xgboost("XGBClassifier", n_estimators=30)),
    ("xgboost-cpu", "two_classes", "cancer", "x", _xgboost("XGBClassifier", n_estimators=100)),
    ("xgboost-cpu", "regressor", "diabetes", "x", _xgboost("XGBRegressor", n_estimators=100)),
    ("xgboost-cpu", "counts", "diabetes", "x", _xgboost("XGBRegressor", objective="count:poisson", n_estimators=50)),
    ("catboost", "classifier", "wine", "features", _catboost("CatBoostClassifier", iterations=60)),
    ("catboost", "two_classes", "cancer", "features", _catboost("CatBoostClassifier", iterations=100)),
    ("catboost", "regressor", "diabetes", "features", _catboost("CatBoostRegressor", iterations=100)),
]  # fmt: skip


def _trained(fit: Fit, data: str) -> Callable[[], bytes]:
    @cache
    def load() -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of converters about newer versions of what they convert
            return fit(*_data(data))

    return load


def entries() -> list[Entry]:
    """Raises ModuleNotFoundError where scikit-learn is not installed."""
    rows = [("scikit-learn", name, data, "X", fit) for name, data, fit in _scikit()] + _BOOSTED
    return [
        Entry(f"{package}/{name}", package, _trained(fit, data), {given: _rows(data)}, ROWS)
        for package, name, data, given, fit in rows
    ]
