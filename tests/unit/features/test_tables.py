"""Table contracts that need no Spark."""

from pathlib import Path

import pytest
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from features import tables
from features.errors import LakeError
from features.lake import Lake
from features.schemas import schemas
from features.spec import load_spec
from features.spec.load import parse_spec

TEXT = """
product: shop
sources: {views: {path: "{ds}.csv", time: {column: at}}}
impression: {source: views, key: view_id}
scenarios: {column: place, values: {feed: feed}}
tasks: {click: {label: clicked = 1}}
features: {categories: [place]}
"""
SPEC = parse_spec(TEXT, "shop.yaml")


@pytest.fixture
def lake(any_lake: Lake) -> Lake:
    """Every test here holds on a disk and on an object store."""
    return any_lake


@pytest.mark.parametrize("product", ["bazaar", "kuairand"])
def test_tables_are_created_as_arrow_can_read_them(tmp_path: Path, product: str) -> None:
    lake, spec = Lake(str(tmp_path), product), load_spec(product)
    tables.ensure(lake, spec)
    for table in schemas(spec):
        opened = lake.open(table)
        protocol = opened.protocol()
        assert (protocol.min_reader_version, protocol.reader_features) == (1, None)
        assert protocol.min_writer_version <= 3
        assert "delta.enableDeletionVectors" not in opened.metadata().configuration
        assert "delta.columnMapping.mode" not in opened.metadata().configuration
        assert opened.to_pyarrow_table().num_rows == 0


def test_creating_twice_changes_nothing(lake: Lake) -> None:
    tables.ensure(lake, SPEC)
    before = {table: lake.open(table).version() for table in schemas(SPEC)}
    tables.ensure(lake, SPEC)
    assert {table: lake.open(table).version() for table in schemas(SPEC)} == before


def test_a_new_feature_becomes_a_column_and_a_lost_one_stays(lake: Lake) -> None:
    tables.ensure(lake, SPEC)
    tables.ensure(lake, parse_spec(TEXT.replace("[place]", "[device]"), "shop.yaml"))
    names = [field.name for field in lake.open("samples").schema().fields]
    assert {"c_place", "c_device"} <= set(names)


def test_a_new_task_brings_its_columns_and_its_constraint(lake: Lake) -> None:
    tables.ensure(lake, SPEC)
    more = TEXT.replace("clicked = 1}", "clicked = 1}, like: {label: liked = 1}")
    tables.ensure(lake, parse_spec(more, "shop.yaml"))
    opened = lake.open("samples")
    assert "mature_like" in [field.name for field in opened.schema().fields]
    assert "delta.constraints.immature_like_is_null" in opened.metadata().configuration


def test_a_column_that_changed_its_type_is_refused_by_name(lake: Lake) -> None:
    kept = [field for field in schemas(SPEC)["samples"].fields if field.name != "c_place"]
    schema = type(schemas(SPEC)["samples"])([*kept, Field("c_place", PrimitiveType("long"))])
    DeltaTable.create(lake.path("samples"), schema, partition_by=["ds"])
    with pytest.raises(LakeError, match=r"shop/samples: column 'c_place' changed its type"):
        tables.ensure(lake, SPEC)


def test_a_table_with_deletion_vectors_is_refused(lake: Lake) -> None:
    schema = schemas(SPEC)["samples"]
    features = {"delta.enableDeletionVectors": "true"}
    DeltaTable.create(lake.path("samples"), schema, partition_by=["ds"], configuration=features)
    with pytest.raises(LakeError, match="turn off deletion vectors"):
        tables.ensure(lake, SPEC)


def test_a_lake_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LakeError, match=r"can't write .*free space or make the lake writable"):
        tables.ensure(Lake(str(tmp_path / "file"), "shop"), SPEC)


@pytest.mark.parametrize(
    ("said", "raced"),
    [
        (
            "io.delta.exceptions.ConcurrentWriteException: A concurrent transaction has written",
            True,
        ),
        ("[DELTA_CONCURRENT_APPEND.WITH_PARTITION_HINT] a file was added by another update", True),
        (
            "Job aborted: java.lang.OutOfMemoryError at org.apache.spark.sql.execution.datasources."
            "DynamicPartitionDataConcurrentWriter.writeWithIterator(FileFormatDataWriter.scala)",
            False,
        ),
    ],
)
def test_a_lost_race_is_told_from_a_task_that_failed(
    tmp_path: Path, said: str, raced: bool
) -> None:
    expected = tables.Raced if raced else RuntimeError
    with pytest.raises(expected), tables._writable(Lake(str(tmp_path), "shop"), "samples"):
        raise RuntimeError(said)
