"""Expert shares of a GPU that the committed profiles are made for."""

#: Experts per GPU of each model: four GPUs a replica, eight and sixteen for the two
#: models of 128 and 256 experts.
EXPERTS_PER_GPU = {
    "Mixtral-8x7B": 2,
    "Mixtral-8x22B": 2,
    "Llama-4-Scout": 4,
    "Hunyuan-A13B": 16,
    "Qwen3-30B-A3B": 16,
    "DeepSeek-V3": 16,
    "gpt-oss-20b": 8,
}
