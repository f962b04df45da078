"""A spec is understood as written, and refused with its path and the fix."""

from datetime import timedelta

import pytest

from features.errors import SpecError
from features.needs import needed_columns, sql_words, used_tables
from features.spec import find_spec, layout_of, load_spec, spec_names
from features.spec.load import parse_spec, spec_hash

SHOP = """
product: shop
sources:
  views: {path: "views/{ds}.csv", time: {column: at, unit: iso}}
  orders: {path: "orders/{ds}.jsonl.gz", time: {column: at}, late: 36h}
  people: {path: people.csv, key: user_id}
impression: {source: views, key: view_id, user: user_id}
scenarios: {column: place, values: {home: [1, 2], search: 3}}
tasks:
  click: {label: clicked = 1}
  order: {source: orders, on: [user_id, item_id], window: 3d, scenarios: [search]}
features:
  ids: [user_id]
  categories: [place, {column: tags, multi: true}]
  numbers: [{column: people.age, scale: log1p}]
  rates:
    - {of: click, by: [user_id, [user_id, place]], days: [1, all]}
  recency: [user_id]
"""

BROKEN = [
    (
        "time: {column: at}, late: 36h}",
        "time: {column: at}, contract: drop}",
        "sources.orders.contract.new_column: must be one of 'evolve', 'discard' or 'freeze'",
    ),
    ("product: shop", "product: Shop", "product: 'Shop' is not a name"),
    ("product: shop", "prodct: shop", "prodct: unknown key"),
    ("product: shop\n", "", "product: is required"),
    ("window: 3d", "window: three", "tasks.order.window: 'three' is not a duration"),
    ("window: 3d, ", "", "'source' needs a 'window'"),
    ("on: [user_id, item_id], ", "", "'source' needs 'on'"),
    ("source: orders, on", "source: order, on", "tasks.order.source: 'order' is not declared"),
    ("scenarios: [search]", "scenarios: [serch]", "tasks.order.scenarios: 'serch'"),
    ("of: click", "of: clik", "features.rates.0.of: 'clik' is not declared; known: click, order"),
    ("people.age", "peple.age", "features: peple.age: 'peple' is not declared"),
    ("[user_id, [user_id, place]]", "[user_id, [user, id]]", "would both be the column n_count_"),
    ("categories: [place,", "categories: [user_id,", "'user_id' and 'user_id' would both be"),
    ("on: [user_id, item_id]", "on: [user.id, user_id]", "tasks (on): 'user.id' and 'user_id'"),
    ("recency: [user_id]", "recency: [[User_id, place]]", "features (entities): 'user_id' and 'Us"),
    ("days: [1, all]", "days: [0, all]", "a window is a number of days from 1, or all"),
    ("scale: log1p", "scale: log", "features.numbers.0.scale: must be one of"),
    (
        "[place, {",
        "[{column: place, edges: [3, 1]}, {",
        "features.categories.0: edges must ascend",
    ),
    (
        "recency: [user_id]",
        "sequences: [{of: place, by: user_id, task: clik}]",
        "features.sequences.0.task: 'clik' is not declared",
    ),
    (
        "recency: [user_id]",
        "sequences: [{of: place, by: [user_id, tags]}]",
        "features.sequences.0.by: 'tags' has several values a row",
    ),
    (
        "recency: [user_id]",
        "recency: [user_id]\ntraining: {search: {gates: context, context: [age]}}",
        "training.search.context: 'age' is not declared; known: user_id, place, tags, people.age",
    ),
    (
        "recency: [user_id]",
        "recency: [user_id]\ntraining: {search: {gates: context}}",
        "training.search: 'gates: context' and 'context', a list of columns, go together",
    ),
    (
        "recency: [user_id]",
        "recency: [user_id]\ntraining: {search: {gates: instance, recipe: boxed}}",
        "training.search: recipe: 'boxed' prices a table of strengths",
    ),
    (
        "recency: [user_id]",
        "recency: [user_id]\ntraining: {network: {task: [16], rank: [4, 2, 2]}}",
        "training.network: rank: 3 ranks for 2 layers",
    ),
    (
        "recency: [user_id]",
        "residuals: [{of: clik, by: user_id, against: place}]",
        "features.residuals.0.of: 'clik' is not declared; known: click, order",
    ),
    (
        "recency: [user_id]",
        "residuals: [{of: click, by: user_id, against: [place, tags]}]",
        "features.residuals.0.against: 'tags' has several values a row",
    ),
    (
        "recency: [user_id]",
        "facts: {click: seconds}",
        "features.facts.click: there is a task of that name",
    ),
    ("source: views, key", "source: people, key", "impression.source: 'people'"),
    ("{column: place, values", "{values", "'column' and 'values' go together"),
    (
        "product: shop",
        "gate: {tolerances: {search/clik: 0.1}}\nproduct: shop",
        "gate.tolerances: 'search/clik' is not declared",
    ),
    (
        "product: shop",
        "gate: {calibration: {pcoc: [2, 1]}}\nproduct: shop",
        "gate.calibration.pcoc: give the least first",
    ),
    (
        "product: shop",
        "gate: {approval: {otherwise: ask}}\nproduct: shop",
        "gate.approval.otherwise: must be one of 'reject' or 'approve'",
    ),
    (", key: user_id}", "}", "give 'time' for a stream of events or 'key' for a table"),
    ("product: shop", "product: [shop", "not valid YAML"),
    (SHOP, "- shop", "must be a mapping"),
]


