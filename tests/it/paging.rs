//! Listings: how many pages are requested, and that no record is missed between two pages.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use planhat_api::{ApiError, Budget, Client, Listing, ObjectClient, PageSettings, Pager, Position};
use planhat_model::catalog;
use planhat_model::scan::{ReconcileEvery, SortedObjects};
use planhat_simulator::{Options, Request, ScriptedAnswer, Simulator, Workspace};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{TestSync, client_of, client_with, connection_to, day, written};

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|number| json!({"_id": format!("{number:05}"), "number": number})).collect()
}

async fn simulator(records: Vec<Value>, options: Options) -> Simulator {
    Simulator::start(Workspace::empty().with("projects", records), options).await.unwrap()
}

fn projects(client: &Client) -> ObjectClient {
    client.for_object(catalog::object("projects").unwrap())
}

fn pager(client: &ObjectClient, page_size: u32, position: Position) -> Pager {
    let listing = Listing { sort: "_id".into(), hidden: false };
    Pager::new(client, listing, PageSettings { size: page_size, overlap: true }, position)
}

/// Reads a listing to its end, with something happening at the source after each page.
async fn read(simulator: &Simulator, page_size: u32, mut after_page: impl FnMut(usize)) -> Result<Vec<String>, ApiError> {
    let client = projects(&client_of(simulator, simulator.token()));
    let mut pager = pager(&client, page_size, Position::default());
    let (mut ids, mut pages) = (Vec::new(), 0);
    while let Some(page) = pager.next().await? {
        ids.extend(page.records.into_iter().map(|record| record.id));
        pages += 1;
        after_page(pages);
    }
    Ok(ids)
}

