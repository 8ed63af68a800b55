"""What `attendant bench` measures, measured of zentorch, AMD's extension of PyTorch, on the CPU: `zen.py attention|decode|gemm ...`.

Takes the words of `attendant bench` and prints lines as `attendant bench --json` does; what it does not know it leaves out. See README.md.
"""
import measure
import torch
import zentorch
from measure import HEADS, PRODUCTS

OPERATORS = torch.ops.zentorch
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}

options = measure.arguments(__doc__.splitlines()[0])
torch.set_num_threads(options.threads)
torch.manual_seed(0)


def say(what, call, **fields):
    named = dict(peer="zentorch", version=zentorch.__version__, threads=options.threads, what=what)
    measure.say(call, options.budget, **named, **fields)


def rows(heads, length, d, dtype):
    return torch.randn(1, heads, length, d).to(TYPES[dtype])


@torch.no_grad()
def attention():
    dtype = "bf16" if options.precision == "bf16" else "f32"
    for d in options.widths or [64, 128]:
        for kv in options.kv:
            for length in options.lengths or [512, 2048]:
                q, k, v = rows(HEADS, length, d, dtype), rows(kv, length, d, dtype), rows(kv, length, d, dtype)
                call = lambda: OPERATORS.zentorch_sdpa(q, k, v, 0.0, True)
                say("prefill", call, dtype=dtype, kv=kv, D=d, L=length, B=1)


@torch.no_grad()
def decode():
    for d in options.widths or [128]:
        for kv in options.kv:
            for length in options.lengths or [8192]:
                for dtype in filter(TYPES.get, options.dtypes):
                    q, k, v = rows(HEADS, 1, d, dtype), rows(kv, length, d, dtype), rows(kv, length, d, dtype)
                    call = lambda: OPERATORS.zentorch_sdpa(q, k, v, 0.0, False)
                    say("decode", call, dtype=dtype, kv=kv, D=d, L=length, B=1)


@torch.no_grad()
def gemm():
    for m, n, k in PRODUCTS:
        for dtype in ("f32", "bf16"):
            a, b = torch.randn(m, k).to(TYPES[dtype]), torch.randn(n, k).to(TYPES[dtype])
            packed = OPERATORS.zentorch_weight_prepack_for_linear(b)
            call = lambda: OPERATORS.zentorch_linear_unary(a, packed, is_weight_prepacked=True)
            say("gemm", call, dtype=dtype, shape=f"{m}x{n}x{k}")


if options.what in ("attention", "decode", "gemm"):
    globals()[options.what]()
