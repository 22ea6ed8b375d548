//! A workspace that is edited while it is read: what a run misses, a later one catches.

use planhat_sync::catalog;
use planhat_sync::simulator::Workspace;
use proptest::prelude::*;
use serde_json::json;

use crate::harness::{Sync, day, written};

#[derive(Debug, Clone)]
enum Change {
    Edit(usize),
    Touch(usize),
    Add,
}

fn edits() -> impl Strategy<Value = Vec<Change>> {
    let edit = prop_oneof![(0usize..60).prop_map(Change::Edit), (0usize..60).prop_map(Change::Touch), Just(Change::Add)];
    proptest::collection::vec(edit, 0..12)
}

fn apply(sync: &Sync, edits: &[Change], hour: i64) {
    for (index, edit) in edits.iter().enumerate() {
        let at = sync.now + chrono::TimeDelta::minutes(hour * 60 + i64::try_from(index).unwrap());
        for object in ["companies", "endusers", "tasks"] {
            match edit {
                Change::Edit(number) => {
                    sync.simulator.edit(object, &format!("{number:05}"), at, |record| {
                        record.insert("custom".into(), json!({"Edited": at.to_rfc3339()}));
                    });
                }
                Change::Touch(number) => _ = sync.simulator.touch(object, &format!("{number:05}"), at),
                Change::Add => {
                    let id = format!("new-{}-{index}", at.timestamp());
                    sync.simulator.add(object, json!({"_id": id, "updatedAt": written(at)}));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn after_each_daily_run_the_tables_equal_the_workspace(days in proptest::collection::vec(edits(), 1..4), page_size in 3u32..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let records: Vec<_> = (0..60).map(|age| {
                let time = written(day(-age * 3));
                json!({"_id": format!("{age:05}"), "updatedAt": time, "lastTouch": if age % 3 == 0 { json!(time) } else { json!(null) },
                       "archived": age % 7 == 0, "isArchived": age % 7 == 0})
            }).collect();
            let workspace = Workspace::empty().with("companies", records.clone()).with("endusers", records.clone()).with("tasks", records);
            let mut sync = Sync::new(workspace).await;
            sync.limits.page_size = page_size;
            sync.sync().await;
            for edits in &days {
                apply(&sync, edits, 1);
                sync.now += chrono::TimeDelta::days(1);
                sync.sync().await;
                sync.assert_equals_workspace(&catalog::default_objects()).await;
            }
        });
    }
}