fn ids_of(records: &[Value]) -> Vec<String> {
    records.iter().map(|record| record["_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_have_a_hundred_rows_and_overlap_by_one_row() {
    let simulator = simulator(numbered(250), Options::default()).await;

    let ids = read(&simulator, 100, |_| {}).await.unwrap();

    assert_eq!(ids, ids_of(&numbered(250)));
    let asked: Vec<_> =
        simulator.requests().iter().map(|request| (request.query["limit"].clone(), request.query["offset"].clone())).collect();
    let expected = [("100", "0"), ("100", "99"), ("100", "198"), ("100", "249")];
    assert_eq!(asked, expected.map(|(limit, offset)| (limit.to_owned(), offset.to_owned())));
}

#[tokio::test]
async fn a_server_that_clamps_the_limit_loses_nothing() {
    let simulator = simulator(numbered(50), Options { max_limit: Some(7), ..Options::default() }).await;
    assert_eq!(read(&simulator, 100, |_| {}).await.unwrap(), ids_of(&numbered(50)));
}

#[tokio::test]
async fn a_server_that_changes_its_page_size_midway_loses_nothing() {
    let simulator = simulator(numbered(300), Options::default()).await;
    let sizes = [Some(50), Some(3), None, Some(1), Some(7), None];

    let ids = read(&simulator, 40, |page| simulator.clamp_limits(sizes[page % sizes.len()])).await.unwrap();

    assert_eq!(ids, ids_of(&numbered(300)));
}

#[tokio::test]
async fn an_empty_listing_and_a_listing_of_one_record_end() {
    for count in [0, 1] {
        let simulator = simulator(numbered(count), Options::default()).await;
        assert_eq!(read(&simulator, 100, |_| {}).await.unwrap(), ids_of(&numbered(count)));
    }
}

#[tokio::test]
async fn a_page_size_of_one_reads_everything() {
    let simulator = simulator(numbered(5), Options::default()).await;
    assert_eq!(read(&simulator, 1, |_| {}).await.unwrap(), ids_of(&numbered(5)));
}

#[tokio::test]
async fn a_server_that_ignores_the_offset_is_an_error_and_not_a_loop() {
    let simulator = simulator(numbered(50), Options { honours_offset: false, max_limit: Some(10), ..Options::default() }).await;
    let error = read(&simulator, 10, |_| {}).await.unwrap_err();
    assert!(matches!(error, ApiError::RepeatingListing { .. }), "{error}");
    assert_eq!(simulator.requests().len(), 3);
}

#[tokio::test]
async fn a_record_that_moves_up_between_two_pages_is_not_lost() {
    let simulator = simulator(numbered(30), Options::default()).await;

    let ids = read(&simulator, 10, |page| {
        if page == 1 {
            (0..10).for_each(|gone| assert!(simulator.delete("projects", &format!("{gone:05}"))));
        }
    })
    .await
    .unwrap();

    assert_eq!(ids, ids_of(&numbered(30)));
}

#[tokio::test]
async fn a_bulk_insertion_before_the_current_page_loses_nothing() {
    let simulator = simulator(numbered(400), Options::default()).await;

    let ids = read(&simulator, 10, |page| {
        if page == 35 {
            (0..200).for_each(|number| simulator.add("projects", json!({"_id": format!("-{number:05}")})));
        }
    })
    .await
    .unwrap();

    assert_eq!(ids, ids_of(&numbered(400)));
}

#[tokio::test]
async fn pages_overlap_even_where_a_page_ends_with_a_rejected_record() {
    let mut records = numbered(30);
    records[9] = json!({"name": "no id"});
    let simulator = simulator(records, Options { honours_sort: false, ..Options::default() }).await;

    let ids = read(&simulator, 10, |page| {
        if page == 1 {
            (0..5).for_each(|gone| assert!(simulator.delete("projects", &format!("{gone:05}"))));
        }
    })
    .await
    .unwrap();

    assert_eq!(ids.len(), 29);
}

#[tokio::test]
async fn an_interrupted_listing_resumes_where_it_stopped() {
    let simulator = simulator(numbered(30), Options::default()).await;
    let client = projects(&client_of(&simulator, simulator.token()));
    let page = pager(&client, 10, Position::default()).next().await.unwrap().unwrap();

    let mut resumed = pager(&client, 10, page.next);
    let second = resumed.next().await.unwrap().unwrap();

    let new: Vec<_> = second.records.iter().map(|record| record.id.as_str()).filter(|id| *id != "00009").collect();
    assert_eq!((new.first(), new.len()), (Some(&"00010"), 9));
}

#[tokio::test]
async fn a_page_over_max_page_bytes_is_requested_again_with_a_lower_limit() {
    let mut records = numbered(50);
    for heavy in [20, 21] {
        records[heavy]["description"] = json!("x".repeat(60_000));
    }
    let simulator = simulator(records, Options::default()).await;
    let client = projects(&client_with(&simulator, simulator.token(), 100_000));
    let mut pager = pager(&client, 100, Position::default());

    let mut ids = Vec::new();
    while let Some(page) = pager.next().await.unwrap() {
        ids.extend(page.records.into_iter().map(|record| record.id));
    }

    assert_eq!(ids, ids_of(&numbered(50)));
}

/// Reads projects to their end where no page may be longer than this: the ids, and what was said of the rest.
async fn read_within(simulator: &Simulator, page_size: u32, max_page_bytes: u64) -> Result<(Vec<String>, Vec<String>), ApiError> {
    let client = projects(&client_with(simulator, simulator.token(), max_page_bytes));
    let mut pager = pager(&client, page_size, Position::default());
    let (mut ids, mut reasons) = (Vec::new(), Vec::new());
    while let Some(page) = pager.next().await? {
        ids.extend(page.records.into_iter().map(|record| record.id));
        reasons.extend(page.rejected.into_iter().map(|rejected| rejected.reason));
    }
    Ok((ids, reasons))
}

fn number(request: &Request, name: &str) -> u64 {
    request.query[name].parse().unwrap()
}

/// Calls that had to be made again for less.
fn in_vain(requests: &[Request]) -> usize {
    let is_again = |two: &&[Request]| {
        number(&two[0], "offset") == number(&two[1], "offset") && number(&two[0], "limit") > number(&two[1], "limit")
    };
    requests.windows(2).filter(is_again).count()
}

/// As many records, each with so much text.
fn weighing(texts: &[usize]) -> Vec<Value> {
    let mut records = numbered(texts.len());
    for (record, text) in records.iter_mut().zip(texts) {
        record["description"] = json!("x".repeat(*text));
    }
    records
}

#[tokio::test]
async fn the_limit_grows_again_after_a_few_huge_records() {
    let mut texts = [0; 3000];
    // One alone fits into a page, two side by side do not.
    [500, 501, 1200, 2000, 2001].into_iter().for_each(|heavy: usize| texts[heavy] = 60_000);
    let simulator = simulator(weighing(&texts), Options::default()).await;

    let (ids, reasons) = read_within(&simulator, 100, 100_000).await.unwrap();

    assert_eq!((ids, reasons), (ids_of(&numbered(3000)), vec![]));
    let requests = simulator.requests();
    assert_eq!(number(requests.last().unwrap(), "limit"), 100);
    assert!(in_vain(&requests) <= 8, "{} calls in vain", in_vain(&requests));
    // Where pages hold one row, each costs a look at the one behind it.
    assert!(requests.len() <= 31 + 2 * 40, "{} calls", requests.len());
}

#[tokio::test]
async fn the_limit_stays_low_while_records_are_large() {
    let simulator = simulator(weighing(&[1000; 500]), Options::default()).await;

    let (ids, _) = read_within(&simulator, 100, 40_000).await.unwrap();

    assert_eq!(ids, ids_of(&numbered(500)));
    assert_eq!(in_vain(&simulator.requests()), 1);
}

#[tokio::test]
async fn a_record_larger_than_max_page_bytes_is_skipped_and_reported() {
    for (place, left_out) in
        [("the first", vec![0]), ("amid others", vec![20]), ("in a row", vec![20, 21, 22]), ("the last", vec![49])]
    {
        let mut texts = [0; 50];
        left_out.iter().for_each(|heavy| texts[*heavy] = 60_000);
        let simulator = simulator(weighing(&texts), Options::default()).await;

        let (ids, reasons) = read_within(&simulator, 100, 10_000).await.unwrap();

        let rest: Vec<_> = (0..50).filter(|number| !left_out.contains(number)).map(|number| format!("{number:05}")).collect();
        assert_eq!(ids, rest, "{place}");
        let said = |offset| format!("larger than planhat.max_page_bytes (10000), at offset {offset} of /projects by _id");
        assert_eq!(reasons, left_out.into_iter().map(said).collect::<Vec<_>>(), "{place}");
    }
}

#[tokio::test]
async fn a_listing_of_nothing_but_one_huge_record_ends() {
    let simulator = simulator(weighing(&[60_000]), Options::default()).await;
    let (ids, reasons) = read_within(&simulator, 100, 10_000).await.unwrap();
    assert_eq!((ids.len(), reasons.len()), (0, 1));
}

#[tokio::test]
async fn pages_too_large_at_every_limit_are_an_error() {
    let simulator = simulator(weighing(&[60_000; 10]), Options::default()).await;
    let error = read_within(&simulator, 100, 10_000).await.unwrap_err();
    assert_eq!(error.to_string(), "/projects answered with more than planhat.max_page_bytes (10000) at limit=1");
    assert!(error.kind().hint().unwrap().contains("raise planhat.max_page_bytes"));
}

#[tokio::test]
async fn repeated_deletions_during_a_listing_do_not_count_as_a_loop() {
    let simulator = simulator(Vec::new(), Options::default()).await;
    let rows = |first: usize, last: usize| ScriptedAnswer::json(200, Value::Array(numbered(last + 1)[first..].to_vec()));
    // Twice a row vanishes between two calls, so that the last page is read again after each step back.
    let answers = [(0, 9), (9, 18), (19, 28), (9, 18), (19, 28), (9, 18), (18, 27), (27, 29), (29, 29)];
    simulator.answer_next("projects", answers.map(|(first, last)| rows(first, last)).to_vec());
    assert_eq!(read(&simulator, 10, |_| {}).await.unwrap(), ids_of(&numbered(30)));
}

#[tokio::test]
async fn a_row_deleted_between_two_runs_costs_one_step_back() {
    let simulator = simulator(numbered(1000), Options::default()).await;
    simulator.delete("projects", "00003");
    let client = projects(&client_of(&simulator, simulator.token()));
    let stood_at = Position { offset: 499, overlap_id: Some("00499".into()) };

    let page = pager(&client, 100, stood_at).next().await.unwrap().unwrap();

    assert!(page.records.iter().any(|record| record.id == "00499"));
    assert_eq!(client.calls(), 2);
}

#[tokio::test]
async fn a_rejected_record_counts_as_a_row_of_its_page() {
    let mut records = numbered(25);
    records[9] = json!({"name": "no id"});
    records[10] = json!("odd");
    let simulator = simulator(records, Options { honours_sort: false, ..Options::default() }).await;
    assert_eq!(read(&simulator, 10, |_| {}).await.unwrap().len(), 23);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is deleted or added while a listing is read: a record that was there all the time is
    /// read, and none is read that never was.
    #[test]
    fn a_record_that_exists_during_the_whole_listing_is_read(
        count in 1usize..120,
        page_size in 1u32..30,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let simulator = simulator(numbered(count), Options::default()).await;
            let mut untouched: BTreeSet<String> = ids_of(&numbered(count)).into_iter().collect();
            let mut ever = untouched.clone();
            let mut edits = edits.iter();

            let read = read(&simulator, page_size, |_| {
                for (index, deletes) in edits.by_ref().take(4) {
                    let id = format!("{:05}", index.index(count));
                    if *deletes {
                        simulator.delete("projects", &id);
                        untouched.remove(&id);
                    } else {
                        let id = format!("{id}-{}", ever.len());
                        simulator.add("projects", json!({"_id": id}));
                        ever.insert(id);
                    }
                }
            })
            .await;

            let read: BTreeSet<String> = read.unwrap().into_iter().collect();
            assert!(read.is_superset(&untouched), "lost: {:?}", untouched.difference(&read).collect::<Vec<_>>());
            assert!(read.is_subset(&ever), "invented: {:?}", read.difference(&ever).collect::<Vec<_>>());
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the sizes of records: each is read once, or reported if no page has room for it, and few calls
    /// are in vain.
    #[test]
    fn records_of_any_size_are_read_or_reported(
        sizes in proptest::collection::vec(prop_oneof![20 => Just(0), 4 => Just(30), 2 => Just(70), 1 => Just(120)], 0..300),
        page_size in 1u32..120,
    ) {
        let row = sizes.windows(4).all(|four| four.iter().any(|percent| *percent < 100));
        prop_assume!(row);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let texts: Vec<usize> = sizes.iter().map(|percent| percent * 100).collect();
            let simulator = simulator(weighing(&texts), Options::default()).await;

            let (ids, reasons) = read_within(&simulator, page_size, 10_000).await.unwrap();

            let fits = |number: &usize| sizes[*number] < 100;
            let expected: Vec<_> = (0..sizes.len()).filter(fits).map(|number| format!("{number:05}")).collect();
            assert_eq!(ids, expected);
            assert_eq!(reasons.len(), sizes.len() - expected.len());
            let requests = simulator.requests();
            assert!(4 * in_vain(&requests) <= requests.len() + 20, "{} of {}", in_vain(&requests), requests.len());
        });
    }
}

/// `count` companies, the first touched an hour ago, each further one a day before.
fn touched_daily(count: i64) -> Vec<Value> {
    (0..count)
        .map(|age| {
            let time = written(day(-age) - chrono::TimeDelta::hours(1));
            json!({"_id": format!("{age:05}"), "lastTouch": time, "updatedAt": time})
        })
        .collect()
}

#[tokio::test]
async fn a_second_sync_reads_only_a_page_or_two_of_objects_read_newest_first() {
    let sync =
        TestSync::new(Workspace::empty().with("companies", touched_daily(1000)).with("endusers", touched_daily(1000))).await;
    sync.sync_one("companies").await;
    // Eleven pages and the end, and maybe some calls ahead of it.
    assert!((12..=15).contains(&sync.calls_of("companies")));
    sync.sync_one("endusers").await;
    sync.simulator.forget_requests();

    sync.sync_one("companies").await;
    let requests: Vec<_> = sync.simulator.requests().into_iter().filter(|request| request.path == "/companies").collect();
    let asked = |sort: &str| requests.iter().filter(|request| request.query["sort"] == sort).count();
    assert_eq!((asked("-lastTouch"), asked("-updatedAt"), requests.len()), (2, 2, 4));

    sync.simulator.forget_requests();
    sync.sync_one("endusers").await;
    // Both sweeps over both listings, the archived one included.
    assert_eq!(sync.calls_of("endusers"), 8);
}

#[tokio::test]
async fn any_object_with_a_time_of_its_last_edit_can_be_read_newest_first() {
    for (object, time) in [("tasks", "updatedAt"), ("tickets", "updateDate"), ("invoices", "lastUpdated"), ("users", "updatedAt")]
    {
        let records = (0..800).map(|age| json!({"_id": format!("{age:05}"), time: written(day(-age))})).collect();
        let mut sync = TestSync::new(Workspace::empty().with(object, records)).await;
        sync.limits.sorted = SortedObjects::Named(vec![object]);
        sync.sync_one(object).await;
        sync.simulator.edit(object, "00700", day(1), |record| _ = record.insert("description".into(), json!("edited")));
        (sync.now, _) = (day(2), sync.simulator.forget_requests());

        let summary = sync.sync_one(object).await;

        let listings = if object == "tasks" { 2 } else { 1 };
        let sorts: BTreeSet<_> =
            sync.simulator.requests().into_iter().filter_map(|request| request.query.get("sort").cloned()).collect();
        assert_eq!(sorts, BTreeSet::from(["_id".to_owned(), format!("-{time}")]), "by id are the declared fields");
        assert_eq!(summary.run.figures.updated, 1, "{object}");
        assert!(sync.calls_of(object) <= 2 * listings, "{object}");
        sync.assert_equals_workspace(&[catalog::object(object).unwrap()]).await;
    }
}

#[tokio::test]
async fn an_object_not_in_newest_first_is_read_to_the_end_even_if_the_setting_changed_during_a_scan() {
    let mut sync = TestSync::new(Workspace::empty().with("companies", touched_daily(500))).await;
    sync.sync_one("companies").await;
    let fails = || vec![ScriptedAnswer::status(500); 4];
    sync.simulator.answer_next("companies", fails());
    sync.sync_one("companies").await;
    sync.limits.sorted = SortedObjects::Named(Vec::new());
    sync.simulator.forget_requests();

    let whole = sync.sync_one("companies").await;

    assert_eq!(whole.run.figures.fetched, 500);
    assert!(sync.simulator.requests().iter().all(|request| request.query["sort"] == "_id"));
}

#[tokio::test]
async fn a_sweep_without_changes_reads_one_page() {
    let mut sync = TestSync::new(Workspace::empty().with("companies", touched_daily(500))).await;
    sync.sync_one("companies").await;
    sync.simulator.forget_requests();
    // The newest contact is as old as the lookback, so that the first page is past the window.
    sync.now = day(30);
    sync.limits.lookback = std::time::Duration::ZERO;
    sync.limits.reconcile_every = ReconcileEvery::Fixed(std::time::Duration::ZERO);
    let untouched = sync.sync_one("companies").await;

    assert_eq!((untouched.run.figures.inserted, untouched.run.figures.updated), (0, 0));
    assert!(sync.calls_of("companies") <= 4);
}

#[tokio::test]
async fn an_unsorted_listing_is_read_to_the_end_with_a_warning() {
    let mut companies = touched_daily(300);
    companies.reverse();
    let sync =
        TestSync::with(Workspace::empty().with("companies", companies), Options { honours_sort: false, ..Options::default() })
            .await;
    sync.sync_one("companies").await;
    sync.simulator.edit("companies", "00000", day(0), |company| _ = company.insert("name".into(), json!("edited")));

    let summary = sync.sync_one("companies").await;

    assert_eq!(summary.run.figures.updated, 1);
    assert!(summary.warnings[0].contains("is not sorted by -lastTouch: read to the end"), "{:?}", summary.warnings);
}

#[tokio::test]
async fn a_sorted_listing_without_times_is_read_to_the_end() {
    let sync = TestSync::new(Workspace::empty().with("companies", numbered(300))).await;
    sync.sync_one("companies").await;
    sync.simulator.add("companies", json!({"_id": "new"}));

    assert_eq!(sync.sync_one("companies").await.run.figures.inserted, 1);
}

#[tokio::test]
async fn a_sweep_that_reached_the_end_needs_no_second_one() {
    let sync = TestSync::new(Workspace::empty().with("companies", touched_daily(2))).await;
    sync.sync_one("companies").await;
    sync.simulator.forget_requests();
    sync.sync_one("companies").await;
    let sorts: Vec<_> = sync
        .simulator
        .requests()
        .into_iter()
        .filter(|request| request.path == "/companies")
        .map(|request| request.query["sort"].clone())
        .collect();
    assert_eq!(sorts, ["-lastTouch", "-lastTouch"]);
}

#[tokio::test]
async fn an_edit_that_does_not_change_last_touch_is_found_by_the_second_sweep() {
    let sync = TestSync::new(Workspace::empty().with("companies", touched_daily(500))).await;
    sync.sync_one("companies").await;
    sync.simulator.edit("companies", "00400", day(0), |company| _ = company.insert("name".into(), json!("edited")));
    sync.simulator.add("companies", json!({"_id": "new", "updatedAt": written(day(0))}));

    let summary = sync.sync_one("companies").await;

    assert_eq!((summary.run.figures.inserted, summary.run.figures.updated), (1, 1));
}

#[tokio::test]
async fn the_page_size_stays_within_the_documented_maximum() {
    let mut sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.limits.pages.size = 5000;
    sync.sync().await;
    let limit_of =
        |path: &str| sync.simulator.requests().iter().find(|request| request.path == path).unwrap().query["limit"].clone();
    assert_eq!(
        (limit_of("/churn"), limit_of("/endusers"), limit_of("/companies")),
        ("1000".into(), "2000".into(), "5000".into())
    );
}

#[tokio::test]
async fn nothing_but_get_is_ever_sent() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.simulator.answer_next("companies", vec![ScriptedAnswer::status(503)]);
    sync.sync().await;
    sync.sync().await;
    assert!(sync.simulator.requests().iter().all(|request| request.status != 405));
}