def test_a_spec_says_what_its_file_says() -> None:
    spec = parse_spec(SHOP, "shop.yaml")

    assert spec.scenarios.names == ("home", "search")
    assert spec.scenarios.values["home"] == (1, 2)
    assert spec.tasks["order"].on == ("user_id", "item_id")
    assert spec.sources["orders"].late == timedelta(hours=36)
    assert spec.sources["views"].kind == "csv"
    assert spec.sources["orders"].kind == "jsonl"
    assert spec.window_days == {"click": 0, "order": 3}
    assert spec.entities == (("user_id",), ("user_id", "place"))
    assert not spec.has("home", "order")
    assert spec.has("search", "order")


def test_a_dot_leads_into_a_table_of_attributes_or_else_into_the_impressions_own_fields() -> None:
    nested = SHOP.replace("views/{ds}.csv", "views/{ds}.jsonl").replace("place, {", "user.place, {")
    spec = parse_spec(nested, "shop.yaml")

    assert spec.locate("people.age") == ("people", "age")
    assert spec.locate("user.place") == ("views", "user.place")
    assert spec.locate("orders.place") == ("views", "orders.place")
    assert used_tables(spec) == ["people"]
    assert needed_columns(spec)["views"]["user.place"] == "features.categories"


def test_one_entity_may_stand_without_a_list() -> None:
    listed = parse_spec(
        SHOP.replace("by: [user_id, [user_id, place]]", "by: [user_id]"), "shop.yaml"
    )
    alone = parse_spec(SHOP.replace("by: [user_id, [user_id, place]]", "by: user_id"), "shop.yaml")

    assert alone == listed
    assert spec_hash(alone) == spec_hash(listed)


def test_an_id_is_rare_below_three_and_a_category_below_one() -> None:
    spec = parse_spec(SHOP, "shop.yaml")

    assert spec.features.ids[0].min_count == 3
    assert spec.features.categories[0].min_count == 1


def test_the_layout_names_every_feature_once_and_in_order() -> None:
    assert [column.name for column in layout_of(parse_spec(SHOP, "shop.yaml")).columns] == [
        "c_user_id",
        "c_place",
        "m_tags",
        "n_people_age",
        "n_count_user_id_1",
        "n_rate_click_user_id_1",
        "n_count_user_id_all",
        "n_rate_click_user_id_all",
        "n_count_user_id_place_1",
        "n_rate_click_user_id_place_1",
        "n_count_user_id_place_all",
        "n_rate_click_user_id_place_all",
        "n_recency_user_id",
    ]


WATCHED = (
    SHOP.replace(
        "impression: {source: views, key: view_id, user: user_id}",
        """impression:
  source: views
  key: view_id
  user: user_id
  columns: {hour: hour(local_time), length: floor(ln(seconds))}""",
    )
    .replace(
        "  recency: [user_id]",
        """  facts: {stay: ln(1 + watched), shared: shares > 0}
  residuals: [{of: [click, stay], by: [user_id], against: [place, length]}]""",
    )
    .replace(
        "of: click, by: [user_id, [user_id, place]], days: [1, all]",
        "of: [click, stay], by: [user_id, [user_id, hour]], days: 3, half_life: 2",
    )
)


