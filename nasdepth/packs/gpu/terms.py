"""What an operation's time on a GPU is made of: amounts that never fall when a size grows.

A GPU computes with many threads at once, each of which runs a loop. Few threads take as long as one loop
does; many take as long as all loops together over what runs at once, round after round. Between these ends
the time of n threads is some increasing function of n: a sum of min(n, 2^k) and ceil(n / m) with weights that
are not negative comes close to it. So a form's terms are work of one thread times these, beside launching,
weights and what is moved.

Everything is counted in slices of 4 channels, as the delegate stores tensors and computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nasdepth.kernels.kernel import Kernel
from nasdepth.packs.gpu.delegate import Delegate, slices, tiles

_WINOGRAD_POINTS = 36
_WAVES = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192)
_THREADS_AT_ONCE = tuple(2**power for power in range(4, 17))


@dataclass(frozen=True)
class Work:
    """Sizes of n kernels, each (n,) float64.

    Attributes:
        threads: that the kernel starts.
        loop: steps of a thread: input slices times window.
        in_slices, out_slices: of channels, of one group.
        taps: of the window.
        stride: the larger of both.
        inputs, outputs, added: tensor elements of 4 channels read, written, and of a second tensor read.
        weights: elements of 4x4 weights.
    """

    threads: np.ndarray
    loop: np.ndarray
    in_slices: np.ndarray
    out_slices: np.ndarray
    taps: np.ndarray
    stride: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    added: np.ndarray
    weights: np.ndarray


def _stack(rows: Sequence[Sequence[float]]) -> Work:
    return Work(*np.array(rows, np.float64).reshape(-1, 10).T)


def _up(value: int, block: int) -> int:
    return -(-value // block)


def _stride(kernel: Kernel) -> int:
    return max(kernel.stride_height, kernel.stride_width)


def _moved(kernel: Kernel) -> tuple[int, int, int]:
    """(inputs, outputs, added) in elements of 4 channels."""
    ins = kernel.in_height * kernel.in_width * slices(kernel.in_channels)
    ins += kernel.in_height * kernel.in_width * sum(map(slices, kernel.other_channels))
    outs = kernel.out_pixels * slices(kernel.out_channels) * kernel.outputs
    second = {"tensor": max(outs, ins), "plane": kernel.out_pixels, "constant": ins}
    return ins, outs, second.get(kernel.operand, 0)


def convolution_work(kernels: Sequence[Kernel], delegate: Delegate) -> Work:
    """Of generic, constant and grouped convolutions, and of transposed ones."""
    columns, rows, deep = delegate.block
    work = []
    for one in kernels:
        taps = one.kernel_height * one.kernel_width
        in_slices = slices(_up(one.in_channels, one.groups))
        out_slices = slices(one.out_channels)
        # every output of a transposed convolution sees a window of the stride's share alone
        seen = taps if one.op == "conv2d" else _up(taps, one.stride_height * one.stride_width)
        threads = _up(one.out_width, columns) * _up(one.out_height, rows) * _up(out_slices, deep)
        loop, weights = in_slices * seen, in_slices * out_slices * taps
        work.append((threads, loop, in_slices, out_slices, seen, _stride(one), *_moved(one), weights))
    return _stack(work)


def winograd_work(kernels: Sequence[Kernel], delegate: Delegate) -> Work:
    """Of the multiplication in the middle; what is moved is what the transforms read and write."""
    columns, rows, deep = delegate.block
    work = []
    for one in kernels:
        ins, outs = slices(one.in_channels), slices(one.out_channels)
        points = _WINOGRAD_POINTS * tiles(one)
        threads = _up(points, columns * rows) * _up(outs, deep)
        added = _moved(one)[2]
        work.append(
            (threads, ins, ins, outs, 1, 1, points * ins, points * outs, added, _WINOGRAD_POINTS * ins * outs)
        )
    return _stack(work)


def depthwise_work(kernels: Sequence[Kernel], delegate: Delegate) -> Work:
    """Of both depthwise kernels: a thread an output element."""
    work = []
    for one in kernels:
        taps = one.kernel_height * one.kernel_width
        outs = slices(one.out_channels)
        work.append((one.out_pixels * outs, taps, 1, outs, taps, _stride(one), *_moved(one), taps * outs))
    return _stack(work)


def fully_connected_work(kernels: Sequence[Kernel], delegate: Delegate) -> Work:
    """Of layers on one pixel: a thread an output slice."""
    work = []
    for one in kernels:
        ins, outs = slices(one.in_channels), slices(one.out_channels)
        pixels = one.out_pixels
        work.append((pixels * outs, ins, ins, outs, 1, 1, *_moved(one), ins * outs))
    return _stack(work)


def reducing_work(kernels: Sequence[Kernel], delegate: Delegate) -> Work:
    """Of pools and means: a thread an output element, which reads a window or the whole image."""
    work = []
    for one in kernels:
        whole = one.op == "mean"
        taps = one.in_height * one.in_width if whole else one.kernel_height * one.kernel_width
        ins, outs = slices(one.in_channels), slices(one.out_channels)
        work.append((one.out_pixels * outs, taps, ins, outs, taps, _stride(one), *_moved(one), 0))
    return _stack(work)


def concat_work(kernels: Sequence[Kernel], delegate: Delegate) -> Work:
    """Of concatenations along channels: a thread a pixel, which copies slice after slice."""
    work = []
    for one in kernels:
        ins, outs, added = _moved(one)
        deep = slices(one.out_channels)
        tensors = 1 + len(one.other_channels)
        work.append((one.out_pixels, deep, tensors, deep, 1, 1, ins, outs, added, 0))
    return _stack(work)


def moving_work(kernels: Sequence[Kernel], delegate: Delegate) -> Work:
    """Of everything that computes next to nothing: a thread an output element."""
    work = []
    for one in kernels:
        ins, outs, added = _moved(one)
        in_slices, out_slices = slices(one.in_channels), slices(one.out_channels)
        work.append((outs, 1, in_slices, out_slices, 1, 1, ins, outs, added, 0))
    return _stack(work)


def _at_once(name: str, work: Callable[[Work], np.ndarray]) -> dict[str, Callable[[Work], np.ndarray]]:
    """Terms of work times threads, as far as so many run at once, and of all of them."""
    terms = {f"{name} * threads": lambda one: work(one) * one.threads}
    for limit in _THREADS_AT_ONCE:
        terms[f"{name} * min(threads, {limit})"] = lambda one, limit=limit: (
            work(one) * np.minimum(one.threads, limit)
        )
    return terms


def _in_waves(
    name: str, work: Callable[[Work], np.ndarray], waves: Sequence[int] = _WAVES
) -> dict[str, Callable[[Work], np.ndarray]]:
    """Terms of work times rounds, where so many threads run at once and the next round waits for all."""
    return {
        f"{name} * ceil(threads / {limit})": lambda one, limit=limit: work(one) * np.ceil(one.threads / limit)
        for limit in waves
    }


def _windowed(one: Work) -> np.ndarray:
    return one.loop * (one.taps > 1)


def _strided(one: Work) -> np.ndarray:
    return one.loop * (one.stride > 1)


_COMMON = {
    "launch": lambda one: np.ones_like(one.threads),
    "inputs": lambda one: one.inputs,
    "outputs": lambda one: one.outputs,
    "added": lambda one: one.added,
}
_CONVOLUTION = {
    **_COMMON,
    "loop": lambda one: one.loop,
    "in_slices": lambda one: one.in_slices,
    "weights": lambda one: one.weights,
    **_at_once("loop", lambda one: one.loop),
    **_in_waves("loop", lambda one: one.loop),
    **_at_once("windowed loop", _windowed),
    **_in_waves("windowed loop", _windowed),
    "strided loop * threads": lambda one: _strided(one) * one.threads,
    "strided windowed loop * threads": lambda one: _strided(one) * (one.taps > 1) * one.threads,
    **_at_once("in_slices", lambda one: one.in_slices),
    **_at_once("1", lambda one: np.ones_like(one.loop)),
}
# Few published operations run as these, so that fewer terms say more
_FEW = {
    **_COMMON,
    "loop": lambda one: one.loop,
    "weights": lambda one: one.weights,
    "loop * threads": lambda one: one.loop * one.threads,
    "loop * min(threads, 2048)": lambda one: one.loop * np.minimum(one.threads, 2048),
    "in_slices * threads": lambda one: one.in_slices * one.threads,
    "threads": lambda one: one.threads,
    "strided loop * threads": lambda one: _strided(one) * one.threads,
}
_REDUCING = {
    **_COMMON,
    "taps": lambda one: one.taps,
    **_at_once("taps", lambda one: one.taps),
    **_at_once("1", lambda one: np.ones_like(one.taps)),
}
_FULLY_CONNECTED = {
    **_COMMON,
    "in_slices": lambda one: one.in_slices,
    "out_slices": lambda one: one.out_slices,
    **_at_once("in_slices", lambda one: one.in_slices),
}
_CONCAT = {
    **_COMMON,
    "tensors": lambda one: one.in_slices,
    "loop": lambda one: one.loop,
    **_at_once("loop", lambda one: one.loop),
    **_at_once("1", lambda one: np.ones_like(one.loop)),
}
_MOVING = {
    **_COMMON,
    **_at_once("1", lambda one: np.ones_like(one.loop)),
}


@dataclass(frozen=True)
class Form:
    """How one of the delegate's kernels takes its time.

    Attributes:
        work: sizes of kernels.
        terms: {name: amount of n kernels, (n,) float64, not negative}.
        fitted: names of the terms that a fit chooses from; all where that is empty.
    """

    work: Callable[[Sequence[Kernel], Delegate], Work]
    terms: dict[str, Callable[[Work], np.ndarray]]
    fitted: tuple[str, ...] = ()

    def amounts(self, kernels: Sequence[Kernel], delegate: Delegate, names: Sequence[str]) -> np.ndarray:
        """(n, terms) float64."""
        work = self.work(kernels, delegate)
        return np.stack([self.terms[name](work) for name in names], axis=1)


FORMS = {
    "generic": Form(convolution_work, _CONVOLUTION),
    "constants": Form(convolution_work, _CONVOLUTION | _FEW, tuple(_FEW)),
    "grouped": Form(convolution_work, _CONVOLUTION | _FEW, tuple(_FEW)),
    "winograd": Form(winograd_work, _CONVOLUTION),
    "depthwise": Form(depthwise_work, _REDUCING),
    "depthwise_3x3": Form(depthwise_work, _REDUCING),
    "fully_connected": Form(fully_connected_work, _FULLY_CONNECTED),
    "mean": Form(reducing_work, _REDUCING),
    "pool": Form(reducing_work, _REDUCING),
    "concat": Form(concat_work, _CONCAT),
    "moving": Form(moving_work, _MOVING),
}
