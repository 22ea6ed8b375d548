//! Listings: how many pages are requested, and that no record is missed between two pages.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use futures_util::future::join_all;
use planhat_api::{
    ApiError, Budget, Client, LearnedPages, Listing, ObjectClient, PageCeiling, PageSettings, Pager, Position, RowsPerPage,
};
use planhat_model::catalog;
use planhat_model::scan::{ReconcileEvery, SortedObjects};
use planhat_simulator::{Options, Request, ScriptedAnswer, Simulator, Source, Workspace};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{TestSync, client_of, client_with, connection_to, day, written};
use crate::waiting::in_time;

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
    Pager::new(client, listing, PageSettings { size: RowsPerPage::Fixed(page_size), overlap: true }, position)
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
    let many = |object| (object, (0..1500).map(|number| json!({"_id": format!("{number:024}")})).collect::<Vec<_>>());
    let workspace = ["churn", "endusers", "companies"].map(many);
    let workspace =
        workspace.into_iter().fold(Workspace::empty(), |workspace, (object, records)| workspace.with(object, records));
    let mut sync = TestSync::new(workspace).await;
    sync.limits.pages.size = RowsPerPage::Fixed(5000);
    sync.sync().await;
    // A thousand or so at first, as long as the size of records is not known.
    let limits_of = |path: &str| {
        let requests = sync.simulator.requests();
        let of_path = requests.iter().filter(|request| request.path == path && request.query["sort"] == "_id");
        let limits: Vec<u32> = of_path.map(|request| request.query["limit"].parse().unwrap()).collect();
        (limits.first().copied(), limits.into_iter().max())
    };
    let expected = [1000, 2000, 5000].map(|largest: u32| (Some(largest.min(1024)), Some(largest)));
    assert_eq!(["/churn", "/endusers", "/companies"].map(limits_of), expected);
}

#[tokio::test]
async fn with_auto_a_small_object_takes_two_calls() {
    let mut sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.limits.pages.size = RowsPerPage::Auto;
    sync.sync().await;
    for path in ["/companies", "/projects", "/tickets", "/users"] {
        let calls = sync.simulator.requests().iter().filter(|request| request.path == path).count();
        assert_eq!(calls, 2, "{path}");
    }
}

/// What a server does about a limit.
#[derive(Debug, Clone, Copy)]
enum LimitPolicy {
    /// It sends at most so many rows.
    Clamps(usize),
    /// It answers 400 to a larger limit.
    Refuses(usize),
}

