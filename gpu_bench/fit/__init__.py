"""From measured points to latency models. No torch."""

from gpu_bench.fit.choose import Fit as Fit
from gpu_bench.fit.choose import Samples as Samples
from gpu_bench.fit.choose import fit_all as fit_all
