"""The words of `attendant bench`, and the lines that it prints: what the programs beside this one share."""
import argparse
import json
import os
import statistics
import time

HEADS = 32

# m, n, k of products.
PRODUCTS = [(4096, 1536, 384), (4096, 384, 1536), (4096, 384, 384), (1024, 1024, 1024), (1, 4096, 4096), (8, 4096, 4096)]


def numbers(text):
    return [int(word) for word in text.split(",")]


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("what")
    parser.add_argument("--kv", type=numbers, default=[32, 8, 1])
    parser.add_argument("--widths", type=numbers)
    parser.add_argument("--lengths", type=numbers)
    parser.add_argument("--batches", type=numbers, default=[1])
    parser.add_argument("--dtypes", type=lambda text: text.split(","), default=["f32", "bf16", "f16", "int8", "int4"])
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--budget", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def say(call, budget, **fields):
    """Times `call`, after one to warm up, until the budget has passed and there were 5, or 2 in 10 seconds, and prints the line."""
    call()
    seconds, begin = [], time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < budget or len(seconds) < (5 if elapsed < 10 else 2):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    figures = dict(ms=statistics.median(seconds) * 1e3, min_ms=min(seconds) * 1e3, n=len(seconds))
    print(json.dumps(fields | figures), flush=True)
