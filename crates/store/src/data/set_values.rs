//! Sets in PostgreSQL: lists whose order means nothing are the same if they have the same items.
//!
//! Which columns hold sets is known by the model. A set that came in another order is no difference, so the row keeps the one
//! that was seen first: a reader sees no change without an action, and the actions still give the row.

use planhat_model::flatten::Column;

use super::upsert::Target;
use crate::sql::Sql;

/// `c = excluded.c`, but what is there stays if it is the same set. The table is called `stored`.
pub(super) fn set_from_excluded(sql: Sql, column: &str, is_set: bool) -> Sql {
    let sql = sql.name(column).text(" = ");
    if !is_set {
        return sql.text("excluded.").name(column);
    }
    let stored = |sql: Sql| sql.text("stored.").name(column);
    let new = |sql: Sql| sql.text("excluded.").name(column);
    let sql = stored(have_the_same_items(sql.text("case when "), stored, new).text(" then "));
    new(sql.text(" else ")).text(" end")
}

/// Whether the values of the column in `key` are the same set.
pub(super) fn is_same_set(sql: Sql, target: Target<'_>, key: &'static str, [old, new]: [&'static str; 2]) -> Sql {
    let sets: Vec<&Column> = target.columns.sets().collect();
    if sets.is_empty() {
        return sql.text("false");
    }
    let sql = sql.text("(").text(key).text(" in (").list(sets, |sql, column| sql.literal(&column.name)).text(") and ");
    have_the_same_items(sql, |sql| sql.text(old), |sql| sql.text(new)).text(")")
}

/// Whether two values are lists with the same items, each as often. The items are compared as arrays: what makes JSON of them counts as
/// a function that may answer differently from one call to the next, which Citus refuses in `do update set`.
fn have_the_same_items(sql: Sql, one: impl Fn(Sql) -> Sql, other: impl Fn(Sql) -> Sql) -> Sql {
    let is_list = |sql: Sql, value: &dyn Fn(Sql) -> Sql| value(sql.text("jsonb_typeof(")).text(") = 'array'");
    let items = |sql: Sql, value: &dyn Fn(Sql) -> Sql| {
        value(sql.text("(select array_agg(item order by item) from jsonb_array_elements(")).text(") as items (item))")
    };
    let sql = is_list(is_list(sql.text("case when "), &one).text(" and "), &other);
    items(items(sql.text(" then "), &one).text(" is not distinct from "), &other).text(" else false end")
}
