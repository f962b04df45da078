"""From published samples to the numbers the trainer reads."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.cells import named
from features.settle import gather, looked_up
from features.spec import Layout, Spec, layout_of
from features.spec.layout import Kind
from features.vocabulary import tokens_of

SAMPLE = ["ds", "sample_id"]
KNOWN = "_known"
"""Maps a single-value feature to its token's index, while a sample's columns are made."""


def encode(samples: DataFrame, vocabulary: DataFrame, spec: Spec) -> DataFrame:
    """Encode samples: tokens as vocabulary indices, numbers and labels as 32-bit floats.

    A token that is null or outside the vocabulary becomes 0 in a single-value column and is left
    out of a multi-value one; a sequence keeps its order. Tokens meet the vocabulary in one join
    over all features, so that it may hold millions of them.

    Args:
        samples: published samples: ``ds``, ``sample_id``, ``scenario``, ``user``, and
            per task ``label_<task>``, per feature the layout's column.
        vocabulary: ``feature``, ``token``, ``index``.
        spec: declares scenarios, tasks and features.

    Returns:
        ``ds``, ``sample_id``, ``scenario`` (int32, its place in the layout), ``user`` (int64 hash),
        ``y_<task>`` (float32, null where the label is), and the layout's columns: ``c_…`` int32,
        ``m_…`` array of int32, ``n_…`` float32 (null where unknown).
    """
    layout = layout_of(spec)
    found = _indices(samples, vocabulary, layout)
    scenarios = ", ".join(f"'{name}'" for name in layout.scenarios)
    columns = {
        "ds": "ds",
        "sample_id": "sample_id",
        "scenario": f"cast(array_position(array({scenarios}), scenario) - 1 AS int)",
        "user": "xxhash64(user)",
        **{f"y_{task}": f"cast(label_{task} AS float)" for task in layout.tasks},
        **{column.name: _encoded(column.name, column.kind) for column in layout.columns},
    }
    joined = samples.join(looked_up(found), SAMPLE, "left")
    if any(column.ordered for column in layout.columns):
        joined = joined.join(looked_up(_ordered(samples, vocabulary, layout)), SAMPLE, "left")
    return joined.selectExpr(*named(columns))


def _indices(samples: DataFrame, vocabulary: DataFrame, layout: Layout) -> DataFrame:
    """Return per sample the known indices: a map for single-value features, a list for each other.

    A map is read by generated code; picking from one list by lambdas was five times as slow.
    """
    tokens = gather(tokens_of(samples, SAMPLE, layout))
    indices = looked_up(vocabulary.select("feature", "token", "index"))
    known = tokens.join(indices, ["feature", "token"])
    several = [column.name for column in layout.of("multi") if not column.ordered]
    single = F.when(~F.col("feature").isin(several), F.struct("feature", "index"))
    return known.groupBy(SAMPLE).agg(
        F.map_from_entries(F.collect_list(single)).alias(KNOWN),
        *(
            F.sort_array(F.collect_list(F.when(F.col("feature") == name, F.col("index")))).alias(
                _list_of(name)
            )
            for name in several
        ),
    )


def _ordered(samples: DataFrame, vocabulary: DataFrame, layout: Layout) -> DataFrame:
    """Return per sample the known indices of each sequence, in its order."""
    columns = [column for column in layout.columns if column.ordered]
    listed = [
        F.struct(
            F.lit(column.name).alias("column"),
            F.lit(column.borrows or column.name).alias("feature"),
            F.col(column.name).alias("tokens"),
        )
        for column in columns
    ]
    each = samples.select(*SAMPLE, F.explode(F.array(*listed)).alias("_of"))
    tokens = each.select(
        *SAMPLE, "_of.column", "_of.feature", F.posexplode("_of.tokens").alias("place", "token")
    )
    indices = looked_up(vocabulary.select("feature", "token", "index"))
    known = gather(tokens).join(indices, ["feature", "token"])
    return known.groupBy(SAMPLE).agg(
        *(
            F.sort_array(
                F.collect_list(F.when(F.col("column") == column.name, F.struct("place", "index")))
            )["index"].alias(_list_of(column.name))
            for column in columns
        )
    )


def _list_of(name: str) -> str:
    return f"{KNOWN}_{name}"


def _encoded(name: str, kind: Kind) -> str:
    if kind == "number":
        return f"cast(`{name}` AS float)"
    if kind == "category":
        return f"coalesce({KNOWN}['{name}'], 0)"
    return f"coalesce(`{_list_of(name)}`, cast(array() AS array<int>))"
