"""Draws the report's two plots as PNG. It touches no global state of matplotlib."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from fruit_pipeline.checks.parquet_facts import Projections

# The colours of Okabe and Ito, "Color Universal Design" (2008), can be told apart with every kind of colour blindness.
# Each category has a shape of its own, too.
_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P")
_INK, _MUTED, _GRID, _ACCENT = "#1f2933", "#5f6c7b", "#e3e8ee", "#D55E00"
_BARS_SHOWN: Final = 30
_AS_GOOD_AS_ALL: Final = 0.999
_MAX_LABEL: Final = 34
_PIXELS_AN_INCH: Final = 160

# DejaVu, which matplotlib brings, has no Chinese, Japanese, Korean or Indic letters: what the machine has of these is
# used after it, and matplotlib draws a framed placeholder for the rest.
_FONTS: Final = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)


def explained_variance_png(spectrum: Sequence[float], k: int, target: float, n_samples: int) -> bytes:
    """Returns a plot with the cumulative explained variance of all components, the target and k on the left, and the
    first components one by one on the right.

    `spectrum` is the explained variance ratio of every component, largest first.
    """
    ratios = np.asarray(spectrum, dtype=np.float64)
    cumulative = np.cumsum(ratios)
    with mpl.rc_context(_style()):
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        curve, bars = figure.subplots(1, 2, width_ratios=(3, 2))
        _cumulative_curve(curve, cumulative, k, target)
        shown = min(_BARS_SHOWN, len(ratios))
        bars.bar(
            np.arange(1, shown + 1),
            ratios[:shown],
            color=[_COLOURS[0] if index < k else _GRID for index in range(shown)],
            width=0.8,
        )
        bars.set_title(f"The first {shown} components one by one")
        bars.set_xlabel("component")
        bars.set_ylabel("share of the variance")
        bars.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        bars.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.suptitle(f"Explained variance of {n_samples:,} images", x=0.01, ha="left", fontweight="bold")
        return _png(figure)


def two_components_png(groups: Sequence[Projections], ratios: Sequence[float]) -> bytes:
    """Returns a plot of the categories' images on the first two principal components. `ratios` are the shares of all
    kept components.
    """
    with mpl.rc_context(_style()):
        figure = Figure(figsize=(10.5, 6.4), layout="constrained")
        axes = figure.subplots()
        for index, group in enumerate(groups):
            axes.scatter(
                group.first,
                group.second,
                s=36,
                alpha=0.75,
                linewidths=0.4,
                edgecolors="white",
                color=_COLOURS[index % len(_COLOURS)],
                marker=_MARKERS[index % len(_MARKERS)],
                label=f"{_shortened(group.category)} ({len(group.first):,})",
            )
        axes.axhline(0, color=_GRID, linewidth=1, zorder=0)
        axes.axvline(0, color=_GRID, linewidth=1, zorder=0)
        axes.set_xlabel(_axis_label("PC1", ratios, 0))
        axes.set_ylabel(_axis_label("PC2", ratios, 1))
        if groups:
            axes.legend(
                loc="center left",
                bbox_to_anchor=(1.0, 0.5),
                title="category (images shown)",
                alignment="left",
                handletextpad=0.3,
            )
        title = "category" if len(groups) == 1 else "categories"
        figure.suptitle(
            f"{len(groups)} {title} on the first two principal components", x=0.01, ha="left", fontweight="bold"
        )
        return _png(figure)


def _cumulative_curve(axes: Axes, cumulative: NDArray[np.float64], k: int, target: float) -> None:
    numbers = np.arange(1, len(cumulative) + 1)
    kept = float(cumulative[k - 1])
    # With few images, most of the components hold nothing. The curve ends where there is nothing more to see.
    last = min(len(cumulative), max(2 * k, int(np.searchsorted(cumulative, _AS_GOOD_AS_ALL)) + 1))
    axes.plot(numbers, cumulative, color=_COLOURS[0], linewidth=2)
    axes.fill_between(numbers[:k], cumulative[:k], color=_COLOURS[0], alpha=0.12, linewidth=0)
    axes.axhline(target, color=_ACCENT, linewidth=1.2, linestyle=(0, (5, 3)))
    axes.axvline(k, color=_MUTED, linewidth=1, linestyle=":")
    axes.plot([k], [kept], marker="o", color=_ACCENT, markersize=7, zorder=3)
    beyond_middle = k > last / 2
    axes.annotate(
        f"k = {k:,} keeps {kept:.2%}",
        (k, kept),
        xytext=(-12 if beyond_middle else 12, -26),
        textcoords="offset points",
        ha="right" if beyond_middle else "left",
        color=_INK,
        fontweight="bold",
    )
    axes.annotate(
        f"target {target:.4g}",
        (1, target),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -13),
        textcoords="offset points",
        ha="right",
        color=_ACCENT,
    )
    axes.set_title("Cumulative")
    axes.set_xlabel("number of components")
    axes.set_ylabel("variance explained")
    axes.set_xlim(0, last + 1)
    axes.set_ylim(0, 1.06)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _axis_label(name: str, ratios: Sequence[float], index: int) -> str:
    if index >= len(ratios):
        return f"{name} (this PCA has no such component)"
    return f"{name} ({ratios[index]:.1%} of the variance)"


def _shortened(category: str) -> str:
    return category if len(category) <= _MAX_LABEL else f"{category[: _MAX_LABEL - 1]}…"


def _style() -> Any:
    installed = set(font_manager.get_font_names())
    return {
        "font.family": [font for font in _FONTS if font in installed],
        "font.size": 10,
        # Category names are text, not formulas: '$' is a dollar.
        "text.parse_math": False,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _MUTED,
        "axes.titlesize": 10,
        "axes.titlecolor": _MUTED,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _GRID,
        "xtick.color": _MUTED,
        "ytick.color": _MUTED,
        "legend.frameon": False,
        "figure.facecolor": "white",
    }


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # A letter that no font has is drawn as a placeholder; the table beside the plot has the name in full.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(stream, format="png", dpi=_PIXELS_AN_INCH, metadata={"Software": None})
    return stream.getvalue()
