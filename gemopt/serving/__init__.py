"""Drop-in expert balancing policies for serving engines.

One module an engine: `deepseek`, `vllm`, `sglang`, `ascend`. `plugin` registers them in
vLLM and SGLang when ``GEMOPT_POLICY`` is set. Every rank of an engine calls its policy
by itself and must get the same answer: nothing here looks at a clock or a random
number, and searches are limited by iterations.
"""