/// Reads a listing as a pull does: with pages on their way while others are taken.
async fn read_with_prefetch(simulator: &Simulator, page_size: u32) -> Result<Vec<String>, ApiError> {
    let client = projects(&client_of(simulator, simulator.token()));
    let mut pager = pager(&client, page_size, Position::default());
    let mut ids = Vec::new();
    while let Some(mut page) = pager.next().await? {
        while let Some(following) = pager.next_if_ready() {
            page.append(following);
        }
        pager.prefetch();
        ids.extend(page.records.into_iter().map(|record| record.id));
    }
    Ok(ids)
}

#[tokio::test]
async fn a_long_listing_is_prefetched_with_few_wasted_calls() {
    let latency = Duration::from_millis(40);
    let simulator = simulator(numbered(1500), Options { latency, ..Options::default() }).await;

    assert_eq!(read_with_prefetch(&simulator, 21).await.unwrap(), ids_of(&numbered(1500)));

    assert!(simulator.busiest(latency / 2) >= 3);
    let calls = simulator.requests().len();
    assert!(calls <= 76 + 76 / 4, "{calls} calls for 76 pages");
}

#[tokio::test]
async fn a_short_listing_is_prefetched_without_wasted_calls() {
    let simulator = simulator(numbered(250), Options::default()).await;
    assert_eq!(read_with_prefetch(&simulator, 100).await.unwrap(), ids_of(&numbered(250)));
    assert_eq!(simulator.requests().len(), 4);
}

