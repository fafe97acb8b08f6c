"""The table of scalar primitives: one row says everything about one primitive.

Graph `map` nodes, kernel `Call`s, reductions and scans name primitives of `TABLE`. In: scalars of one dtype each; out:
a scalar. Columns: the dtype rule, the meaning in numpy, the spelling in C and in Triton and, for transcendental
functions of f32, an expansion into simpler primitives (`approx.py`, or a function beside the row).

To add a primitive, add a row. Nothing else in the compiler may list primitives or treat one by its name, except for
`cast`, `bitcast`, `select` and `require`, whose arguments have several dtypes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from . import approx, convert
from .dim import Dim, decided, dim_max, dim_min, known_le, select_size, truth_eq, truth_lt
from .dtype import BF16, BOOL, F16, F32, DType
from .expr import Call, Expr, Var, walk

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Prim:
    """One scalar primitive.

    kinds: the kinds of DType its (last) argument may have. result: its dtype: "same" as the last argument, "bool", or
    "given" by the caller (casts). numpy: its meaning on arrays; rows with `symbolic` also take object arrays of Size.

    c: kinds of argument -> spelling. A spelling is an operator of C ("+", "?:"), a builtin function of double
    ("__builtin_sqrt"; the float variant gets its f), or an expression (or body, if it has a `return`) over a, b, c,
    from which a static inline function is made; there {T} is the argument's C type, {U} the unsigned type arithmetic
    wraps in, {bits} its width, {min} and {max} its least and greatest value.
    expand: defines the primitive by others, from its f32 arguments; used for F32.
    ulp: bound on the error of the expansion, in units of the last place of the result, over all f32 (or as its
    docstring says); 0 if the result is exact or correctly rounded.
    triton: kinds of argument, or a dtype -> format of a Triton expression over {0}, {1}, {2}, which may use the
    functions of templates/triton/prelude.py.j2; {bits} is the width. Without one, f32 is computed by the expansion.
    identity: neutral element for a dtype, if the primitive combines values in reductions and scans.
    exact: whether the result for numbers of any float type is a number of that type, so that nothing is rounded.
    abrupt: whether a little more or less of an argument can change the result by much.
    """

    name: str
    arity: int
    numpy: Callable[..., Any]
    c: Mapping[str, str] = field(default_factory=dict)
    triton: str | Mapping[str, str] = field(default_factory=dict)
    kinds: str = "f"
    result: str = "same"
    symbolic: bool = False
    identity: Callable[[DType], bool | int | float] | None = None
    expand: Callable[..., Expr] | None = None
    ulp: float = 0.0
    exact: bool = False
    abrupt: bool = False

    @property
    def flops(self) -> int:
        """Arithmetic operations of one evaluation, for rooflines."""
        if self.expand is None:
            return 0 if self.result == "given" else 1
        return _calls(self.name)

    def c_spelling(self, dtype: DType) -> str:
        """The C spelling for arguments of `dtype`. Raises KeyError where the row has none."""
        for kinds, spelling in self.c.items():
            if dtype.kind in kinds:
                return spelling
        raise KeyError(f"primitive {self.name} has no C spelling for {dtype}")

    def triton_spelling(self, dtype: DType) -> str | None:
        """The Triton expression for arguments of `dtype`, or None."""
        if isinstance(self.triton, str):
            return self.triton
        if dtype.name in self.triton:
            return self.triton[dtype.name]
        return next((text for kinds, text in self.triton.items() if kinds.isalpha() and dtype.kind in kinds), None)


def infer(name: str, args: Sequence[DType], dtype: DType | None = None) -> DType:
    """The result's dtype. `dtype` is the target of casts. Raises ValueError where the arguments do not fit."""
    prim = TABLE.get(name)
    if prim is None:
        raise ValueError(f"there is no scalar primitive '{name}'")
    if len(args) != prim.arity:
        raise ValueError(f"{name} takes {prim.arity} arguments, not {len(args)}")
    conditional = name in ("select", "require")
    operands = args[1:] if conditional else args
    if conditional and args[0] != BOOL:
        raise ValueError(f"the condition of {name} is {args[0]}, not bool")
    if any(a != operands[0] for a in operands):
        raise ValueError(f"{name} of different types: {', '.join(map(str, operands))}")
    if operands[0].kind not in prim.kinds:
        raise ValueError(f"{name} is not defined for {operands[0]}")
    if (prim.result == "given") != (dtype is not None):
        raise ValueError(f"{name} {'needs a' if dtype is None else 'takes no'} target type")
    if prim.result == "given":
        assert dtype is not None
        return dtype
    return BOOL if prim.result == "bool" else operands[-1]


