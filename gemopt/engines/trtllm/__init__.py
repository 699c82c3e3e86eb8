"""TensorRT-LLM: statistics folders, and load balancer YAML."""
