"""What `attendant bench` measures, measured of PyTorch on the CPU: `pytorch.py attention|decode|mla|gemm|scan|train [--kv N,...] ...`.

Takes the words of `attendant bench` and prints lines as `attendant bench --json` does; what it does not know it leaves out. See README.md.
"""
import measure
import torch
import torch.nn.functional as F
from measure import HEADS, PRODUCTS
from torch import nn

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}

options = measure.arguments(__doc__.splitlines()[0])
torch.set_num_threads(options.threads)
torch.manual_seed(0)


def say(what, call, **fields):
    named = dict(peer="PyTorch", version=torch.__version__, threads=options.threads, what=what)
    measure.say(call, options.budget, **named, **fields)


def heads_repeated(q, k, v, causal):
    times = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(times, dim=1) if times > 1 else x for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def heads_grouped(q, k, v, causal):
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)


def heads_as_rows(q, k, v, _causal):
    """One query a head: those of a key head are rows of one product."""
    batch, heads, rows, width = q.shape
    out = F.scaled_dot_product_attention(q.reshape(batch, k.shape[1], heads // k.shape[1] * rows, width), k, v)
    return out.reshape(batch, heads, rows, width)


def ways(kv, decoding):
    if kv == HEADS:
        return [heads_repeated]
    return [heads_as_rows] if decoding else [heads_repeated, heads_grouped]


def attention():
    dtype = "bf16" if options.precision == "bf16" else "f32"
    for d in options.widths or [64, 128]:
        for kv in options.kv:
            for length in options.lengths or [512, 2048]:
                shapes = [(1, HEADS, length, d), (1, kv, length, d), (1, kv, length, d)]
                q, k, v = (torch.randn(shape).to(TYPES[dtype]).requires_grad_() for shape in shapes)
                gradient = torch.randn_like(q)
                for way in ways(kv, decoding=False):
                    def forward():
                        with torch.no_grad():
                            way(q, k, v, True)

                    def both():
                        q.grad = k.grad = v.grad = None
                        way(q, k, v, True).backward(gradient)

                    shape = dict(variant=way.__name__, dtype=dtype, kv=kv, D=d, L=length, B=1)
                    say("prefill", forward, **shape)
                    say("bwd", both, **shape)


@torch.no_grad()
def decode():
    for batch in options.batches:
        for d in options.widths or [128]:
            for kv in options.kv:
                for length in options.lengths or [8192]:
                    for dtype in filter(TYPES.get, options.dtypes):
                        q, k, v = (
                            torch.randn(batch, heads, rows, d).to(TYPES[dtype])
                            for heads, rows in [(HEADS, 1), (kv, length), (kv, length)]
                        )
                        for way in ways(kv, decoding=True):
                            say("decode", lambda: way(q, k, v, False), variant=way.__name__, dtype=dtype, kv=kv, D=d, L=length, B=batch)


@torch.no_grad()
def mla():
    heads, latent, rotated, scale = 16, 512, 64, 192**-0.5
    for batch in options.batches:
        for length in options.lengths or [8192]:
            for dtype in filter(TYPES.get, options.dtypes):
                q = torch.randn(batch, heads, latent + rotated).to(TYPES[dtype])
                rows = torch.randn(batch, length, latent + rotated).to(TYPES[dtype])

                def products():
                    weights = (torch.bmm(q, rows.transpose(1, 2)) * scale).softmax(-1)
                    return torch.bmm(weights, rows[..., :latent])

                def whole_rows():
                    """The values are the whole rows, and what was rotated is thrown away: that way it is flash attention."""
                    both = rows.unsqueeze(1)
                    return F.scaled_dot_product_attention(q.unsqueeze(1), both, both, scale=scale)[..., :latent]

                for way in (products, whole_rows):
                    say("mla", way, variant=way.__name__, dtype=dtype, L=length, B=batch)


@torch.no_grad()
def gemm():
    for m, n, k in PRODUCTS:
        for dtype in ("f32", "bf16"):
            a, b = torch.randn(m, k).to(TYPES[dtype]), torch.randn(n, k).to(TYPES[dtype])
            say("gemm", lambda: F.linear(a, b), dtype=dtype, shape=f"{m}x{n}x{k}")


def scan():
    """The loops that a person writes: one row after the other, 8 heads."""
    heads = 8
    for d in options.widths or [64]:
        for length in options.lengths or [2048]:
            keys = F.normalize(torch.randn(length, heads, d), dim=-1)
            values, gates = torch.randn(length, heads, d), 0.9 + 0.1 * torch.rand(length, heads)

            def loop(delta, k, v):
                state, rows = torch.zeros(heads, d, d), []
                for t in range(length):
                    state = state * gates[t, :, None, None]
                    row = v[t]
                    if delta:
                        row = gates[t, :, None] * (row - torch.einsum("hkv,hk->hv", state, k[t]))
                    state = state + k[t, :, :, None] * row[:, None, :]
                    rows.append(torch.einsum("hkv,hk->hv", state, k[t]))
                return torch.stack(rows)

            for what, delta in (("linear", False), ("delta", True)):
                with torch.no_grad():
                    say(what, lambda: loop(delta, keys, values), dtype="f32", D=d, L=length)
                k, v = keys.clone().requires_grad_(), values.clone().requires_grad_()

                def both():
                    k.grad = v.grad = None
                    loop(delta, k, v).sum().backward()

                say(f"{what}-bwd", both, dtype="f32", D=d, L=length)


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(4 * d, d, bias=False)

    def forward(self, x):
        batch, length, d = x.shape
        parts = self.qkv(self.before(x)).chunk(3, -1)
        q, k, v = (part.view(batch, length, self.heads, d // self.heads).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, d))
        return x + self.down(F.gelu(self.up(self.between(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary, length, d=384, heads=6, layers=6):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, d), nn.Embedding(length, d)
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocabulary, bias=False)

    def forward(self, ids, wanted):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), wanted.flatten())


def train():
    batch, length, vocabulary = 16, 256, 65
    model = Gpt(vocabulary, length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    ids, wanted = (torch.randint(0, vocabulary, (batch, length)) for _ in range(2))

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.precision == "bf16"):
            loss = model(ids, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    options.budget = 0
    say("train", step, mode=options.precision)


known = dict(attention=attention, decode=decode, mla=mla, gemm=gemm, scan=scan, train=train)
if options.what in known:
    known[options.what]()
