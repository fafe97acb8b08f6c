"""The numbers and heuristics of scheduling: replacing any of them changes speed, never a result beyond rounding."""

POINT_BLOCK = 2048  # elements of the innermost loop of a pointwise kernel: one task
COLUMN_BLOCK = 64  # columns that a reduction over rows accumulates at once: four vector registers of 512 bits
SCAN_BLOCK = 1024  # columns that are scanned side by side: as long runs of memory as prefetching wants
SUM_BLOCK = 1024  # numbers of a row that are summed in one go, in the lanes of a vector register
SUM_ROWS = 256  # numbers of a column
TRANSPOSE_TILE = 32  # side of the square tiles of a transpose: one tile of f32 stays in L1
SHORT_AXIS = 16  # an innermost axis up to this long takes the next one in with it
SIZE_LITERAL = 16  # in template kernels, integers above this are parameters, so that layers share one object
ALIKE = 16  # kernels that differ in numbers alone, up to which each has a text of its own
SHAPE_ELEMENTS = 64  # integers in buffers up to this long are taken for shapes, and computed by the host
TREE_ROWS = 16, 256  # rows of a task that walks trees: as few as read them in one go, and as many as are worth a claim
TREE_STEPS = 1 << 14  # nodes that those rows come by, as far as there are so many
TREE_SUMS = 1 << 14  # elements of their sums: half of a second-level cache
