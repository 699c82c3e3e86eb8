"""The grouped GEMM kernel: every expert's tokens times that expert's weights.

Needs Triton; imported only by `gemopt_gpu_bench.backends.triton_grouped`.
"""

import triton
import triton.language as tl


@triton.jit
def _row_tile(
    x,
    w,
    out,
    row,
    rows,
    weight_row,
    column,
    N,
    K,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    FUSED: tl.constexpr,
    SWAP: tl.constexpr,
):
    """Compute one tile and write the rows that belong to its expert."""
    if SWAP:
        acc = tl.zeros((BN, BM), dtype=tl.float32)
        up = tl.zeros((BN, BM), dtype=tl.float32)
    else:
        acc = tl.zeros((BM, BN), dtype=tl.float32)
        up = tl.zeros((BM, BN), dtype=tl.float32)
    for step in range(tl.cdiv(K, BK)):
        a = x.load([row, step * BK])
        b = w.load([weight_row, step * BK])
        if SWAP:
            acc = tl.dot(b, a.T, acc)
        else:
            acc = tl.dot(a, b.T, acc)
        if FUSED:
            c = w.load([weight_row + N, step * BK])
            if SWAP:
                up = tl.dot(c, a.T, up)
            else:
                up = tl.dot(a, c.T, up)
    if FUSED:
        acc = acc / (1.0 + tl.exp(-acc)) * up
    if SWAP:
        acc = acc.T
    m = tl.arange(0, BM)
    n = column + tl.arange(0, BN)
    where = out + (row + m)[:, None].to(tl.int64) * N + n[None, :]
    mask = (m < rows)[:, None] & (n < N)[None, :]
    tl.store(where, acc.to(out.dtype.element_ty), mask=mask)


@triton.jit
def grouped_gemm(
    x,  # descriptor of [tokens, K], blocks [BM, BK]
    x_tail,  # the same with blocks [TAIL, BK]
    w,  # descriptor of [experts * expert_rows, K], blocks [BN, BK]
    out,  # [tokens, N]
    tiles,  # int32 [tiles, 3]: expert, first row, rows of each tile
    order,  # int32 [programs, 2]: tile and column tile of each program
    expert_rows,  # rows of w for one expert: N, or 2 * N when FUSED
    N,
    K,
    BM: tl.constexpr,
    TAIL: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    FUSED: tl.constexpr,
    SWAP: tl.constexpr,
):
    """out[r] = x[r] @ w[expert of r].T; FUSED: silu(x @ gate.T) * (x @ up.T).

    SWAP multiplies w by x instead, whose many rows fill the tensor cores when there
    are few tokens. A last tile of at most TAIL rows takes the shorter way.
    """
    tile = tl.load(order + tl.program_id(0) * 2)
    column = tl.load(order + tl.program_id(0) * 2 + 1) * BN
    expert = tl.load(tiles + tile * 3)
    row = tl.load(tiles + tile * 3 + 1)
    rows = tl.load(tiles + tile * 3 + 2)
    first = expert * expert_rows + column
    short = rows <= TAIL
    if TAIL == 0:
        _row_tile(x, w, out, row, rows, first, column, N, K, BM, BN, BK, FUSED, SWAP)
    elif short:
        _row_tile(
            x_tail, w, out, row, rows, first, column, N, K, TAIL, BN, BK, FUSED, SWAP
        )
    else:
        _row_tile(x, w, out, row, rows, first, column, N, K, BM, BN, BK, FUSED, SWAP)
