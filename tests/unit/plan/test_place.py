"""Which memory values are in, where a program runs on two sides."""

from __future__ import annotations

import onnx.parser

from intaglio.compiler.driver import lower_model
from intaglio.compiler.kernel.ir import Launch, Loop
from intaglio.compiler.options import Options

LOOP = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[100] x, int64 n) => (float[100] last, float[k, 100] rows) {
    go = Constant <value = bool {1}> ()
    last, rows = Loop (n, go, x) <body = step (int64 i, bool more, float[100] s) => (bool again, float[100] t, float[100] row) {
        again = Identity (more)
        t = Exp (s)
        row = Sin (t)
    }>
}
"""  # noqa: E501


def test_rows_of_a_loop_are_kept_where_it_writes_them() -> None:
    program = lower_model(onnx.parser.parse_model(LOOP).SerializeToString(), Options(target="gpu:interpreter")).program
    assert program is not None
    (loop,) = (step for step in program.steps if isinstance(step, Loop))
    written = {b for x in loop.body if isinstance(x, Launch) and x.device for b in x.buffers}
    assert loop.rows and set(loop.rows) <= written