def test_the_layout_names_means_fading_windows_and_residuals() -> None:
    names = [column.name for column in layout_of(parse_spec(WATCHED, "shop.yaml")).of("number")]
    assert names == [
        "n_people_age",
        "n_count_user_id_3",
        "n_rate_click_user_id_3",
        "n_mean_stay_user_id_3",
        "n_count_user_id_half_2",
        "n_rate_click_user_id_half_2",
        "n_mean_stay_user_id_half_2",
        "n_count_user_id_hour_3",
        "n_rate_click_user_id_hour_3",
        "n_mean_stay_user_id_hour_3",
        "n_count_user_id_hour_half_2",
        "n_rate_click_user_id_hour_half_2",
        "n_mean_stay_user_id_hour_half_2",
        "n_residual_click_user_id_place_length_all",
        "n_residual_stay_user_id_place_length_all",
    ]


def test_computed_columns_and_facts_need_the_columns_of_their_expressions_not_themselves() -> None:
    spec = parse_spec(WATCHED, "shop.yaml")
    assert not {"hour", "length"} & set(needed_columns(spec)["views"])
    words = sql_words(spec)["views"]
    assert words["seconds"] == "impression.columns.length"
    assert words["watched"] == "features.facts.stay"
    assert words["shares"] == "features.facts.shared"


def test_what_residuals_compare_is_counted_by_entity_by_context_and_by_both() -> None:
    spec = parse_spec(WATCHED, "shop.yaml")
    assert spec.subjects == (("user_id",), ("user_id", "hour"))
    assert spec.entities == (*spec.subjects, ("place", "length"), ("user_id", "place", "length"))


@pytest.mark.parametrize(("right", "wrong", "sentence"), BROKEN)
def test_a_mistake_is_answered_with_its_path_and_the_fix(
    right: str, wrong: str, sentence: str
) -> None:
    assert right in SHOP

    with pytest.raises(SpecError) as refused:
        parse_spec(SHOP.replace(right, wrong), "shop.yaml")

    assert str(refused.value).startswith("shop.yaml: ")
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_spec_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"spec 'shoop' not found; .* bazaar, kuairand"):
        find_spec("shoop")


@pytest.mark.parametrize("name", spec_names())
def test_a_shipped_spec_is_sound_and_its_hash_is_its_content(name: str) -> None:
    spec = load_spec(name)

    assert spec.product == name
    assert spec_hash(spec) == spec_hash(load_spec(name))
    assert spec_hash(spec) != spec_hash(spec.model_copy(update={"timezone": "Asia/Tokyo"}))
    assert spec_hash(spec, "gate") != spec_hash(spec, "tasks")
    gate = spec.gate.model_copy(update={"tolerance": 0.5})
    assert spec_hash(spec) != spec_hash(spec.model_copy(update={"gate": gate}))


@pytest.mark.parametrize(
    ("search", "recipe"),
    [
        ("{}", "crossfit"),
        ("{form: official}", "official"),
        ("{gates: instance}", "official"),
        ("{form: official, recipe: masks}", "masks"),
    ],
)
def test_what_cannot_be_priced_is_searched_by_the_papers_recipe(search: str, recipe: str) -> None:
    spec = parse_spec(f"{SHOP}training: {{search: {search}}}\n", "shop.yaml")
    assert spec.training.search.recipe == recipe


def test_one_rank_serves_every_layer() -> None:
    network = "{scenario: [64, 32], task: [16], rank: %s}"
    one, each = (
        parse_spec(f"{SHOP}training: {{network: {network % rank}}}\n", "shop.yaml")
        for rank in ("3", "[3, 2, 1]")
    )
    assert one.training.network.ranks == (3, 3, 3)
    assert each.training.network.ranks == (3, 2, 1)


def test_a_default_written_out_means_the_same() -> None:
    text = find_spec("bazaar").read_text()
    told = text.replace("  rates:\n", "  distinct: []\n  rates:\n")
    assert told != text
    assert spec_hash(parse_spec(told, "x.yaml")) == spec_hash(parse_spec(text, "x.yaml"))