#[tokio::test]
async fn rows_that_move_while_pages_are_prefetched_are_neither_lost_nor_invented() {
    let seed = std::env::var("PLANHAT_SYNC_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("PLANHAT_SYNC_SEED={seed}");
    let simulator = simulator(numbered(1500), Options::default()).await;
    let (mut rng, mut calls) = (fastrand::Rng::with_seed(seed), 0);
    let (deleted, added) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(BTreeSet::new())));
    let (gone, new) = (Arc::clone(&deleted), Arc::clone(&added));
    simulator.on_request(move |source, _| {
        calls += 1;
        if rng.u32(..3) == 0 {
            let id = format!("{:05}", rng.usize(..1500));
            source.delete("projects", &id);
            gone.lock().unwrap().insert(id);
        }
        if calls % 20 == 0 {
            // In the order of ids it belongs somewhere in the middle, as a restored record does.
            let id = format!("{:05}-{calls}", rng.usize(..1500));
            source.add("projects", &json!({"_id": id}));
            new.lock().unwrap().insert(id);
        }
    });

    let read: Vec<String> = read_with_prefetch(&simulator, 15).await.unwrap();

    let read_once: BTreeSet<String> = read.iter().cloned().collect();
    assert_eq!(read.len(), read_once.len(), "a record came twice");
    let (deleted, added) = (deleted.lock().unwrap(), added.lock().unwrap());
    let lost: Vec<_> =
        ids_of(&numbered(1500)).into_iter().filter(|id| !deleted.contains(id) && !read_once.contains(id)).collect();
    assert_eq!(lost, Vec::<String>::new());
    let known = |id: &String| added.contains(id) || ids_of(&numbered(1500)).contains(id);
    assert!(read_once.iter().all(known));
}

