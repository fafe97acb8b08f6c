"""The one list of what is not as in onnxruntime, with a reason each; docs/coming_from_onnxruntime.md is made of it.

python -m tests.parity.differences     writes the page
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming_from_onnxruntime.md"

# Public names of the module onnxruntime 1.31 that are absent here.
ABSENT = {
    "OrtEpContextData": "contexts of execution providers that compile; this one keeps its code in a cache of its own",
    "OrtEpContextDataBuffer": "as OrtEpContextData",
    "OrtSyncStream": "streams of a GPU",
    "contextlib": "a module that onnxruntime imports for itself",
    "onnxruntime_validation": "checks of onnxruntime's installation",
}


# The same of its native module, `onnxruntime.capi.onnxruntime_pybind11_state`.
ABSENT_INSIDE = {
    "OrtEpContextData": "as above",
    "OrtEpContextDataBuffer": "as above",
    "OrtSyncStream": "as above",
    "SessionObjectInitializer": "how sessions are made inside of it",
    "get_session_initializer": "as SessionObjectInitializer",
    "SparseBlockSparseView": "nothing makes a tensor of this format",
    "get_all_operator_schema": "the operators of ONNX are in `onnx.defs`; docs/onnx_coverage.md tells which run",
    "get_all_opkernel_def": "kernels are generated for each model",
    "get_registered_ep_kernel_defs": "as get_all_opkernel_def",
    "opkernel": "as get_all_opkernel_def",
    "schemadef": "as get_all_operator_schema",
    "get_compatibility_info_from_model": "of models compiled for plug-in execution providers",
    "get_compatibility_info_from_model_bytes": "as get_compatibility_info_from_model",
    "get_model_compatibility_for_ep_devices": "as get_compatibility_info_from_model",
    "get_hardware_device_ep_incompatibility_details": "as get_compatibility_info_from_model",
    "pack_fp4_weights_for_cuda_moe_gemm": "of one kernel of its CUDA build",
    "quantize_qdq_matmul_2bits": "no toolkit uses it, and it crashes there",
}


# Operators of onnxruntime's CPU provider in the domain com.microsoft that are absent here.
ABSENT_OPERATORS = {
    "BeamSearch": "a program around other models",
    "GreedySearch": "as BeamSearch",
    "Sampling": "as BeamSearch",
    "WhisperBeamSearch": "as BeamSearch",
    "MatMulFpQ4": "its weights are in an undocumented form of onnxruntime's kernels; MatMulNBits has taken its place",
    "SparseToDenseMatMul": "sparse tensors as inputs",
}

# Attributes and inputs of others that are absent, in the order of onnxruntime's schemas, attributes first.
ABSENT_PARTS = {
    "GroupQueryAttention": ("qk_norm_epsilon", "q_norm_weight", "k_norm_weight"),  # which the CPU provider refuses
    "QMoE": (  # likewise: a third layer, and weights of 4 or 8 bits that are floats
        "fc3_expert_weight_bits", "fc1_global_scale", "fc2_global_scale", "fc1_act_scale", "fc2_act_scale",
        "fc1_act_block_scale", "fc2_act_block_scale",
    ),
}  # fmt: skip


class Difference(NamedTuple):
    what: str
    there: str
    here: str
    why: str


# The same call with another outcome.
DIFFERENT = [
    Difference(
        "inputs that disagree on a named dimension", "not checked: a size of 1 is broadcast, others fail in a kernel",
        "a size of 1 is broadcast, by code that is compiled when it first happens; for others InvalidArgument, which "
        "names the input, the dimension and both sizes",
        "a mask of the wrong length must not go unnoticed; the kernel that fails does not tell its name",
    ),
    Difference(
        "outputs and `OrtValue.numpy()` of float8e4m3fn", "raw uint8", "`ml_dtypes.float8_e4m3fn`",
        "one rule for all types that numpy lacks; `.view(numpy.uint8)` gives the bits",
    ),
    Difference(
        "inputs of unknown rank", "run", "NotImplemented, when the model is loaded",
        "kernels are compiled for ranks; a declaration with named dimensions serves as well",
    ),
    Difference(
        "`SessionOptions.register_custom_ops_library`", "loads kernels of a shared library", "Fail",
        "they are of onnxruntime's interface; `register_custom_op` takes a Python function for an operator",
    ),
    Difference(
        "back references in the pattern of RegexFullMatch; classes of Unicode (`\\p`)",
        "RE2: Fail; matched", "Python's `re`: matched; Fail, when the model runs",
        "an engine that is there; classes such as `\\d` are of ASCII in both",
    ),
    Difference(
        "labels of a TreeEnsembleClassifier with weights for both of two classes, or for no class in some leaf",
        "1 or 0 by the sign of a score, whatever the labels; a class without a weight in a row's leaves is left out",
        "the label of the highest score", "ONNX: the top class for each point",
    ),
    Difference(
        "casts of floats to integers that they do not fit in", "what x86 does: the least number, or the low bits",
        "the nearest number that fits; NaN gives 0", "undefined in ONNX, and the same on all machines here",
    ),
    Difference(
        "casts of floats to integers of 2 and 4 bits", "rounded half to even", "cut off, as for all other integers",
        "the cases of ONNX's own suite ask for it",
    ),
    Difference(
        "casts of double to float16, bfloat16 and float8", "rounded to float first", "rounded once",
        "what lies just beside the middle of two neighbours goes to the nearer one",
    ),
    Difference(
        "`ReduceSum`, `ReduceProd`, `ReduceSumSquare`, `ReduceL1` of integers that do not fit",
        "the least or greatest number of the type", "wraps around",
        "ONNX says nothing of it; so do all other sums and products of integers, here and there",
    ),
    Difference(
        "big-endian arrays", "misread: wrong numbers", "swapped", "an error of onnxruntime's",
    ),
    Difference(
        "text of a wrong element type", "ends with the expected type", "the same, then `for input: NAME`",
        "it tells which one",
    ),
    Difference(
        "text of sizes that do not fit, inside of a run", "`Non-zero status code returned while running Mul node. "
        "Name:'mul' Status Message: ...`", "the same, with other words for the reason: in the dimensions' names",
        "all sizes are checked before the first kernel runs",
    ),
    Difference(
        "text of TypeErrors", "lists the native signatures", "the same beginning, then what is wrong", "shorter",
    ),
    Difference(
        "text of native checks", "begins with a source file and a line of onnxruntime's", "the message alone",
        "the file is not there",
    ),
    Difference(
        "an enumeration of a number that it has not", "an object printed as `???`", "ValueError",
        "a typo is found early",
    ),
    Difference(
        "models of IR version 14, opsets 27 and 28", "refused", "run", "they are released",
    ),
    Difference(
        "profiles", "one event per node; memory counters",
        "one event per kernel, whose arguments name all nodes in it; a counter of the memory of intermediate values",
        "nodes are fused, and the memory of a run is one block",
    ),
    Difference(
        "random operators", "streams that the attribute `seed` or `set_seed` start", "other streams, started likewise",
        "onnxruntime's generator is not specified",
    ),
    Difference(
        "threads", "a pool for each session, polling by default",
        "one pool for the process, which sleeps when idle; affinities of a session are those of the pool from then on",
        "sessions do not starve each other, and containers' limits are respected",
    ),
    Difference(
        "`optimized_model_filepath`", "constants folded and nodes fused, in its own operators; `.ort` files",
        "constants folded and idle nodes gone, in ONNX's operators; `.ort` files are refused",
        "what is fused here has no name in ONNX; other runtimes read the file",
    ),
    Difference(
        "MatMul of a batch of 1 and a batch of 0", "an error", "no matrices", "numpy's rules, which ONNX refers to",
    ),
    Difference(
        "`enable_cuda_graph`", "off; inputs and outputs then keep their addresses, in the GPU's memory",
        "on; they may be anywhere, and runs that come again are captured", "graphs are kept for several shapes and "
        "addresses; `\"0\"` turns them off",
    ),
    Difference(
        "`SparseTensor.to_cuda` where there is a GPU", "a copy on the GPU", "the error of onnxruntime's CPU package",
        "no kernel reads sparse tensors",
    ),
    Difference(
        "arrays of the CPU that are bound to inputs on a GPU", "copied when they are bound", "copied by each run",
        "as on the CPU, a run sees what is in them then; values on the GPU are not copied at all",
    ),
    Difference(
        "arrays that `run` returns", "`base` is a capsule", "`base` is None: they own their memory",
        "which makes them ordinary arrays",
    ),
    Difference(
        "Resize by scales with `align_corners`", "corners of the output as it is, its size rounded down",
        "corners of the size before it is rounded", "ONNX's own tests have these numbers",
    ),
    Difference(
        "Resize by a scale that leaves the size of an axis as it is, as 1.2 does for 3 elements",
        "the axis is copied", "the axis is resampled", "so the formulas of the standard say, and ONNX's reference",
    ),
    Difference(
        "pools, and ConvTranspose, whose window is larger than the image", "one window, which reaches beyond it, or an "
        "error", "no window: an axis of no elements, or an error where the formula gives less",
        "the formulas of the standard round down",
    ),
    Difference(
        "`auto_pad` with dilations, or with strides larger than the kernel", "an error, or negative padding",
        "padding by what the dilated kernel needs, and none at least", "what ONNX says of it",
    ),
    Difference(
        "MaxUnpool with `output_shape`", "indices count in the output", "indices count in the image that was pooled",
        "ONNX's own tests have these numbers",
    ),
    Difference(
        "MeanVarianceNormalization of numbers that are all the same", "NaN", "0",
        "the function of the standard adds 1e-9 to the deviation",
    ),
    Difference(
        "Reshape to a constant shape with -1, of a batch of none", "an error", "what is left of the other dims",
        "the dim that -1 stands for does not depend on the batch",
    ),
    Difference(
        "Reshape of a tensor without elements to a shape that is computed, with a 0", "the dim of the input", "0",
        "a batch of none is meant; where there are elements, 0 stands for the dim of the input here, too",
    ),
    Difference(
        "Pad with mode `wrap` of a tensor with an axis of no elements that is not padded", "an error",
        "a tensor without elements", "nothing is missing",
    ),
    Difference(
        "GlobalAveragePool, GroupNormalization and Col2Im of no channels", "an error", "a tensor without elements",
        "nothing is missing",
    ),
    Difference(
        "Concat with a part of no elements whose other dims are not those of the rest", "the part is passed over",
        "an error", "the standard demands that they are the same",
    ),
    Difference(
        "AffineGrid with `align_corners` along an axis of one element", "1", "-1", "ONNX's reference begins there",
    ),
    Difference(
        "MaxPool of NaN in float32", "passed over", "NaN", "as in ReduceMax, and in numpy",
    ),
    Difference(
        "losses with `reduction=mean` of no targets", "0", "NaN", "the mean of nothing is undefined, as in numpy",
    ),
    Difference(
        "Pad with mode `reflect` by more elements than an axis has", "an error", "reflected again and again",
        "as numpy; the standard's own example pads 2 elements by 2",
    ),
    Difference(
        "Dropout before opset 12, the mask", "zeros", "ones", "everything is kept, as the mask says since opset 12",
    ),
    Difference(
        "GatherND whose batches differ", "those of the indices are shared out among those of the data", "an error",
        "the standard demands that they are the same",
    ),
    Difference(
        "the scores of Attention (`qk_matmul_output`) where a mask forbids a key", "the least float",
        "minus infinity", "this is what the standard adds there",
    ),
    Difference(
        "Reshape with `allowzero` to a shape with both 0 and -1", "run, with 0 for the -1", "an error",
        "the standard forbids it: any number would do",
    ),
    Difference(
        "indices, lengths and places out of range where nothing is read or written, as nothing is there",
        "an error", "not noticed", "a kernel looks at an index when it uses it",
    ),
    Difference(
        "QLinearSoftmax of few elements, with a share of nearly 1 in the output's steps", "0, as a sum overflows",
        "the share", "an error of onnxruntime's",
    ),
    Difference(
        "MatMulNBits with blocks of more than 256; RotaryEmbedding of more than 2^31 elements in a batch; "
        "DynamicQuantizeLSTM with zero points that are inputs", "an error", "run", "limits of onnxruntime's kernels",
    ),
    Difference(
        "MatMulNBits with `g_idx` and packed zero points", "the zero points are passed over", "they are subtracted",
        "its own documentation; an error of the CPU provider's",
    ),
    Difference(
        "MoE of float16", "weights are read as if they were transposed", "as in float32", "as above",
    ),
    Difference(
        "QMoE", "activations are rounded to 8 bits in some products", "products are of floats",
        "the first digits are the same, and more of them are right",
    ),
    Difference(
        "GroupQueryAttention, behind the valid keys: `present`, and `output_qk` of a shorter batch",
        "zeros, or what was in memory", "what the past had there, or what was given; zeros", "nothing reads it",
    ),
    Difference(
        "SparseAttention", "caches must be bound to inputs and outputs at once; of batches that are not all as long, "
        "the shorter have a result of 0", "caches may be anywhere; each batch as if it were alone",
        "nothing demands it",
    ),
    Difference(
        "DecoderMaskedMultiHeadAttention of packed queries, keys and values; of beams without a mask and a bias",
        "an error, or a crash", "run", "its own documentation",
    ),
    Difference(
        "WordConvEmbedding of words without characters", "what was in memory", "0", "its own documentation is silent",
    ),
    Difference(
        "Unique of NaN", "an entry of some other element", "one element, the last", "as numpy has it",
    ),
]  # fmt: skip

# What fails on onnxruntime and works here.
BETTER = [
    "numpy scalars, tuples, Python numbers, memoryviews, objects with `__array__`, DLPack and torch tensors as inputs",
    "bfloat16, float8 and int4 in and out of `run`, as arrays of `ml_dtypes`",
    "`run(['name'])` of an intermediate value: the model is compiled once more, with that output, when it is first "
    "named",
    "models as `bytearray`, `memoryview` and `onnx.ModelProto`",
    "a failed `set_providers` leaves the session as it was",
    "`with`, `close()`, and `pickle` of sessions and options",
    "`io_binding`: an output that was bound without memory may change its shape from run to run; the memory of an "
    "output may be that of an input",
    "`run_async` with one thread; any number of runs in flight",
    "`copy_tensors` between tensors of the CPU; bool tensors from DLPack",
    "tensors of torch on a GPU as inputs of `run`, without a copy; values on a GPU as inputs of sessions on the CPU",
    "messages through Python's `logging`, as the logger `intaglio`",
    "a warning, when a session is created, of what makes its model slow, with a remedy",
    "compiled code is cached on disk: the second start of a model takes milliseconds",
]

# Options and functions that are accepted and change nothing.
ACCEPTED = {
    "enable_cpu_mem_arena, enable_mem_pattern, enable_mem_reuse": "the memory of a run is planned when it is compiled",
    "execution_mode, execution_order, inter_op_num_threads": "all threads work on one kernel at a time",
    "use_deterministic_compute": "results never depend on how work is shared out",
    "log_verbosity_level": "verbose messages have no levels",
    "only_execute_path_to_fetches": "outputs of one program are computed together",
    "session.intra_op.allow_spinning and the like": "INTAGLIO_SPIN_US, for the process",
    "session.disable_prepacking, session.use_env_allocators, mlas.*, ep.*": "parts of onnxruntime's own",
    "session.use_device_allocator_for_initializers": "as session.use_env_allocators",
    "session.use_ort_model_bytes_directly, ..._for_initializers, session.use_memory_mapped_ort_model": (
        "weights are mapped into memory from the cache"
    ),
    "session.disable_quant_qdq and the like, optimization.*, disabled_optimizers": (
        "the passes are others; graph_optimization_level chooses them"
    ),
    "session.graph_optimizations_loop_level": "each pass runs as often as it has to",
    "session.disable_aot_function_inlining, session.dynamic_block_base": "functions are inlined; work is cut once",
    "session.collect_node_memory_stats_to_file, session.max_shape_override": "the memory of a run is planned",
    "create_and_register_allocator, OrtArenaCfg": "sessions use the memory of the process",
    "enable_telemetry_events, disable_telemetry_events": "nothing is ever sent",
    "disable_fallback, enable_fallback": "there is no provider that could fail during a run",
    "set_ep_dynamic_options, release_captured_graph": "matters of other providers",
    "get_tuning_results, set_tuning_results": (
        "measured schedules of the CPU ([Autotuning](tuning.md)), which stay in the database of the machine"
    ),
    "options of CUDAExecutionProvider, but device_id, use_tf32, enable_cuda_graph and user_compute_stream": (
        "they are about onnxruntime's memory and kernels"
    ),
    "AzureExecutionProvider": "listed as available, as in onnxruntime's package, and of no effect",
}


def page() -> str:
    """The text of the page."""
    lines = [
        "# Coming from onnxruntime",
        "",
        "`import intaglio as ort` serves a program that was written for onnxruntime 1.31: the same classes, functions,",
        "signatures, exceptions and messages. `tests/parity` runs the same scripts on both and compares. What is not",
        "the same is listed here, completely; this page is written by",
        "",
        "    python -m tests.parity.differences",
        "",
        "## Better",
        "",
        *[f"- {each}" for each in BETTER],
        "",
        "## Different",
        "",
        "| what | onnxruntime | Intaglio | why |",
        "|---|---|---|---|",
        *[f"| {each.what} | {each.there} | {each.here} | {each.why} |" for each in DIFFERENT],
        "",
        "## Accepted, without effect",
        "",
        "| option or function | because |",
        "|---|---|",
        *[f"| {name} | {why} |" for name, why in ACCEPTED.items()],
        "",
        "## Absent",
        "",
        "| name | because |",
        "|---|---|",
        *[f"| `{name}` | {why} |" for name, why in ABSENT.items()],
        "",
        "Operators of the domain `com.microsoft`, of those that its CPU provider has:",
        "",
        "| name | because |",
        "|---|---|",
        *[f"| `{name}` | {why} |" for name, why in ABSENT_OPERATORS.items()],
        "",
        "In `onnxruntime.capi.onnxruntime_pybind11_state`:",
        "",
        "| name | because |",
        "|---|---|",
        *[f"| `{name}` | {why} |" for name, why in ABSENT_INSIDE.items()],
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
