"""DeepSeek EPLB: the call that many engines copied."""
