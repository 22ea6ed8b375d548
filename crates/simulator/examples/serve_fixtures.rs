//! Serves the fixtures as a workspace until its standard input ends: for trying the program by hand, and for
//! `scripts/dump-baseline`.
//!
//! It prints the settings with which the program finds it. With `--earlier` it serves the workspace as it may have been
//! before: one company had another phase and one license has been deleted since. One product has no id, so that it cannot
//! be stored. With `--report FILE` it serves a workspace that behaves as a report of `check --probe` says.

use std::io::{Read as _, Write as _};

use planhat_simulator::{Options, Simulator, Workspace, WorkspaceReport};
use serde_json::json;

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let is_earlier = std::env::args().any(|argument| argument == "--earlier");
    let (workspace, options) = match std::env::args().skip_while(|argument| argument != "--report").nth(1) {
        Some(file) => {
            let report: WorkspaceReport = serde_json::from_slice(&std::fs::read(file)?)?;
            (Workspace::of_report(&report), Options::of_report(&report))
        }
        None => (workspace(is_earlier), Options::default()),
    };
    let simulator = runtime.block_on(Simulator::start(workspace, options))?;
    writeln!(std::io::stdout(), "PLANHAT_API_URL={}\nPLANHAT_API_TOKEN={}", simulator.url(), simulator.token())?;
    std::io::stdin().read_to_end(&mut Vec::new()).map(|_| ())
}

fn workspace(is_earlier: bool) -> Workspace {
    let fixtures = Workspace::from_fixtures();
    let mut products = fixtures.records("products");
    products.push(json!({"name": "A product without an id", "price": 7}));
    let (mut companies, mut licenses) = (fixtures.records("companies"), fixtures.records("licenses"));
    if is_earlier {
        companies[0]["phase"] = json!("a phase that has passed");
        licenses.push(json!({"_id": "64b0000000000000000000ff", "companyId": companies[0]["_id"], "mrr": 12.50}));
    }
    fixtures.with("products", products).with("companies", companies).with("licenses", licenses)
}
