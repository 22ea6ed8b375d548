//! The baseline: the work that no tool can avoid, reading all pages and parsing them.
//!
//! It reads pages as planhat-sync does by default: 100 records a call sorted by `_id`, overlapping by one, four objects in
//! parallel, one page of each after the other, archived records in a listing of their own; with the same HTTP client and the
//! same JSON parser. [`parse`] makes one `serde_json::Value` of each page and finds the ends of the listings; [`download`] gets
//! these as an argument and does not look into the pages.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use planhat_model::catalog;
use planhat_model::catalog::Object;
use serde_json::Value;

/// As `planhat.page_size`, `pages.overlap` and `sync.concurrency` are by default.
const PAGE_SIZE: usize = 100;
pub(crate) const OVERLAP: usize = 1;
const SIDE_BY_SIDE: usize = 4;

/// How many pages a listing has, by its object and whether it is that of hidden records too.
pub(crate) type PageCounts = BTreeMap<String, usize>;

/// Reads and parses everything. Returns how many pages there are.
pub(crate) async fn parse(url: &str, token: &str) -> Result<PageCounts> {
    let reader = &BaselineReader::new(url, token);
    let read = listings().map(|object| async move {
        let mut pages = PageCounts::new();
        for hidden in object {
            let mut read = 0;
            loop {
                let page: Value = serde_json::from_slice(&reader.page(&hidden, read).await?)?;
                read += 1;
                if page.as_array().context("a page is no list")?.len() <= OVERLAP {
                    break;
                }
            }
            pages.insert(hidden.name(), read);
        }
        anyhow::Ok(pages)
    });
    stream::iter(read).buffer_unordered(SIDE_BY_SIDE).try_concat().await
}

/// Reads everything and does nothing with it.
pub(crate) async fn download(url: &str, token: &str, pages: &PageCounts) -> Result<()> {
    let reader = &BaselineReader::new(url, token);
    let read = listings().map(|object| async move {
        for listing in object {
            for number in 0..pages.get(&listing.name()).copied().unwrap_or_default() {
                reader.page(&listing, number).await?;
            }
        }
        anyhow::Ok(())
    });
    stream::iter(read).buffer_unordered(SIDE_BY_SIDE).try_collect().await
}

pub(crate) struct BaselineListing {
    pub(crate) object: &'static Object,
    /// What to ask for besides, to be shown archived records.
    hidden: Option<&'static str>,
}

/// The listings of each object.
pub(crate) fn listings() -> impl Iterator<Item = Vec<BaselineListing>> {
    catalog::default_objects().into_iter().map(|object| {
        let plain = BaselineListing { object, hidden: None };
        let with_hidden = object.hidden.map(|parameter| BaselineListing { object, hidden: Some(parameter) });
        [plain].into_iter().chain(with_hidden).collect()
    })
}

impl BaselineListing {
    fn name(&self) -> String {
        format!("{} {}", self.object.name, self.hidden.unwrap_or("plain"))
    }
}

pub(crate) struct BaselineReader {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl BaselineReader {
    pub(crate) fn new(url: &str, token: &str) -> Self {
        let http = reqwest::Client::builder().gzip(true).no_proxy().build().unwrap_or_default();
        Self { http, url: url.to_owned(), token: token.to_owned() }
    }

    pub(crate) async fn page(&self, listing: &BaselineListing, number: usize) -> Result<Bytes> {
        let offset = number * (PAGE_SIZE - OVERLAP);
        let mut query = vec![("limit", PAGE_SIZE.to_string()), ("offset", offset.to_string()), ("sort", "_id".to_owned())];
        query.extend(listing.hidden.map(|parameter| (parameter, "true".to_owned())));
        let request = self.http.get(format!("{}/{}", self.url, listing.object.name)).query(&query).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.bytes().await?)
    }
}
