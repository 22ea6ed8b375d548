//! The build without the embedded PostgreSQL, as for server images.
#![cfg(not(feature = "embedded"))]

use crate::cli::Tool;

#[test]
fn a_build_without_the_embedded_database_asks_for_a_database_url() {
    let ran = Tool::new().set("PLANHAT_API_TOKEN", "x").run(&["sync"]);
    insta::assert_snapshot!(ran.all(), @r"
    exit 2
    error: no database, and this build has no embedded PostgreSQL
    hint: set DATABASE_URL to a PostgreSQL 15 or newer, as postgres://user:password@host:5432/database
    ");
}

#[test]
fn a_build_without_the_embedded_database_has_no_demo() {
    let ran = Tool::new().run(&["demo"]);
    insta::assert_snapshot!(ran.all(), @r"
    exit 2
    error: the demo needs the embedded PostgreSQL, which this build does not have
    hint: build with default features: cargo run --release --locked -- demo
    ");
}
