"""A day of the marketplace in DuckDB's SQL: what the pipeline's build of ``bazaar`` computes.

The spec is written out by hand here, for two authors seldom make the same mistake: that both ends
agree is what makes the comparison worth something.
"""

from datetime import date, timedelta
from pathlib import Path

import duckdb

from jobs.bench.shop import (
    ENTITIES,
    LIKED_IN,
    PLACES,
    PRIOR,
    RATED,
    TASKS,
    files_between,
    rate_columns,
)

_EVENTS = """
CREATE TEMP TABLE impressions AS
WITH raw AS (
    SELECT * EXCLUDE (event_time), row_number() OVER () AS number,
        make_timestamp(event_time * 1000) AS shown_at,
        regexp_extract(filename, '(\\d{{4}}-\\d{{2}}-\\d{{2}})\\.parquet$', 1)::DATE AS arrived
    FROM read_parquet({impressions}, filename = true)
), dated AS (
    SELECT *, coalesce(shown_at::DATE, arrived) AS day FROM raw
), judged AS (
    SELECT *,
        day < arrived - 1 OR day > arrived AS stray,
        impression_id IS NULL OR user_id IS NULL OR shown_at IS NULL OR device IS NULL
            OR coalesce(place NOT IN {places}, true) OR coalesce(position < 0, false) AS broken
    FROM dated
)
SELECT *, (broken OR stray) AS refused
FROM judged
WHERE (day BETWEEN '{since}' AND '{day}' AND day <= arrived) OR (stray AND arrived = '{day}');

-- Few keys repeat: only their rows are sorted.
CREATE TEMP TABLE repeats AS
SELECT number FROM (
    SELECT number, row_number() OVER (
        PARTITION BY day, impression_id
        ORDER BY refused, arrived, shown_at, device, liked, position, item_id, user_id
    ) AS turn
    FROM impressions SEMI JOIN (
        SELECT day, impression_id FROM impressions
        WHERE impression_id IS NOT NULL GROUP BY ALL HAVING count(*) > 1
    ) USING (day, impression_id)
) WHERE turn > 1;
UPDATE impressions SET refused = true WHERE number IN (FROM repeats);

CREATE TEMP TABLE clicks AS
SELECT impression_id, make_timestamp(try_cast(event_time AS BIGINT) * 1000) AS happened_at
FROM read_csv({clicks}, header = true, all_varchar = true)
WHERE impression_id IS NOT NULL AND try_cast(event_time AS BIGINT) IS NOT NULL;

CREATE TEMP TABLE purchases AS
SELECT user_id, item_id, make_timestamp(try_cast(event_time AS BIGINT) * 1000) AS happened_at,
    row_number() OVER () AS number
FROM read_csv({purchases}, header = true, all_varchar = true)
WHERE user_id IS NOT NULL AND item_id IS NOT NULL AND try_cast(event_time AS BIGINT) IS NOT NULL;
"""

_FACTS = """
CREATE TEMP TABLE facts AS
WITH clicked AS (
    SELECT i.day, i.impression_id, min(c.happened_at) AS click
    FROM clicks c JOIN impressions i USING (impression_id)
    WHERE NOT i.refused AND c.happened_at >= i.shown_at
        AND c.happened_at < i.shown_at + INTERVAL 1 HOUR
        AND c.happened_at::DATE BETWEEN '{since}' AND '{day}'
    GROUP BY ALL
), latest AS (
    SELECT p.number, any_value(p.happened_at) AS happened_at,
        arg_max(struct_pack(day := i.day, impression_id := i.impression_id),
            struct_pack(shown_at := i.shown_at, id := i.impression_id)) AS shown
    FROM purchases p JOIN impressions i USING (user_id, item_id)
    WHERE NOT i.refused AND p.happened_at >= i.shown_at
        AND p.happened_at < i.shown_at + INTERVAL 3 DAY
        AND p.happened_at::DATE BETWEEN '{since}' AND '{day}'
    GROUP BY p.number
), bought AS (
    SELECT shown.day AS day, shown.impression_id AS impression_id, min(happened_at) AS purchase
    FROM latest GROUP BY ALL
)
SELECT i.day, i.impression_id, i.user_id, i.item_id, i.place, i.device, i.position, i.shown_at,
    i.arrived, i.liked = 1 AS liked, u.segment, try_cast(u.age AS DOUBLE) AS age,
    g.category, g.seller_id, g.price, string_split(g.tags, ',') AS tags, click, purchase
FROM impressions i
LEFT JOIN read_csv('{users}', header = true, all_varchar = true) u USING (user_id)
LEFT JOIN read_parquet('{items}') g USING (item_id)
LEFT JOIN clicked USING (day, impression_id)
LEFT JOIN bought USING (day, impression_id)
WHERE NOT i.refused
"""

_COUNTS = """
CREATE TEMP TABLE happened AS
SELECT user_id, item_id, category, seller_id, place, 1 AS n, shown_at AS last,
    0 AS n_click, coalesce(liked, false)::INT AS n_like, 0 AS n_purchase
FROM facts WHERE day = '{day}'
UNION ALL
SELECT user_id, item_id, category, seller_id, place, 0, NULL, 1, 0, 0
FROM facts WHERE click::DATE = '{day}'
UNION ALL
SELECT user_id, item_id, category, seller_id, place, 0, NULL, 0, 0, 1
FROM facts WHERE purchase::DATE = '{day}';
COPY ({counts}) TO '{out}/counts/{day}.parquet' (FORMAT parquet)
"""

