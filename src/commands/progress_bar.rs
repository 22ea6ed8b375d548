//! Shows the progress of a run to the person who waits: a moving line per object on a terminal, a log line now and then
//! elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use planhat_api::Client;
use tokio::time::interval;
use tracing::info;

use crate::progress::Progress;
use crate::telemetry;

const REDRAW_EVERY: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Does the work and shows how far it is.
pub(super) async fn show_progress_of<T>(progress: &Progress, client: &Client, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let drawn = std::io::stderr().is_terminal();
    let mut ticks = interval(if drawn { REDRAW_EVERY } else { LOG_EVERY });
    // The first tick comes at once, when there is nothing to tell yet.
    ticks.tick().await;
    let mut bars = Bars::default();
    loop {
        tokio::select! {
            done = &mut work => {
                bars.clear();
                return done;
            }
            _ = ticks.tick() => {
                if drawn { bars.draw(progress, client) } else { log_progress(progress, client) }
            }
        }
    }
}

fn waiting(client: &Client) -> String {
    client.throttled_for().map(|wait| format!(", throttled for {} s", wait.as_secs() + 1)).unwrap_or_default()
}

fn log_progress(progress: &Progress, client: &Client) {
    let waiting = waiting(client);
    for (object, progress) in progress.objects().into_iter().filter(|(_, progress)| !progress.ended) {
        info!(object, pages = progress.pages, rows.fetched = progress.fetched, "{object}: {progress}{waiting}");
    }
}

/// A line per object at work.
#[derive(Default)]
struct Bars(HashMap<&'static str, ProgressBar>);

impl Bars {
    fn draw(&mut self, progress: &Progress, client: &Client) {
        let waiting = waiting(client);
        for (object, progress) in progress.objects() {
            if progress.ended {
                self.0.remove(object).iter().for_each(ProgressBar::finish_and_clear);
                continue;
            }
            let bar = self.0.entry(object).or_insert_with(|| {
                let style = ProgressStyle::with_template("{spinner} {prefix:14} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                telemetry::bars().add(ProgressBar::new_spinner().with_style(style).with_prefix(object))
            });
            bar.set_message(format!("{progress}{waiting}"));
            bar.tick();
        }
    }

    fn clear(&mut self) {
        self.0.drain().for_each(|(_, bar)| bar.finish_and_clear());
    }
}
