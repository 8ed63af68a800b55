"""A published model in openvino-genai: `openvino_model.py MODEL [--prompts N,...] [--generate N] [--threads N]`, MODEL a GGUF file.

Prints a line for each length of the prompt: tokens a second of the prompt, and of generation after it, and before these the seconds
that loading took with the first token. Prefix caching is off, so that every prompt is computed.
"""

import argparse
import json
import random
import time

import numpy

start = time.perf_counter()
import openvino as ov
import openvino_genai as genai

known = argparse.ArgumentParser()
known.add_argument("model")
known.add_argument("--prompts", default="512,4096")
known.add_argument("--generate", type=int, default=64)
known.add_argument("--threads", type=int, default=2)
options = known.parse_args()


def say(**values):
    print(json.dumps({"peer": "openvino-genai", "version": genai.__version__, "threads": options.threads, **values}), flush=True)


scheduler = genai.SchedulerConfig()
scheduler.enable_prefix_caching = False
scheduler.cache_size = 1
scheduler.max_num_batched_tokens = 16384
pipeline = genai.LLMPipeline(
    options.model, "CPU", {"scheduler_config": scheduler, "INFERENCE_NUM_THREADS": options.threads, "NUM_STREAMS": 1}
)
draw = random.Random(0)


def run(length, new):
    ids = ov.Tensor(numpy.array([[draw.randrange(1000, 40000) for _ in range(length)]], dtype=numpy.int64))
    config = genai.GenerationConfig(max_new_tokens=new, ignore_eos=True, do_sample=False)
    return pipeline.generate(ids, config).perf_metrics


run(8, 1)
say(what="load", seconds=time.perf_counter() - start)
for length in map(int, options.prompts.split(",")):
    metrics = run(length, options.generate)
    first, each = metrics.get_ttft().mean, metrics.get_tpot().mean
    say(what="model", prompt=length, prompt_tok_s=1000 * length / first, tok_s=1000 / each)