_COUNT = """
SELECT '{day}' AS ds, '{entity}' AS entity, {key} AS key, sum(n) AS n, max(last) AS last,
    sum(n_click) AS n_click, sum(n_like) AS n_like, sum(n_purchase) AS n_purchase
FROM happened WHERE key IS NOT NULL GROUP BY key
"""

_HISTORY = """
CREATE TEMP TABLE history AS
SELECT entity, key,
    {sums}
FROM read_parquet('{out}/counts/*.parquet') WHERE ds < '{day}' GROUP BY entity, key
"""

_SAMPLES = """
COPY (
    SELECT day::VARCHAR AS ds, impression_id AS sample_id, place AS scenario, user_id AS user,
        shown_at AS event_time, {labels},
        user_id AS c_user_id, item_id AS c_item_id, place AS c_place, device AS c_device,
        segment AS c_users_segment, category AS c_items_category, tags AS m_items_tags,
        age AS n_users_age, price AS n_items_price, position::DOUBLE AS n_position,
        {rates},
        arrived::VARCHAR || '.parquet' AS source_file, '{day}' AS as_of
    FROM facts {joins}
    WHERE day = '{day}'
) TO '{out}/samples.parquet' (FORMAT parquet);
COPY (
    SELECT impression_id AS sample_id, user_id, item_id, place, device, position, shown_at, arrived
    FROM impressions WHERE refused AND (day = '{day}' OR stray)
) TO '{out}/quarantine.parquet' (FORMAT parquet)
"""


def build_day(raw: Path, out: Path, day: date, cores: int) -> None:
    """Write ``samples.parquet``, ``quarantine.parquet`` and ``counts/<day>.parquet`` of a day.

    Args:
        raw: a simulation's folder.
        out: takes the files; its ``counts`` hold those of earlier days.
        day: the day, as known by its own end.
        cores: threads.
    """
    (out / "counts").mkdir(parents=True, exist_ok=True)
    since = day - timedelta(days=3)
    known = {
        "day": day,
        "since": since,
        "out": out,
        "users": raw / "users.csv",
        "items": raw / "items.parquet",
        "places": PLACES,
        **{
            stream: files_between(raw / stream, since, day)
            for stream in ("impressions", "clicks", "purchases")
        },
    }
    with duckdb.connect() as session:
        session.execute(f"SET threads = {cores}")
        session.execute(f"SET temp_directory = '{out}/spill'")
        session.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        for sql in (_EVENTS, _FACTS):
            session.execute(sql.format(**known))
        session.execute(_COUNTS.format(counts=_counts(day), **known))
        session.execute(_HISTORY.format(sums=_sums(day), **known))
        session.execute(
            _SAMPLES.format(labels=_labels(day), rates=_rates(), joins=_joins(), **known)
        )


def _key(entity: tuple[str, ...]) -> str:
    return " || chr(31) || ".join(entity) if entity else "''"


def _counts(day: date) -> str:
    each = {"|".join(entity): _key(entity) for entity in ((), *ENTITIES)}
    return " UNION ALL ".join(
        _COUNT.format(day=day, entity=name, key=key) for name, key in each.items()
    )


def _sums(day: date) -> str:
    """Return the sums over each window: ``n_1``, ``n_all``, ``n_click_1`` …."""
    yesterday = day - timedelta(days=1)
    found = []
    for column in ("n", *(f"n_{task}" for task in TASKS)):
        found.append(f"coalesce(sum({column}) FILTER (ds >= '{yesterday}'), 0) AS {column}_1")
        found.append(f"sum({column}) AS {column}_all")
    return ", ".join(found)


def _labels(day: date) -> str:
    """Return label, maturity and time of each task."""
    closed = "shown_at + INTERVAL {window} <= DATE '{day}' + INTERVAL 1 DAY"
    like = f"place IN {LIKED_IN} AND liked IS NOT NULL"
    tasks = {
        "click": (closed.format(window="1 HOUR", day=day), "click IS NOT NULL", "click"),
        "like": (like, "liked", "shown_at"),
        "purchase": (closed.format(window="3 DAY", day=day), "purchase IS NOT NULL", "purchase"),
    }
    return ", ".join(
        f"CASE WHEN {mature} THEN {value} END AS label_{name}, {mature} AS mature_{name}, "
        f"CASE WHEN {mature} AND {value} THEN {time} END AS time_{name}"
        for name, (mature, value, time) in tasks.items()
    )


def _rates() -> str:
    """Return a count and a smoothed rate a task for each entity and window."""
    found = []
    for entity, window in RATED:
        history = f"h{ENTITIES.index(entity)}"
        shown = f"{history}.n_{window}"
        count, rates = rate_columns(entity, window)
        found.append(f"coalesce({shown}, 0)::DOUBLE AS {count}")
        for task, rate in rates.items():
            positives = f"{history}.n_{task}_{window}"
            prior = f"{PRIOR} * o.n_{task}_{window} / o.n_{window}"
            found.append(
                f"CASE WHEN {shown} > 0 OR {positives} > 0 THEN "
                f"least(1, ({positives} + {prior}) / ({shown} + {PRIOR})) END AS {rate}"
            )
    return ", ".join(found)


def _joins() -> str:
    histories = [
        f"LEFT JOIN history h{place} ON h{place}.entity = '{'|'.join(entity)}' "
        f"AND h{place}.key = {_key(entity)}"
        for place, entity in enumerate(ENTITIES)
    ]
    overall = "LEFT JOIN (SELECT * FROM history WHERE entity = '') o ON true"
    return " ".join([*histories, overall])
