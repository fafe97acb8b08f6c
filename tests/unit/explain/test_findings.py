"""What is said about where the time goes: the most important first, and nothing that is not so."""

from __future__ import annotations

from unit.explain.reports import report, step, times

from intaglio.compiler.explain.findings import findings


def test_the_largest_kind_is_told_first() -> None:
    made = report([step(0), step(1), step(2, "LoopNest", 0)], [times(2e-2), times(2e-2), times(1e-2)])
    assert findings(made)[0] == "80% of the time is in 2 matrix products, at 50% of what arithmetic allows."


def test_what_could_gain_most() -> None:
    made = report([step(0), step(1, "LoopNest", 0, operators="Add")], [times(1e-2), times(1e-2)])
    (sentence,) = [each for each in findings(made) if "could gain" in each]
    assert sentence.startswith(
        "Step 1 (Add) could gain most: 50% of the time, at 1% of what memory allows; at the limit"
    )
    assert sentence.endswith("50% shorter.")


def test_kernels_at_their_limit_gain_nothing() -> None:
    assert findings(report([step(0)], [times(1e-2)])) == [
        "100% of the time is in one step of the kind Matmul, at 100% of what arithmetic allows."
    ]


def test_waiting_is_told_where_it_happens() -> None:
    made = report([step(0), step(1)], [times(1e-2), times(1e-2, at_work=0.6)])
    (sentence,) = [each for each in findings(made) if "waiting" in each]
    assert sentence.startswith(
        "20% of the threads' time is spent waiting for other threads, most of it in step 1 (node1)"
    )
    assert "at work for 60% of it" in sentence


def test_many_small_steps_and_python() -> None:
    made = report([step(i) for i in range(4)], [times(1e-2)] * 4, between=4e-2, around=2e-2)
    assert findings(made)[1:] == [
        "40% of the time passes between steps: there are 4, 10000.0 µs apart.",
        "20% of the time passes in Python, around the program: 20000 µs.",
    ]


def test_at_most_three() -> None:
    made = report([step(0), step(1, flops=0)], [times(1e-2, 0.5)] * 2, between=1e-2, around=1e-2)
    assert len(findings(made)) == 3 and len(findings(made, most=1)) == 1


def test_a_model_without_steps() -> None:
    assert findings(report([], [], between=1e-6)) == [
        "100% of the time passes between steps: there are 0, 1.0 µs apart."
    ]
