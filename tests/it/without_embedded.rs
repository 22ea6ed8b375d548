//! The build without the embedded PostgreSQL, as for server images.
#![cfg(not(feature = "embedded"))]

use crate::cli::Tool;

#[test]
fn it_says_that_a_database_url_is_needed() {
    let ran = Tool::new().set("PLANHAT_API_TOKEN", "x").run(&["sync"]);
    insta::assert_snapshot!(ran.all(), @r"
    exit 2
    error: no database, and this build has no embedded PostgreSQL
    hint: set DATABASE_URL to a PostgreSQL 15 or newer, as postgres://user:password@host:5432/database
    ");
}

#[test]
fn it_has_no_demo() {
    let ran = Tool::new().run(&["demo"]);
    insta::assert_snapshot!(ran.all(), @r"
    exit 2
    error: the demo needs the embedded PostgreSQL, which this build does not have
    hint: build with default features: cargo run --release --locked -- demo
    ");
}