def call(name: str, *args: Expr, dtype: DType | None = None) -> Call:
    """The `Call` of a primitive, with the dtype inferred. Raises ValueError where the arguments do not fit."""
    return Call(name, args, infer(name, [a.dtype for a in args], dtype))


def evaluate(name: str, args: Sequence[Array], dtype: DType | None = None) -> Array:
    """A primitive applied to (broadcasting) arrays; narrow floats compute in f32 and are rounded once, at the end.

    Rows that are `symbolic` also take object arrays of Size. Raises TypeError where the result cannot be decided.
    """
    prim = TABLE[name]
    arrays = [np.asarray(a) for a in args]
    with np.errstate(all="ignore"):
        if prim.result == "given":
            return np.asarray(prim.numpy(*arrays, dtype))
        if any(a.dtype == object for a in arrays) and not prim.symbolic:
            raise TypeError(f"{name} is not defined for symbolic sizes")
        narrow = arrays[-1].dtype
        if narrow.kind in "fV" and narrow.itemsize < 4:
            wide = [a.astype(np.float32) if a.dtype == narrow else a for a in arrays]
            result = np.asarray(prim.numpy(*wide))
            return result.astype(narrow) if prim.result == "same" else result
        return np.asarray(prim.numpy(*arrays))


@cache
def _calls(name: str) -> int:
    return sum(isinstance(e, Call) for e in walk(expansion(name)[1]))


@cache
def expansion(name: str) -> tuple[tuple[Var, ...], Expr]:
    """Formal parameters (f32) and body of a primitive's expansion. Raises KeyError where the row has none."""
    prim = TABLE[name]
    if prim.expand is None:
        raise KeyError(name)
    formals = tuple(Var(n, F32) for n in "xyz"[: prim.arity])
    return formals, prim.expand(*formals)


# ---------------------------------------------------------------------------------------------------------------------
# Meanings in numpy that take more than one function of numpy


def _is_object(*arrays: Any) -> bool:
    return any(np.asarray(a).dtype == object for a in arrays)


def _is_float(a: Any) -> bool:
    return np.asarray(a).dtype.kind == "f"


_symbolic_eq, _symbolic_lt = np.frompyfunc(truth_eq, 2, 1), np.frompyfunc(truth_lt, 2, 1)
_symbolic_le = np.frompyfunc(lambda a, b: decided(1 - truth_lt(b, a)), 2, 1)
_symbolic_not = np.frompyfunc(lambda a: decided(1 - a), 1, 1)
_symbolic_and = np.frompyfunc(lambda a, b: decided(a * b), 2, 1)
_symbolic_or = np.frompyfunc(lambda a, b: decided(a + b - a * b), 2, 1)
_symbolic_xor = np.frompyfunc(lambda a, b: decided(a + b - 2 * a * b), 2, 1)
_symbolic_choice = np.frompyfunc(select_size, 3, 1)
_symbolic_min, _symbolic_max = np.frompyfunc(dim_min, 2, 1), np.frompyfunc(dim_max, 2, 1)


def _compare(numbers: Callable[..., Any], sizes: Callable[..., Any], negate: bool = False) -> Callable[..., Any]:
    def compare(a: Any, b: Any) -> Any:
        if not _is_object(a, b):
            return numbers(a, b)
        result = sizes(a, b)
        return np.asarray(_symbolic_not(result) if negate else result, object)

    return compare


