"""The holes of a kernel template: C texts of one kernel's buffers, sizes, prologue values and epilogue statements.

In: a Kernel, and the C names that its template gives to loop variables. Out: strings for the template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...kernel.ir import Kernel, Stage
from ...scalar.dim import Size, Symbol
from ...scalar.dtype import DType
from ...scalar.expr import Call, Expr, Local
from .expr import PRIMARY, Functions, Printer, Scope, ctype, element_at, value_type


class Prelude:
    """The head of a source, which becomes text when the template is rendered, with all functions printed until then."""

    def __init__(self, functions: Functions):
        self._functions = functions

    def __str__(self) -> str:
        return self._functions.prelude


class Holes:
    """Prints the parts of one kernel; buffers are b0, b1, ..., sizes n0, n1, ... in the order of the kernel's."""

    def __init__(self, kernel: Kernel, names: Mapping[Symbol, str] | None = None):
        self.kernel = kernel
        self.names: dict[Symbol, str] = {s: f"n{i}" for i, s in enumerate(kernel.sizes)} | dict(names or {})
        self.functions = Functions()
        self.prelude = Prelude(self.functions)
        self.printer = Printer(self.functions, self.names, [f"b{i}" for i in range(len(kernel.params))])

    def frame(self, name: str) -> dict[str, object]:
        """The holes of every kernel's template: the function's name, the head of the source, and the function's first
        and last lines."""
        return {
            "name": name, "prelude": self.prelude, "declarations": self.declarations(), "conclusion": self.conclusion(),
        }  # fmt: skip

    def declarations(self) -> list[str]:
        """The first lines: local names for the parameters of the kernel's function.

        In `buf` the buffers are followed by the address for faults, if the kernel may find any, and if accesses are
        checked, by the buffers' numbers of elements and the bytes of scratch."""
        lines = [f"const int64_t n{i} = p[{i}];" for i in range(len(self.kernel.sizes))]
        count = len(self.kernel.params)
        first_extent = count + bool(self.kernel.faults)
        for i, param in enumerate(self.kernel.params):
            const = "" if param.written else "const "
            pointer = f"{const}{ctype(param.dtype)} *restrict b{i} = buf[{i}];"
            lines.append(f"{pointer} EXTENT(b{i}, (int64_t)buf[{first_extent + i}]);")
        lines += [f"uint64_t fault{i} = 0; /* other than 0 where it was found */" for i in range(self.kernel.faults)]
        lines.append(f"EXTENT(scratch, (int64_t)buf[{first_extent + count}]);")
        sizes = (f"n{i}" for i in range(len(self.kernel.sizes)))
        return [*lines, f"{', '.join(f'(void){name}' for name in ('p', *sizes))}; /* not every kernel uses them */"]

    def conclusion(self) -> list[str]:
        """The last lines: they report the faults that were found, as other threads may do at the same time."""
        faults = f"(intaglio_word *)buf[{len(self.kernel.params)}]"
        return [
            f"if (fault{i}) __atomic_fetch_or({faults}, (uint64_t)1 << {i}, __ATOMIC_RELAXED);"
            for i in range(self.kernel.faults)
        ]

    def buffer(self, number: int) -> str:
        return self.printer.buffers[number]

    def size(self, x: Size) -> str:
        """C text of a size as a primary expression."""
        return self.printer.size(x, PRIMARY)

    def value(self, value: Expr, acc: str = "acc") -> tuple[list[str], str]:
        """Statements, and the text of the value in terms of them."""
        self.printer.acc = acc
        lines, (text,) = self.printer.statements([value])
        return lines, text

    def epilogue(self, stages: Sequence[Stage], acc: str) -> list[str]:
        """Statements of epilogue stages at one element; `acc` is the C name of the accumulated value."""
        printer = self.printer
        printer.acc = acc
        lines: list[str] = []
        values: dict[int, str] = {}

        def local(e: Local) -> str:
            return values[e.slot]

        printer.local = local
        for slot, stage in enumerate(stages):
            scope = Scope(printer, {}, 1, stage.lets)
            value = stage.value if stage.store is None else narrowed(stage.value, self.stored(stage))
            (text,) = scope.add([value])
            if stage.store is not None:
                scope.require(stage.store.index)
            lines += scope.lines[0]
            if stage.store is None:
                values[slot] = printer.temporary()
                lines.append(f"const {value_type(value.dtype)} {values[slot]} = {text[0]};")
            else:
                element = element_at(self.buffer(stage.store.buffer), printer.size(stage.store.index))
                lines.append(f"{element} = {text[0]};")
        return lines

    def stored(self, stage: Stage) -> DType:
        """The dtype of the buffer that a stage stores to."""
        assert stage.store is not None
        return self.kernel.params[stage.store.buffer].dtype


def narrowed(value: Expr, dtype: DType) -> Expr:
    """`value` converted to `dtype`, if it has another."""
    return value if value.dtype == dtype else Call("cast", (value,), dtype)
