//! How fast records become rows, and names become columns. The pure part of a load, without network and database.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use planhat_model::catalog;
use planhat_model::flatten::{Columns, Declared, IgnoredFields, column_name, flatten};
use planhat_model::record::{Origin, Record};
use planhat_simulator::Workspace;
use serde_json::value::to_raw_value;

const SEED: u64 = 7;
const RECORDS: usize = 1000;

/// The widest company there is, with more than 60 properties and all custom fields, and an end user.
fn records(bench: &mut Criterion) {
    let workspace = Workspace::generated(SEED, RECORDS);
    let mut group = bench.benchmark_group("flatten");
    for (name, object) in [("a wide company", "companies"), ("an end user", "endusers")] {
        let records: Vec<Record> = workspace.records(object).iter().map(record).collect();
        let mut columns = Columns::default();
        let object = catalog::object(object).expect("an object of the catalogue");
        columns.grow(object, &records, &Declared::default());
        let ignore_changes = IgnoredFields::of(object, None, None);
        let widest = records.iter().max_by_key(|record| record.count()).expect("there are records");

        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bench| {
            bench.iter(|| flatten(&columns, &ignore_changes, black_box(std::slice::from_ref(widest)))[0].hash)
        });
    }
    group.finish();
}

fn record(value: &serde_json::Value) -> Record {
    Record::parse(to_raw_value(value).expect("a value has a text")).expect("the simulator makes records")
}

/// A name as the reference has them, one as people have them, and one that is taken and too long.
fn names(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("column_name");
    let long = "Größe der Organisation – 販売代理店 ".repeat(4);
    for (name, origin, planhat) in [
        ("a property", Origin::Property, "renewalDaysFromNow"),
        ("a custom field", Origin::Custom, "🚀 Go–live [EU]"),
        ("a long custom field that is taken", Origin::Custom, &long),
    ] {
        let taken = column_name(origin, planhat, |_| false);
        let is_taken = |candidate: &str| name.ends_with("taken") && candidate == taken;
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bench| bench.iter(|| column_name(origin, black_box(planhat), is_taken)));
    }
    group.finish();
}

criterion_group!(benches, records, names);
criterion_main!(benches);