/// A server that takes its time over one page and edits its last row meanwhile.
async fn slow_at(offset: usize, edited: usize) -> String {
    type Shelf = Arc<Mutex<Vec<Value>>>;
    #[derive(Clone)]
    struct Slow {
        offset: usize,
        edited: usize,
        shelf: Shelf,
        following: Arc<Notify>,
    }
    async fn list(State(slow): State<Slow>, Query(query): Query<HashMap<String, String>>) -> axum::Json<Value> {
        let number = |name: &str| query[name].parse::<usize>().unwrap();
        if number("offset") == slow.offset {
            slow.following.notified().await; // No wait of a test: it ends with its server.
            slow.shelf.lock().unwrap()[slow.edited]["number"] = json!("edited");
        }
        let page: Vec<Value> = slow.shelf.lock().unwrap().iter().skip(number("offset")).take(number("limit")).cloned().collect();
        if number("offset") == slow.edited {
            slow.following.notify_one();
        }
        axum::Json(page.into())
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let slow = Slow { offset, edited, shelf: Arc::new(Mutex::new(numbered(300))), following: Arc::default() };
    let app = Router::new().route("/projects", get(list)).with_state(slow);
    tokio::spawn(axum::serve(listener, app).into_future());
    url
}

#[tokio::test]
async fn a_prefetched_page_answered_too_early_does_not_bring_back_an_older_version() {
    // The page at 90 is answered before the one at 81, with which it shares a row.
    let url = slow_at(81, 90).await;
    let client = projects(&Client::new(connection_to(&url, "token"), Budget::per_minute(0)).unwrap());
    let mut pager = pager(&client, 10, Position::default());
    let mut versions = Vec::new();
    while let Some(page) = pager.next().await.unwrap() {
        pager.prefetch();
        versions
            .extend(page.records.iter().filter(|record| record.id == "00090").map(|record| record.get("number").unwrap().tree()));
    }
    assert_eq!(versions, ["edited"]);
}

#[tokio::test]
async fn pages_of_one_row_are_requested_once_and_checked_once() {
    let simulator = simulator(weighing(&[6000; 60]), Options::default()).await;
    let client = projects(&client_with(&simulator, simulator.token(), 10_000));
    let mut pager = pager(&client, 100, Position::default());
    while pager.next().await.unwrap().is_some() {
        pager.prefetch();
    }
    let calls = simulator.requests().len();
    assert!(calls <= 2 * 60 + 20, "{calls} calls for 60 records");
}

/// Reads a listing of which the first record is deleted at a request, and says what was not read of the others.
async fn lost_by_a_deletion(texts: &[usize], page_size: u32, max_page_bytes: u64, when: usize) -> Vec<String> {
    let simulator = simulator(weighing(texts), Options::default()).await;
    let mut requests = 0;
    simulator.on_request(move |source, _| {
        requests += 1;
        if requests == when {
            source.delete("projects", "00000");
        }
    });
    let (read, left_out) = read_within(&simulator, page_size, max_page_bytes).await.unwrap();
    let expected = ids_of(&simulator.records("projects"));
    assert!(read.len() <= texts.len(), "a record came twice");
    let lost: Vec<String> = expected.into_iter().filter(|id| !read.contains(id)).collect();
    if left_out.is_empty() { lost } else { lost.into_iter().filter(|id| id != "00030").collect() }
}

#[tokio::test]
async fn a_record_that_moves_up_between_pages_of_one_row_is_not_lost() {
    for when in (1..80).step_by(3) {
        assert_eq!(lost_by_a_deletion(&[6000; 20], 100, 10_000, when).await, Vec::<String>::new(), "at request {when}");
    }
}

#[tokio::test]
async fn a_record_that_moves_up_next_to_a_skipped_oversized_record_is_not_lost() {
    let mut texts = [10; 60];
    texts[30] = 60_000;
    for when in 1..40 {
        assert_eq!(lost_by_a_deletion(&texts, 20, 10_000, when).await, Vec::<String>::new(), "at request {when}");
    }
}