/// A server of so many projects that does this about the limits of its requests, one after the other and from the first again.
/// It returns where it is, and the limits that were requested.
async fn server_with_limits(count: usize, policies: Vec<LimitPolicy>) -> (Client, Arc<Mutex<Vec<usize>>>) {
    type Served = (Arc<Vec<Value>>, Arc<Vec<LimitPolicy>>, Arc<Mutex<Vec<usize>>>);
    async fn list(
        State((records, policies, asked)): State<Served>,
        Query(query): Query<HashMap<String, String>>,
    ) -> Result<axum::Json<Value>, StatusCode> {
        let number = |name: &str| query[name].parse::<usize>().unwrap();
        let mut asked = asked.lock().unwrap();
        let policy = policies[asked.len() % policies.len()];
        asked.push(number("limit"));
        let rows = match policy {
            LimitPolicy::Refuses(most) if number("limit") > most => return Err(StatusCode::BAD_REQUEST),
            LimitPolicy::Refuses(_) => number("limit"),
            LimitPolicy::Clamps(most) => number("limit").min(most),
        };
        let page: Vec<Value> = records.iter().skip(number("offset")).take(rows).cloned().collect();
        Ok(axum::Json(page.into()))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<usize>>> = Arc::default();
    let app = Router::new().route("/projects", get(list)).with_state((
        Arc::new(numbered(count)),
        Arc::new(policies),
        Arc::clone(&asked),
    ));
    tokio::spawn(axum::serve(listener, app).into_future());
    (Client::new(connection_to(&url, "token"), Budget::per_minute(0)).unwrap(), asked)
}

/// The ids of a listing that is read as a pull does: with pages on their way while others are taken.
async fn ids_read_ahead(pager: &mut Pager) -> Result<Vec<String>, ApiError> {
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

/// Reads projects with "auto" as a pull does: the ids, and what the pages have shown.
async fn read_with_auto(client: &Client, expected: LearnedPages) -> Result<(Vec<String>, LearnedPages), ApiError> {
    let listing = Listing { sort: "_id".into(), hidden: false };
    let settings = PageSettings { size: RowsPerPage::Auto, overlap: true };
    let mut pager = Pager::new(&projects(client), listing, settings, Position::default()).expecting(expected);
    let ids = ids_read_ahead(&mut pager).await?;
    Ok((ids, pager.learned()))
}

#[tokio::test]
async fn with_auto_pages_are_as_large_as_documented_after_the_first_one() {
    let (client, asked) = server_with_limits(6000, vec![LimitPolicy::Clamps(usize::MAX)]).await;
    let (ids, learned) = read_with_auto(&client, LearnedPages::default()).await.unwrap();
    assert_eq!(ids, ids_of(&numbered(6000)));
    assert_eq!(*asked.lock().unwrap(), [1024, 2000, 2000, 2000, 2000]);
    assert_eq!((learned.largest_page, learned.ceiling), (Some(2000), None));
    assert!((25..=40).contains(&learned.bytes_per_row.unwrap()), "{learned:?}");
    // The next scan begins with that.
    asked.lock().unwrap().clear();
    assert_eq!(read_with_auto(&client, learned).await.unwrap().0.len(), 6000);
    assert_eq!(*asked.lock().unwrap(), [2000; 5]);
}

#[tokio::test]
async fn with_auto_a_server_that_clamps_the_limit_is_asked_for_no_more_than_it_sends() {
    let (client, asked) = server_with_limits(3000, vec![LimitPolicy::Clamps(150)]).await;
    let (ids, learned) = read_with_auto(&client, LearnedPages::default()).await.unwrap();
    assert_eq!(ids, ids_of(&numbered(3000)));
    assert_eq!(learned.ceiling, Some(PageCeiling::Clamped { rows: 150 }));
    let asked = asked.lock().unwrap();
    assert!(asked[4..].iter().all(|limit| *limit == 150), "{asked:?}");
    // Twenty pages and one more, their end, and maybe some calls ahead of it.
    assert!(asked.len() <= 21 + 1 + 21 / 4, "{} calls", asked.len());
}

#[tokio::test]
async fn with_auto_a_limit_that_is_refused_costs_a_call_and_no_record() {
    for (most, expected) in [(100, &[1024, 500, 100, 100][..]), (700, &[1024, 500, 500]), (1500, &[1024, 2000, 1024, 1024])] {
        let (client, asked) = server_with_limits(3000, vec![LimitPolicy::Refuses(most)]).await;
        let (ids, learned) = read_with_auto(&client, LearnedPages::default()).await.unwrap();
        assert_eq!(ids, ids_of(&numbered(3000)));
        assert_eq!(asked.lock().unwrap()[..expected.len()], *expected);
        // The next scan does not try it again.
        asked.lock().unwrap().clear();
        assert_eq!(read_with_auto(&client, learned).await.unwrap().0.len(), 3000);
        assert!(asked.lock().unwrap().iter().all(|limit| *limit <= most));
    }
}

#[tokio::test]
async fn a_page_size_that_is_set_and_refused_is_an_error() {
    let (client, asked) = server_with_limits(3000, vec![LimitPolicy::Refuses(700)]).await;
    let error = pager(&projects(&client), 1000, Position::default()).next().await.unwrap_err();
    assert!(error.to_string().contains("400"), "{error}");
    assert_eq!(*asked.lock().unwrap(), [1000]);
}

#[tokio::test]
async fn large_records_come_in_pages_of_fewer_rows_whatever_is_configured() {
    let simulator = simulator(weighing(&[5000; 2500]), Options::default()).await;
    assert_eq!(read_with_prefetch(&simulator, 5000).await.unwrap(), ids_of(&numbered(2500)));
    let limits: Vec<_> = simulator.requests().iter().map(|request| number(request, "limit")).collect();
    assert_eq!(limits[0], 1024);
    assert!(limits[1..].iter().all(|limit| (400..600).contains(limit)), "{limits:?}");
}

#[tokio::test]
async fn objects_with_pages_that_fill_the_memory_alone_are_read_side_by_side_to_their_ends() {
    let objects = ["projects", "licenses", "opportunities", "assets"];
    let heavy = || weighing(&[45_000; 400]);
    let workspace = objects.into_iter().fold(Workspace::empty(), |workspace, object| workspace.with(object, heavy()));
    let simulator = Simulator::start(workspace, Options::default()).await.unwrap();
    let client = client_of(&simulator, simulator.token());
    let read = objects.map(|object| {
        let client = client.for_object(catalog::object(object).unwrap());
        async move {
            let mut pager = pager(&client, 100, Position::default());
            let mut count = 0;
            while let Some(mut page) = pager.next().await.unwrap() {
                while let Some(following) = pager.next_if_ready() {
                    page.append(following);
                }
                pager.prefetch();
                // It is in memory until it is stored, and the others go on meanwhile.
                tokio::task::yield_now().await; // No wait of a test: it lets others go first, once.
                count += page.records.len();
            }
            count
        }
    });
    assert_eq!(in_time("four objects", join_all(read)).await, [400; 4]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever page sizes a server allows, and however often it changes its mind: each record is shown once.
    #[test]
    fn with_auto_each_record_is_shown_once_whatever_the_server_allows(
        count in 0usize..2500,
        policies in proptest::collection::vec(
            prop_oneof![
                2 => Just(LimitPolicy::Clamps(usize::MAX)),
                3 => (2usize..600).prop_map(LimitPolicy::Clamps),
                1 => (100usize..600).prop_map(LimitPolicy::Refuses),
            ],
            1..6,
        ),
        expected in (
            proptest::option::of(0u32..3000), proptest::option::of(0u64..100_000), proptest::option::of(1u32..3000),
        ),
    ) {
        let (largest_page, bytes_per_row, clamped) = expected;
        let expected = LearnedPages { largest_page, bytes_per_row, ceiling: clamped.map(|rows| PageCeiling::Clamped { rows }) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, _) = server_with_limits(count, policies).await;
            assert_eq!(read_with_auto(&client, expected).await.unwrap().0, ids_of(&numbered(count)));
        });
    }
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
    ids_read_ahead(&mut pager(&client, page_size, Position::default())).await
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

// ---- The edges of a listing ----

/// Reads a listing with something happening at the source at each request, in its number.
async fn read_while(
    simulator: &Simulator,
    page_size: u32,
    prefetches: bool,
    mut happens: impl FnMut(&mut Source<'_>, usize) + Send + 'static,
) -> Result<Vec<String>, ApiError> {
    let mut number = 0;
    simulator.on_request(move |source, _| {
        number += 1;
        happens(source, number);
    });
    if prefetches { read_with_prefetch(simulator, page_size).await } else { read(simulator, page_size, |_| {}).await }
}

/// One answer is wrong: it shows nothing.
fn empty_at(request: usize) -> impl FnMut(&mut Source<'_>, usize) + Send + 'static {
    let mut hidden: Vec<Value> = Vec::new();
    move |source, number| {
        for record in hidden.drain(..) {
            source.add("projects", &record);
        }
        if number == request {
            hidden.extend((0..250).filter_map(|number| source.delete("projects", &format!("{number:05}"))));
        }
    }
}

#[tokio::test]
async fn an_empty_answer_at_any_moment_leaves_nothing_out() {
    for (count, page_size) in [(250, 100), (199, 100), (60, 100), (1, 100), (5, 1), (7, 2)] {
        for (request, prefetches) in (1..12).flat_map(|request| [(request, false), (request, true)]) {
            let simulator = simulator(numbered(count), Options::default()).await;
            let read = read_while(&simulator, page_size, prefetches, empty_at(request)).await.unwrap();
            let read: BTreeSet<String> = read.into_iter().collect();
            assert_eq!(read.len(), count, "{count} by {page_size}, request {request} is empty, prefetch: {prefetches}");
        }
    }
}

#[tokio::test]
async fn an_empty_answer_when_a_listing_is_resumed_leaves_nothing_out() {
    for request in 1..5 {
        let simulator = simulator(numbered(250), Options::default()).await;
        let (mut number, mut is_empty) = (0, empty_at(request));
        simulator.on_request(move |source, _| {
            number += 1;
            is_empty(source, number);
        });
        let client = projects(&client_of(&simulator, simulator.token()));
        let mut pager = pager(&client, 100, Position { offset: 99, overlap_id: Some("00099".into()) });
        let mut read = BTreeSet::new();
        while let Some(page) = pager.next().await.unwrap() {
            read.extend(page.records.into_iter().map(|record| record.id));
        }
        assert!(ids_of(&numbered(250)[100..]).iter().all(|id| read.contains(id)), "request {request} is empty: {}", read.len());
    }
}

#[tokio::test]
async fn an_empty_listing_costs_two_calls() {
    let simulator = simulator(Vec::new(), Options::default()).await;
    assert_eq!(read(&simulator, 100, |_| {}).await.unwrap(), Vec::<String>::new());
    assert_eq!(simulator.requests().len(), 2);
}

/// What vanishes from a listing, and how often.
#[derive(Debug, Clone, Copy)]
struct Purge {
    place: Place,
    every: usize,
    rows: usize,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Head,
    Tail,
    Anywhere,
}

/// Records vanish at every n-th request, and others come at every fifth one where `inserts` says so.
fn purging(count: usize, purge: Purge, inserts: bool, seed: u64) -> impl FnMut(&mut Source<'_>, usize) + Send + 'static {
    let mut left: Vec<String> = ids_of(&numbered(count));
    let mut rng = fastrand::Rng::with_seed(seed);
    move |source, number| {
        if number.is_multiple_of(purge.every) {
            for _ in 0..purge.rows.min(left.len()) {
                let place = match purge.place {
                    Place::Head => 0,
                    Place::Tail => left.len() - 1,
                    Place::Anywhere => rng.usize(..left.len()),
                };
                source.delete("projects", &left.remove(place));
            }
        }
        if inserts && number.is_multiple_of(5) {
            source.add("projects", &json!({"_id": format!("{:05}-{number}", rng.usize(..count))}));
        }
    }
}

/// Reads a listing during a purge. Says what was not read of what is still there at the end, and how many calls it took.
async fn lost_in_a_purge(
    count: usize,
    page_size: u32,
    prefetches: bool,
    happens: impl FnMut(&mut Source<'_>, usize) + Send + 'static,
) -> (Result<Vec<String>, ApiError>, usize) {
    let simulator = simulator(numbered(count), Options::default()).await;
    let read = read_while(&simulator, page_size, prefetches, happens).await;
    let initial: BTreeSet<String> = ids_of(&numbered(count)).into_iter().collect();
    let stayed: Vec<String> = simulator.ids("projects").into_iter().filter(|id| initial.contains(id)).collect();
    let lost = read.map(|read| {
        let read: BTreeSet<String> = read.into_iter().collect();
        stayed.into_iter().filter(|id| !read.contains(id)).collect()
    });
    (lost, simulator.requests().len())
}

#[tokio::test]
async fn a_purge_that_lasts_as_long_as_the_listing_is_read_ends_complete() {
    for (place, every, rows) in
        [(Place::Head, 2, 1), (Place::Head, 1, 1), (Place::Anywhere, 1, 3), (Place::Tail, 1, 1), (Place::Tail, 2, 3)]
    {
        for (count, page_size) in [(2000, 100), (2000, 20), (292, 12), (150, 100), (100, 100), (30, 100)] {
            for prefetches in [false, true] {
                let purge = Purge { place, every, rows };
                let (lost, calls) = lost_in_a_purge(count, page_size, prefetches, purging(count, purge, false, 7)).await;
                let case = format!("{purge:?}, {count} by {page_size}, prefetch: {prefetches}");
                assert_eq!(lost.unwrap(), Vec::<String>::new(), "{case}");
                let pages = count / (page_size as usize - 1) + 1;
                assert!(calls <= 3 * pages + 10, "{calls} calls for {pages} pages: {case}");
            }
        }
    }
}

fn any_purge(page_size: u32, most: usize, places: &'static [Place]) -> impl Strategy<Value = (u32, Purge)> {
    (prop::sample::select(places), 1usize..4, 1usize..=most)
        .prop_map(move |(place, every, rows)| (page_size, Purge { place, every, rows }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Up to a quarter of a page vanishes at each call. A listing that loses that much at its end alone, as fast as it is read, may fail:
    /// see the next test.
    #[test]
    fn whatever_vanishes_during_a_listing_it_ends_complete_in_a_bounded_number_of_calls(
        count in 1usize..800,
        (page_size, purge) in (8u32..100).prop_flat_map(|size| any_purge(size, size as usize / 4, &[Place::Head, Place::Anywhere])),
        inserts: bool,
        prefetches: bool,
        seed: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (lost, calls) =
            runtime.block_on(lost_in_a_purge(count, page_size, prefetches, purging(count, purge, inserts, seed)));
        prop_assert_eq!(lost.unwrap(), Vec::<String>::new());
        let pages = count / (page_size as usize - 1) + 1;
        prop_assert!(calls <= 5 * pages + 20, "{} calls for {} pages", calls, pages);
    }

    /// As much as you like of pages as small as you like: it may fail, and never loses anything or goes on for ever.
    #[test]
    fn a_purge_faster_than_it_can_be_read_loses_nothing(
        count in 1usize..300,
        (page_size, purge) in (1u32..30).prop_flat_map(|size| any_purge(size, 40, &[Place::Head, Place::Tail, Place::Anywhere])),
        inserts: bool,
        prefetches: bool,
        seed: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (lost, calls) =
            runtime.block_on(lost_in_a_purge(count, page_size, prefetches, purging(count, purge, inserts, seed)));
        match lost {
            Ok(lost) => prop_assert_eq!(lost, Vec::<String>::new()),
            Err(error) => prop_assert!(matches!(error, ApiError::UnstableOrder { .. }), "{}", error),
        }
        prop_assert!(calls <= 10 * count + 100, "{} calls for {} records", calls, count);
    }
}

#[tokio::test]
async fn a_listing_that_changes_its_order_from_page_to_page_is_an_error_and_not_a_loop() {
    let simulator = simulator(numbered(3000), Options { honours_sort: false, ..Options::default() }).await;
    let mut order: VecDeque<String> = ids_of(&numbered(3000)).into();

    let read = read_while(&simulator, 20, false, move |source, _| {
        // The first hundred go to the end.
        for _ in 0..100 {
            let id = order.pop_front().unwrap();
            let record = source.delete("projects", &id).unwrap();
            source.add("projects", &record);
            order.push_back(id);
        }
    });

    let error = read.await.unwrap_err();
    assert!(matches!(error, ApiError::UnstableOrder { .. }), "{error}");
    assert!(simulator.requests().len() <= 1000, "{} calls", simulator.requests().len());
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
