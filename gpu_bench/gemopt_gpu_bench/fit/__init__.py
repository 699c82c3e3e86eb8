"""From measured points to latency models. No torch."""

from gemopt_gpu_bench.fit.choose import Fit as Fit
from gemopt_gpu_bench.fit.choose import Samples as Samples
from gemopt_gpu_bench.fit.choose import fit_all as fit_all
