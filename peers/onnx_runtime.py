"""What `attendant bench` measures, measured of onnxruntime's GroupQueryAttention on the CPU: `onnx_runtime.py attention|decode ...`.

Takes the words of `attendant bench` and prints lines as `attendant bench --json` does; what it does not know it leaves out. See README.md.
"""
import measure
import numpy
import onnxruntime
from measure import HEADS
from onnx import TensorProto, helper

TYPES = {"f32": (numpy.float32, TensorProto.FLOAT)}

options = measure.arguments(__doc__.splitlines()[0])


def session(batch, rows, kv, d, length, kind):
    """One operator; with a past where there are fewer rows than positions."""
    past = length > rows
    tensor = helper.make_tensor_value_info
    cache = [batch, kv, length, d]
    inputs = [tensor("q", kind, [batch, rows, HEADS * d])]
    inputs += [tensor(name, kind, [batch, rows, kv * d]) for name in ("k", "v")]
    inputs += [tensor(name, kind, cache) for name in ("past_k", "past_v") if past]
    inputs += [tensor("last", TensorProto.INT32, [batch]), tensor("total", TensorProto.INT32, [1])]
    outputs = [tensor("out", kind, [batch, rows, HEADS * d])] + [tensor(name, kind, cache) for name in ("new_k", "new_v")]
    names = ["q", "k", "v", *(["past_k", "past_v"] if past else ["", ""]), "last", "total"]
    node = helper.make_node(
        "GroupQueryAttention", names, ["out", "new_k", "new_v"], domain="com.microsoft", num_heads=HEADS, kv_num_heads=kv
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "attention", inputs, outputs), opset_imports=opsets, ir_version=10)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def say(what, dtype, batch, rows, kv, d, length):
    kind, code = TYPES[dtype]
    random = numpy.random.default_rng(0).standard_normal(65536).astype(kind)
    new = lambda *shape: onnxruntime.OrtValue.ortvalue_from_numpy(numpy.resize(random, shape))
    integers = lambda values: onnxruntime.OrtValue.ortvalue_from_numpy(numpy.array(values, numpy.int32))
    run = session(batch, rows, kv, d, length, code)
    q, out = new(batch, rows, HEADS * d), new(batch, rows, HEADS * d)
    k, v = (new(batch, rows, kv * d) for _ in range(2))
    cached_k, cached_v = (new(batch, kv, length, d) for _ in range(2))
    inputs = dict(q=q, k=k, v=v, last=integers([length - 1] * batch), total=integers([length]))
    if length > rows:
        # Past and present are one buffer, as a runtime keeps them, so that the cache is not copied.
        inputs.update(past_k=cached_k, past_v=cached_v)
    binding = run.io_binding()
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, value)
    for name, value in dict(out=out, new_k=cached_k, new_v=cached_v).items():
        binding.bind_ortvalue_output(name, value)
    shape = dict(dtype=dtype, kv=kv, D=d, L=length, B=batch, threads=options.threads)
    named = dict(peer="onnxruntime", version=onnxruntime.__version__, what=what)
    measure.say(lambda: run.run_with_iobinding(binding), options.budget, **named, **shape)


if options.what == "attention" and options.precision == "f32":
    for d in options.widths or [64, 128]:
        for kv in options.kv:
            for length in options.lengths or [512, 2048]:
                say("prefill", "f32", 1, length, kv, d, length)
elif options.what == "decode":
    for batch in options.batches:
        for d in options.widths or [128]:
            for kv in options.kv:
                for length in options.lengths or [8192]:
                    # Half precision is computed by way of f32 copies of everything: seconds a call.
                    if "f32" in options.dtypes:
                        say("decode", "f32", batch, 1, kv, d, length)
