"""From tokens to indices: an append-only table in which an index never changes its meaning."""

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.explode import explode_keys
from features.spec import Layout, Spec, layout_of


def new_tokens(window: DataFrame, vocabulary: DataFrame, spec: Spec, day: date) -> DataFrame:
    """Return the tokens that are now frequent enough and have no index yet, with one each.

    A feature's indices go on after its highest one, the most frequent token first and ties in the
    order of the text, so that the same window always gives the same indices. The index 0 is never
    given: it stands for null and for every token outside the vocabulary.

    Args:
        window: published samples of the training window that ends with ``day``.
        vocabulary: the table as it is: ``feature``, ``token``, ``index``, ``ds``.
        spec: declares the features and their ``min_count``.
        day: the day the new tokens are recorded under.

    Returns:
        The rows to append to ``vocabulary``, in its columns; none when there is nothing new.
    """
    known = vocabulary.select("feature", "token")
    fresh = _frequent(window, layout_of(spec)).join(known, ["feature", "token"], "left_anti")
    highest = vocabulary.groupBy("feature").agg(F.max("index").alias("highest"))
    order = Window.partitionBy("feature").orderBy(F.desc("count"), "token")
    after = F.coalesce("highest", F.lit(0)) + F.row_number().over(order)
    numbered = fresh.join(F.broadcast(highest), "feature", "left")
    return numbered.select(
        "feature", "token", after.cast("int").alias("index"), F.lit(day.isoformat()).alias("ds")
    )


def tokens_of(samples: DataFrame, kept: list[str], layout: Layout) -> DataFrame:
    """Return ``kept``, ``feature``, ``token`` for each different token of a sample's features.

    A column that borrows another's vocabulary is left out.
    """
    values = {
        column.name: [(F.col(column.name), column.kind == "multi")] for column in layout.named
    }
    return explode_keys(samples, kept, values, "feature", "token")


def _frequent(window: DataFrame, layout: Layout) -> DataFrame:
    """Return ``feature``, ``token``, ``count`` of the tokens that reach the feature's min_count."""
    counted = tokens_of(window, [], layout).groupBy("feature", "token").count()
    enough = F.lit(False)
    for column in layout.named:
        enough |= (F.col("feature") == column.name) & (F.col("count") >= column.min_count)
    return counted.where(enough)