def _or_symbolic(numbers: Callable[..., Any], sizes: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: sizes(*args) if _is_object(*args) else numbers(*args)


def _nonzero(b: Any) -> Any:
    return np.where(b == 0, np.ones_like(b), b)


def _truncated(a: Any, b: Any) -> Any:
    """Integer division toward zero; 0 where b is 0."""
    divisor = _nonzero(b)
    quotient = a // divisor
    quotient = quotient + ((a % divisor != 0) & ((a < 0) != (divisor < 0))).astype(quotient.dtype)
    return np.where(b == 0, np.zeros_like(quotient), quotient)


def _symbolic_truncated(a: Any, b: Any) -> Any:
    def divide(x: Any, y: Any) -> Any:
        if known_le(0, x) and known_le(0, y):
            return x // y
        if isinstance(x, int) and isinstance(y, int):
            return int(math.copysign(1, x) * math.copysign(1, y)) * (abs(x) // abs(y))
        raise TypeError(f"the signs of {x} and {y} are not known")

    return np.frompyfunc(divide, 2, 1)(a, b)


def _divide(a: Any, b: Any) -> Any:
    return a / b if _is_float(a) else _truncated(a, b)


def _floor_divide(a: Any, b: Any) -> Any:
    return np.floor(a / b) if _is_float(a) else np.where(b == 0, np.zeros_like(b), a // _nonzero(b))


def _modulo(a: Any, b: Any) -> Any:
    return np.mod(a, b) if _is_float(a) else np.where(b == 0, np.zeros_like(b), a % _nonzero(b))


def _remainder(a: Any, b: Any) -> Any:
    return np.fmod(a, b) if _is_float(a) else np.where(b == 0, np.zeros_like(b), np.fmod(a, _nonzero(b)))


def _power(a: Any, b: Any) -> Any:
    if _is_float(a):
        return np.power(a, b)
    if np.asarray(b).dtype.kind == "u":
        return np.power(a, b)
    odd = np.where(b % 2 == 0, 1, -1).astype(a.dtype)
    reciprocal = np.where(a == 1, 1, np.where(a == -1, odd, 0)).astype(a.dtype)
    return np.where(b < 0, reciprocal, np.power(a, np.where(b < 0, np.zeros_like(b), b)))


def _erf(x: Any) -> Any:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x)).astype(x.dtype)


def _erf_expansion(x: Expr) -> Expr:
    """x + x P(x**2) for small |x|, else 1 - 2**Q(|x|) with Q = log2(erfc); in [-1, 1]. Keeps the sign of zero."""
    a = approx.at_most(call("abs", x), 3.93)  # where the result rounds to 1
    # erf(x) / x - 1 over x**2 in [0, 0.85]: 26 bits of erf
    p = approx.polynomial(a * a, (0.12837915, -0.37612498, 0.11281843, -0.026767349, 0.0049940376, -0.00059944985))
    # log2(erfc(x)) on [0.9219, 3.93]: erf to 2**-29, absolutely
    q = approx.polynomial(
        a, (-0.0003029104, -1.626805, -0.91940945, -0.14980753, 0.03200087, -0.0043736626, 0.0002809442)
    )
    y = approx.select(a > 0.9219, 1.0 - approx.exp2_roughly(q), a + a * p)
    return approx.with_sign_of(y, x)


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, np.ones_like(e)) / (1 + e)


def _select(c: Any, a: Any, b: Any) -> Any:
    if any(isinstance(x, Dim) for x in c.flat):
        return _symbolic_choice(c, a, b)
    return np.where(c.astype(bool), a, b)


def _symbolic_floor(operator: str) -> Callable[..., Any]:
    def apply(x: Any, y: Any) -> Any:
        if isinstance(y, int) and y == 0:
            return 0
        return x // y if operator == "//" else x % y

    on_arrays: Callable[..., Any] = np.frompyfunc(apply, 2, 1)
    return on_arrays


def _rounded(x: Any, dtype: DType) -> Any:
    return x.astype(dtype.to_numpy()).astype(x.dtype)


def _bitcast(x: Any, dtype: DType) -> Any:
    return np.ascontiguousarray(x).view(dtype.to_numpy()).reshape(x.shape)


# ---------------------------------------------------------------------------------------------------------------------
# Neutral elements


def _least(dtype: DType) -> bool | int | float:
    if dtype.kind == "f":
        return -math.inf
    return False if dtype.kind == "b" else convert.integer_range(dtype)[0]


def _greatest(dtype: DType) -> bool | int | float:
    if dtype.kind == "f":
        return math.inf
    return True if dtype.kind == "b" else convert.integer_range(dtype)[1]


def _zero(dtype: DType) -> bool | int | float:
    return 0.0 if dtype.kind == "f" else 0


def _one(dtype: DType) -> bool | int | float:
    return 1.0 if dtype.kind == "f" else 1


# ---------------------------------------------------------------------------------------------------------------------
# The table

