#!/usr/bin/env python3
"""Worker that runs llama.cpp: it reads one JSON task per line and writes one answer per line.

  llama.py FILE.gguf --threads N

Tasks: {"op": "prefill", "tokens": P} and {"op": "decode", "tokens": P, "reply": G}; nothing is recorded.
"""
import argparse, json, os, resource, sys, time


def high_water():
    """Returns the peak resident memory in bytes of this program, not of the one that started it."""
    try:
        return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--context", type=int, default=8192)
    a = p.parse_args()
    import numpy
    from llama_cpp import Llama
    llm = Llama(a.model, n_ctx=a.context, n_threads=a.threads, n_threads_batch=a.threads, verbose=False)
    print('{"ready": true}', flush=True)
    for line in sys.stdin:
        t = json.loads(line)
        ids = numpy.random.default_rng(7).integers(0, llm.n_vocab(), t["tokens"]).tolist()
        llm.reset()
        start, used = time.perf_counter(), sum(os.times()[:2])
        llm.eval(ids)
        n = t["tokens"]
        if t["op"] == "decode":
            start, used, n = time.perf_counter(), sum(os.times()[:2]), t["reply"]
            for _ in range(n):
                llm.eval([llm.sample(temp=0.0)])
        seconds, used = time.perf_counter() - start, sum(os.times()[:2]) - used
        peak = high_water()
        print(json.dumps({"tokens": n, "seconds": seconds, "cpu": used, "peak": peak}), flush=True)


if __name__ == "__main__":
    main()
