"""Row rules: which rows of a day are broken, and by which rule, found in one pass."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features import cells
from features.alike import REFUSED, WAS
from features.contract import CHANGED, MISSING
from features.deliveries import BROKEN
from features.labels import ID, MANY, SCENARIO, by_key
from features.nested import own_columns
from features.samples import USER
from features.settle import is_small, settle
from features.sources import (
    ADDED_COLUMNS,
    ARRIVED,
    DAY,
    FILE,
    FOR,
    ROW,
    TIME,
    UNTIL,
    content_hash,
    stray,
)
from features.spec import Spec

RULES = "_rules"
"""Column with the ids of the rules that a row broke; empty for a good row."""

BUILT_IN = {
    MISSING: "the file lacks a column that the spec names; its source's contract discards its rows",
    CHANGED: "a value that is nothing in the type its column had; the contract discards the row",
    "unparseable": "a line with too few or too many fields, or no JSON",
    "null-key": "a part of the key, or the user, is missing",
    "no-time": "the time is missing or does not parse",
    "wrong-day": "the row came with this day's file but belongs to a day that will not read it",
    "unknown-scenario": "the row is in no declared scenario, and the spec keeps none as history",
    "not-a-number": "a declared number holds something else",
    "duplicate-row": "an exact repeat of an earlier row",
    "duplicate-key": "the key of an earlier row, with other content",
}
"""Rules that every product has, beside those of its spec; in the order they are reported."""

_CONTENT, _REPEAT, _TURN, _OWN, _CODE = "_content", "_repeat", "_turn", "_own", "_code"
_INTERNAL = (*ADDED_COLUMNS, ID, SCENARIO, USER, RULES)


def check(impressions: DataFrame, spec: Spec) -> DataFrame:
    """Add ``_rules`` to impressions, which are held from then on.

    Of rows with one key on one day, the first stays: good ones before broken ones, then by the
    day of arrival, time, file and content. A row that arrives later never displaces another, and
    the order of partitions plays no part. Where a column declares the day, one event can be logged
    under two days: of all rows given with its key the earliest day's stays.

    Args:
        impressions: rows after ``features.samples.identify``, each for a day ``_for`` that is
            built; days have nothing to do with each other.
        spec: its ``rules`` are SQL conditions for rejection; null does not reject.
    """
    own = impressions.withColumn(_OWN, _own_rules(impressions, spec))
    hashed = own.withColumn(_CONTENT, content_hash(impressions.drop(ID, SCENARIO, USER)))
    key = [FOR, ID] if spec.log.day else [FOR, DAY, ID]
    small = is_small(impressions.sparkSession)
    ranked = _ranked(hashed, key) if small else _ranked_where_repeated(settle(hashed), key)
    doubled = F.when(
        F.col(ID).isNotNull() & (F.col(_TURN) > 1),
        F.when(F.col(_REPEAT) > 1, "duplicate-row").otherwise("duplicate-key"),
    ).otherwise("")
    rules = F.array_remove(F.concat(_OWN, F.array(doubled)), "")
    checked = ranked.withColumn(RULES, rules).drop(_CONTENT, _OWN, _TURN, _REPEAT)
    return settle(checked) if small else checked


def _ranked(rows: DataFrame, key: list[str]) -> DataFrame:
    """Add each row's turn among those of its key, and among those with its content as well."""
    order = [F.size(_OWN) > 0, *map(F.col, (DAY, ARRIVED, TIME, FILE, _CONTENT))]
    turn = F.row_number().over(by_key(*key).orderBy(*order))
    repeat = F.row_number().over(by_key(*key, _CONTENT).orderBy(*order))
    return rows.withColumn(_TURN, turn).withColumn(_REPEAT, repeat)


def _ranked_where_repeated(rows: DataFrame, key: list[str]) -> DataFrame:
    """Do as ``_ranked``, but sort only rows whose key comes more than once: few of a large day.

    Keys are told apart by a number; two that share it are only sorted in vain. The rows are given
    and returned held: they are gone over several times.
    """
    coded = rows.withColumn(_CODE, F.xxhash64(*key))
    counted = coded.where(F.col(ID).isNotNull()).groupBy(_CODE).count()
    repeated = settle(counted.where("count > 1").select(_CODE))
    if repeated.count() > MANY:
        return settle(_ranked(rows, key))
    several = settle(_ranked(coded.join(F.broadcast(repeated), _CODE, "left_semi"), key))
    single = coded.join(F.broadcast(repeated), _CODE, "left_anti")
    first = {_TURN: F.lit(1), _REPEAT: F.lit(1)}
    return single.withColumns(first).unionByName(several).drop(_CODE)


def kept(checked: DataFrame) -> DataFrame:
    """Return the good rows: samples, and rows that are history only."""
    return checked.where(F.size(RULES) == 0)


def raw_columns(checked: DataFrame) -> list[str]:
    """Return the columns of the raw row."""
    return [name for name in own_columns(checked) if name not in _INTERNAL]


def quarantine(checked: DataFrame, run_id: str) -> DataFrame:
    """Return the broken rows in the columns of the table ``quarantine``.

    ``line`` is the row's number in a Parquet file, from 1; null in text (see ``features.lines``).
    """
    raw = [cells.raw(name) for name in raw_columns(checked)]
    line = F.col(BROKEN)
    row = F.when(line.isNull(), F.coalesce(WAS, F.to_json(F.struct(*raw)))).otherwise(
        F.to_json(F.struct(line.alias("line")))
    )
    return checked.where(F.size(RULES) > 0).select(
        F.col(FOR).alias("ds"),
        F.col(ID).alias("sample_id"),
        F.col(RULES).alias("rules"),
        row.alias("row"),
        F.col(FILE).alias("source_file"),
        F.col(UNTIL).alias("as_of"),
        F.lit(run_id).alias("run_id"),
        (F.col(ROW) + 1).cast("bigint").alias("line"),
    )


def _own_rules(frame: DataFrame, spec: Spec) -> Column:
    """Return the ids of the rules that a row breaks by itself."""
    source = spec.log
    tests = {
        **{rule: F.col(REFUSED) == rule for rule in (MISSING, CHANGED)},
        "unparseable": F.col(BROKEN).isNotNull(),
        "null-key": F.col(ID).isNull() | F.col(USER).isNull(),
        "no-time": F.col(TIME).isNull(),
        "wrong-day": stray(source) & F.col(DAY).isNotNull(),
        "unknown-scenario": F.col(SCENARIO).isNull() & F.lit(spec.scenarios.other == "quarantine"),
        "not-a-number": _no_number(frame, spec),
        **{rule.id: F.expr(rule.reject) for rule in spec.rules},
    }
    broken = (F.when(test, rule).otherwise("") for rule, test in tests.items())
    return F.array_remove(F.array(*broken), "")


def _no_number(frame: DataFrame, spec: Spec) -> Column:
    broken = F.lit(False)
    for column in spec.numbers_of(spec.impression.source):
        kind = frame.schema[column].dataType
        broken = broken | cells.no_number(cells.raw(column), kind)
    return broken