_WRAPPED = "({{T}})(({{U}})a {} ({{U}})b)"  # integer arithmetic wraps around; in C, that of signed integers must not


def _wrapped(operator: str) -> dict[str, str]:
    return {"f": operator, "iu": _WRAPPED.format(operator)}


def _math(name: str, numpy: Callable[..., Any], expand: Callable[..., Expr], ulp: float, **more: Any) -> Prim:
    """A transcendental function: expanded in f32, from the C library in f64."""
    arity = more.pop("arity", 1)
    return Prim(name, arity, numpy, {"f": f"__builtin_{name}"}, expand=expand, ulp=ulp, **more)


_NAN_ALL = "propagate_nan=tl.PropagateNan.ALL"

# fmt: off
_ROWS = [
    # Arithmetic
    Prim("add", 2, lambda a, b: a + b, _wrapped("+"), "{0} + {1}", "fiu", symbolic=True, identity=_zero),
    Prim("sub", 2, lambda a, b: a - b, _wrapped("-"), "{0} - {1}", "fiu", symbolic=True),
    Prim("mul", 2, lambda a, b: a * b, _wrapped("*"), "{0} * {1}", "fiu", symbolic=True, identity=_one),
    Prim(
        "div", 2, _or_symbolic(_divide, _symbolic_truncated),
        {
            "f": "/",
            "i": "b == 0 ? 0 : b == -1 ? ({T})(({U})0 - ({U})a) : ({T})(a / b)",
            "u": "b == 0 ? 0 : ({T})(a / b)",
        },
        {"f32": "tl.div_rn({0}, {1})", "f64": "{0} / {1}", "iu": "int_div({0}, {1})"}, "fiu", symbolic=True,
    ),
    Prim(
        "floordiv", 2, _or_symbolic(_floor_divide, _symbolic_floor("//")),
        {
            "f": "__builtin_floor{f}(a / b)",
            "i": "b == 0 ? 0 : b == -1 ? ({T})(({U})0 - ({U})a) : ({T})(a / b - (a % b != 0 && (a < 0) != (b < 0)))",
            "u": "b == 0 ? 0 : ({T})(a / b)",
        },
        {"f32": "tl.floor(tl.div_rn({0}, {1}))", "f64": "tl.floor({0} / {1})", "iu": "int_floor_div({0}, {1})"}, "fiu", symbolic=True, abrupt=True,
    ),
    Prim(
        "mod", 2, _or_symbolic(_modulo, _symbolic_floor("%")),
        {
            "f": "{T} r = __builtin_fmod{f}(a, b); return r != 0 && (r < 0) != (b < 0) ? r + b : __builtin_copysign{f}(r, r != 0 ? r : b);",
            "i": "b == 0 || b == -1 ? 0 : ({T})(a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0))",
            "u": "b == 0 ? 0 : ({T})(a % b)",
        },
        {"f": "float_mod({0}, {1})", "iu": "int_mod({0}, {1})"}, "fiu", symbolic=True, abrupt=True,
    ),
    Prim(
        "fmod", 2, _remainder,
        {"f": "__builtin_fmod", "i": "b == 0 || b == -1 ? 0 : ({T})(a % b)", "u": "b == 0 ? 0 : ({T})(a % b)"},
        {"f": "{0} % {1}", "iu": "int_rem({0}, {1})"}, "fiu", exact=True, abrupt=True,
    ),
    Prim(
        "pow", 2, _power,
        {
            "f": "__builtin_pow",
            "i": "{T} r = 1; if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;"
            " for (; b; b >>= 1, a = ({T})(({U})a * ({U})a)) if (b & 1) r = ({T})(({U})r * ({U})a); return r;",
            "u": "{T} r = 1; for (; b; b >>= 1, a = ({T})(({U})a * ({U})a)) if (b & 1) r = ({T})(({U})r * ({U})a); return r;",
        },
        {"i": "int_pow({0}, {1})", "u": "uint_pow({0}, {1})"}, "fiu", expand=approx.pow, ulp=1,
    ),
    Prim("neg", 1, lambda a: -a, {"f": "-", "iu": "({T})(({U})0 - ({U})a)"}, {"f": "{0} * -1.0", "i": "{0} * -1", "u": "0 - {0}"}, "fiu", symbolic=True, exact=True),
    Prim(
        "abs", 1, _or_symbolic(np.abs, np.frompyfunc(lambda a: dim_max(a, -a), 1, 1)),
        {"f": "__builtin_fabs", "i": "a < 0 ? ({T})(({U})0 - ({U})a) : a", "u": "a"}, "tl.abs({0})", "fiu", symbolic=True, exact=True,
    ),
    Prim(
        "sign", 1, np.sign,
        {"f": "a > 0 ? 1 : a < 0 ? -1 : a", "i": "({T})((a > 0) - (a < 0))", "u": "a > 0"},
        {"f": "tl.where({0} > 0, 1, tl.where({0} < 0, -1, {0} + 0.0))", "i": "tl.where({0} > 0, 1, tl.where({0} < 0, -1, 0))", "u": "tl.where({0} > 0, 1, {0})"}, "fiu", exact=True, abrupt=True,
    ),
    Prim(
        "min", 2, _or_symbolic(np.minimum, _symbolic_min),
        {"f": "a != a ? a : a < b ? a : b", "iub": "a < b ? a : b"},
        {"f": f"tl.minimum({{0}}, {{1}}, {_NAN_ALL})", "iu": "tl.minimum({0}, {1})", "b": "{0} & {1}"}, "fiub", symbolic=True, identity=_greatest, exact=True,
    ),
    Prim(
        "max", 2, _or_symbolic(np.maximum, _symbolic_max),
        {"f": "a != a ? a : a > b ? a : b", "iub": "a > b ? a : b"},
        {"f": f"tl.maximum({{0}}, {{1}}, {_NAN_ALL})", "iu": "tl.maximum({0}, {1})", "b": "{0} | {1}"}, "fiub", symbolic=True, identity=_least, exact=True,
    ),
    Prim("fma", 3, lambda a, b, c: (a.astype(np.float64) * b + c).astype(a.dtype), {"f": "__builtin_fma"}, "tl.fma({0}, {1}, {2})"),
    # Rounding
    Prim("floor", 1, np.floor, {"f": "__builtin_floor"}, "tl.floor({0})", exact=True, abrupt=True),
    Prim("ceil", 1, np.ceil, {"f": "__builtin_ceil"}, "tl.ceil({0})", exact=True, abrupt=True),
    Prim("trunc", 1, np.trunc, {"f": "__builtin_trunc"}, "tl.where({0} < 0, tl.ceil({0}), tl.floor({0}))", exact=True, abrupt=True),
    Prim(
        "round", 1, np.rint, {"f": "__builtin_rint"},
        "round_half_even({0})", exact=True, abrupt=True,
    ),
    Prim("sqrt", 1, np.sqrt, {"f": "__builtin_sqrt"}, {"f32": "tl.sqrt_rn({0})", "f64": "tl.sqrt({0})"}),
    # Exponentials, logarithms, trigonometry
    _math("exp", np.exp, approx.exp, 1.1, triton="tl.exp({0})"),
    _math("expm1", np.expm1, approx.expm1, 1.5),
    _math("log", np.log, approx.log, 1, triton="tl.log({0})"),
    _math("log1p", np.log1p, approx.log1p, 1.5),
    _math("sin", np.sin, approx.sin, 1.5, triton="tl.sin({0})"),
    _math("cos", np.cos, approx.cos, 1.5, triton="tl.cos({0})"),
    _math("tan", np.tan, approx.tan, 3.5),
    _math("asin", np.arcsin, approx.asin, 2.5),
    _math("acos", np.arccos, approx.acos, 1.5),
    _math("atan", np.arctan, approx.atan, 1.5),
    _math("sinh", np.sinh, approx.sinh, 2.5),
    _math("cosh", np.cosh, approx.cosh, 1.5),
    _math("tanh", np.tanh, approx.tanh, 2.5),
    _math("asinh", np.arcsinh, approx.asinh, 2.5),
    _math("acosh", np.arccosh, approx.acosh, 2.5),
    _math("atanh", np.arctanh, approx.atanh, 2.5),
    _math("erf", _erf, _erf_expansion, 1.7, triton="tl.erf({0})"),
    Prim("sigmoid", 1, _sigmoid, {"f": "{T} e = __builtin_exp{f}(a < 0 ? a : -a); return (a < 0 ? e : 1) / (1 + e);"}, {"f64": "tl.sigmoid({0})"}, expand=approx.sigmoid, ulp=2.5),
    # Comparison and logic
    Prim("eq", 2, _compare(np.equal, _symbolic_eq), {"fiub": "=="}, "{0} == {1}", "fiubs", "bool", symbolic=True, abrupt=True),
    Prim("ne", 2, _compare(np.not_equal, _symbolic_eq, negate=True), {"fiub": "!="}, "{0} != {1}", "fiubs", "bool", symbolic=True, abrupt=True),
    Prim("lt", 2, _compare(np.less, _symbolic_lt), {"fiub": "<"}, "{0} < {1}", "fiub", "bool", symbolic=True, abrupt=True),
    Prim("le", 2, _compare(np.less_equal, _symbolic_le), {"fiub": "<="}, "{0} <= {1}", "fiub", "bool", symbolic=True, abrupt=True),
    Prim("and", 2, _or_symbolic(np.logical_and, _symbolic_and), {"b": "&"}, "{0} & {1}", "b", symbolic=True, identity=lambda _: True),
    Prim("or", 2, _or_symbolic(np.logical_or, _symbolic_or), {"b": "|"}, "{0} | {1}", "b", symbolic=True, identity=lambda _: False),
    Prim("xor", 2, _or_symbolic(np.not_equal, _symbolic_xor), {"b": "^"}, "{0} ^ {1}", "b", symbolic=True, identity=lambda _: False),
    Prim("not", 1, _or_symbolic(np.logical_not, _symbolic_not), {"b": "!"}, "~{0}", "b", symbolic=True),
    Prim("isnan", 1, np.isnan, {"f": "a != a"}, "{0} != {0}", "f", "bool", abrupt=True),
    Prim("isinf", 1, np.isinf, {"f": "__builtin_fabs{f}(a) == __builtin_inf()"}, "tl.abs({0}) == float('inf')", "f", "bool", abrupt=True),
    Prim("select", 3, _select, {"fiub": "?:"}, "tl.where({0}, {1}, {2})", "fiubs", symbolic=True, exact=True),
    Prim("require", 2, lambda ok, a: np.broadcast_arrays(ok, a)[1], {}, "{1}", "fiub", symbolic=True, exact=True),
    # Bits; shifts by the width or more give 0 (or the sign)
    Prim("bit_and", 2, np.bitwise_and, {"iu": "&"}, "{0} & {1}", "iu", identity=lambda d: -1 if d.kind == "i" else _greatest(d)),
    Prim("bit_or", 2, np.bitwise_or, {"iu": "|"}, "{0} | {1}", "iu", identity=_zero),
    Prim("bit_xor", 2, np.bitwise_xor, {"iu": "^"}, "{0} ^ {1}", "iu", identity=_zero),
    Prim("bit_not", 1, np.bitwise_not, {"iu": "({T})~a"}, "~{0}", "iu"),
    Prim("shl", 2, np.left_shift, {"iu": "({U})b < {bits} ? ({T})(({U})a << b) : 0"}, "shift_left({0}, {1}, {bits})", "iu"),
    Prim(
        "shr", 2, np.right_shift,
        {"i": "({T})(a >> (({U})b < {bits} ? b : {bits} - 1))", "u": "({U})b < {bits} ? ({T})(a >> b) : 0"},
        {"i": "shift_right({0}, {1}, {bits})", "u": "shift_right_logical({0}, {1}, {bits})"}, "iu",
    ),
    # An f32 that is a number of a narrow float
    *(
        Prim(
            convert.ROUNDING[d.name], 1, partial(_rounded, dtype=d), triton={"f32": f"{{0}}.to(tl.{d.numpy.removeprefix('ml:')}).to(tl.float32)"},
            expand=partial(convert.rounded, target=d),
        )
        for d in (F16, BF16)
    ),
    # Conversions: to integers saturating (NaN gives 0), to narrow floats rounding half to even
    Prim("cast", 1, convert.cast, {"fiub": "cast"}, kinds="fiubs", result="given", symbolic=True),
    Prim("cast_unsaturated", 1, convert.cast_unsaturated, {"fiub": "cast"}, kinds="fiub", result="given"),
    Prim("bitcast", 1, _bitcast, {"fiu": "bitcast"}, kinds="fiu", result="given"),
]
# fmt: on

TABLE: dict[str, Prim] = {row.name: row for row in _ROWS}
